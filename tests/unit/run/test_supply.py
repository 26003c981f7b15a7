"""One lab after another: kept while it is fit, restored, replaced with a reason, and never left running."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.observe.machine_events import Died
from wsklab.orchestrator.run import supply as module
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.supply import LabSupply, unfit
from wsklab.qemu.errors import DeadlinePassed, MachineError


class FakeLab:
    """Remembers what was done to it; whatever is named in `fails` raises that."""

    slowness = 1.0

    def __init__(self, **fails: Exception) -> None:
        self.did: list[str] = []
        self.fails = fails
        self.doubt: str | None = None
        self.journal: Any = SimpleNamespace(lost=None)
        self.target = SimpleNamespace(state=lambda: self._do("state"))

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.fails:
            raise self.fails[what]

    saved = False
    loaded = True
    emptied = False

    def save(self) -> None:
        self._do("save")
        self.saved = True

    def empty(self) -> None:
        self._do("empty")
        self.loaded, self.emptied = False, self.saved

    def restore(self, empty: bool = False) -> None:
        self._do("restore empty" if empty else "restore")
        self.loaded = not empty

    def stop(self) -> None:
        self._do("stop")


class Supplied:
    """A supply that boots the given labs in turn."""

    def __init__(self, folder: Path, *labs: FakeLab, isolate: bool = False) -> None:
        self.stop, self.told, self.booted = Stop(), list[str](), list[Any]()
        left: Any = iter(labs)
        self.supply = LabSupply(lambda: next(left), folder, isolate, self.stop, self.told.append, self.booted.append)


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "phase", lambda *_: nullcontext())


def test_a_shared_lab_serves_while_it_is_fit(tmp_path: Path) -> None:
    lab = FakeLab()
    made = Supplied(tmp_path, lab)
    assert made.supply.next() is made.supply.next() is lab  # type: ignore[comparison-overlap]
    assert (lab.did, made.booted, made.told) == ([], [lab], [])
    assert made.supply.next(suspect=True) is lab  # type: ignore[comparison-overlap]
    assert lab.did == ["state"], "after anything but a pass the driver must answer"


def test_an_isolated_lab_is_saved_once_and_restored_each_time(tmp_path: Path) -> None:
    lab = FakeLab()
    made = Supplied(tmp_path, lab, isolate=True)
    made.supply.next()
    made.supply.next()
    made.supply.next(suspect=True)
    assert lab.did == ["save", "restore", "restore"]


@pytest.mark.parametrize(
    ("fails", "isolate", "said"),
    [
        ({"state": LabError("the driver hangs")}, False, "the driver hangs"),
        ({"state": DeadlinePassed("nobody reads the agent line")}, False, "nobody reads the agent line"),
        ({"restore": TimeoutError("not in time")}, True, "the lab could not be restored (not in time)"),
        ({"restore": MachineError("loadvm failed")}, True, "the lab could not be restored (loadvm failed)"),
    ],
)
def test_a_lab_that_is_of_no_use_is_replaced_with_the_reason(
    tmp_path: Path, fails: dict[str, Exception], isolate: bool, said: str
) -> None:
    old, new = FakeLab(**fails), FakeLab()
    made = Supplied(tmp_path, old, new, isolate=isolate)
    made.supply.next()
    assert made.supply.next(suspect=True) is new  # type: ignore[comparison-overlap]
    assert (old.did[-1], made.told) == ("stop", [said])


def test_the_same_doubts_for_all_who_ask() -> None:
    lab: Any = FakeLab()
    assert unfit(lab) is None
    lab.journal.lost = Died(t=1, machine="peer", detail="QEMU ended")
    assert "QEMU ended" in str(unfit(lab))
    lab.doubt = "the driver did not finish cleaning up"
    assert unfit(lab, ask=False) == "the driver did not finish cleaning up"
    assert lab.did == ["state"], "one that is in doubt is not asked"


def test_one_that_is_not_fit_is_stopped_at_once(tmp_path: Path) -> None:
    lab = FakeLab()
    made = Supplied(tmp_path, lab)
    made.supply.next()
    assert made.supply.fit()
    lab.doubt = "something could not be put back"
    assert not made.supply.fit() and made.supply.lab is None
    assert lab.did == ["state", "stop"]
    assert not made.supply.fit(), "there is none now"


def test_one_that_is_spoilt_goes_back_to_its_snapshot_where_it_has_one(tmp_path: Path) -> None:
    lab, new = FakeLab(restore=MachineError("loadvm failed")), FakeLab()
    lab.saved = True
    made = Supplied(tmp_path, lab, new)
    made.supply.next()
    lab.doubt = "the driver broke a rule"
    assert not made.supply.fit()
    lab.doubt = None
    assert made.supply.bare() is new  # type: ignore[comparison-overlap]
    assert (lab.did, new.did) == (["restore", "stop"], ["empty"])
    new.saved = True
    made.supply.spoil()
    assert made.supply.bare() is made.supply.bare() is new  # type: ignore[comparison-overlap]
    assert new.did == ["empty", "restore", "empty"], "and is as good as any then"
    made.supply.spoil()
    assert made.supply.bare() is new  # type: ignore[comparison-overlap]
    assert new.did[3:] == ["restore empty"], "nothing is unloaded twice"


def test_in_a_run_that_is_stopped_nobody_is_told_of_another_lab(tmp_path: Path) -> None:
    made = Supplied(tmp_path, FakeLab(restore=MachineError("gone")), FakeLab(), isolate=True)
    made.supply.next()
    made.stop.request("interrupted", "interrupted")
    made.supply.next()
    assert made.told == []


def test_a_lab_that_cannot_be_saved_is_not_left_running(tmp_path: Path) -> None:
    lab = FakeLab(save=LabError("the disk is full"))
    made = Supplied(tmp_path, lab, isolate=True)
    with pytest.raises(LabError, match="the disk is full"):
        made.supply.next()
    assert (lab.did, made.supply.lab) == (["save", "stop"], None)


def test_a_bare_lab_is_a_fresh_one_unloaded_or_the_shared_one_as_it_is(tmp_path: Path) -> None:
    isolated, shared = FakeLab(), FakeLab()
    assert Supplied(tmp_path, isolated, isolate=True).supply.bare() is isolated  # type: ignore[comparison-overlap]
    assert isolated.did == ["save", "empty"]
    made = Supplied(tmp_path, shared)
    made.supply.bare()
    made.supply.bare()
    assert shared.did == ["empty"], "whoever had it has unloaded his driver"


def test_a_lab_whose_correct_driver_does_not_unload_is_replaced_once(tmp_path: Path) -> None:
    bad, good = FakeLab(empty=TimeoutError()), FakeLab()
    assert Supplied(tmp_path, bad, good, isolate=True).supply.bare() is good  # type: ignore[comparison-overlap]
    worse = Supplied(tmp_path, FakeLab(empty=TimeoutError()), FakeLab(empty=TimeoutError()))
    with pytest.raises(LabError, match="does not unload in a lab that has just booted"):
        worse.supply.bare()
    assert worse.supply.lab is None
