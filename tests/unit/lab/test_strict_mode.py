"""The strict mode on the host's side: how it is asked for, what a stop becomes, and what is left out without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsklab.drivers import protocol
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.commands.run_end import checks
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.guest.guest import StandinGuest
from wsklab.orchestrator.judge.integrity import crashes
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.target import stop_text
from wsklab.orchestrator.observe.machine_events import StrictStop
from wsklab.orchestrator.run.selection import Selection, without_strict
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario, Socket
from wsklab.qemu.profile import load_profile

LINE = (
    "0134:warn: WSKSTOP code=000000c4 p=000000122,000000002,0fee1000,0 irql=2 call=KeWaitForSingleObject "
    "at=my.sys+0x2e31 stack=my.sys+0x2e31,my.sys+0x362e why=waits at DISPATCH_LEVEL with a timeout that is not zero\r\n"
)
DISPATCH, LINGER_ZERO = (
    next(s for s in catalogue.built_in() if s.name == n) for n in ("dispatch-level", "linger-zero")
)


class Image:
    key = "image"
    disk = kernel = initrd = Path("nothing")
    kernel_args = "quiet"


def guest(strict: int | None) -> StandinGuest:
    return StandinGuest(Image(), load_profile("standin"), "Wine", strict)  # type: ignore[arg-type]


def driver() -> BuiltDriver:
    return BuiltDriver(Path("wsklab.sys"), "", "wsklab", None, Path("wsklab.sys"))


def test_a_stop_is_named_as_windows_names_it() -> None:
    stop = protocol.parse_stop_line(LINE)
    assert stop is not None
    assert (stop.code, stop.parameters, stop.irql) == (0xC4, (0x122, 2, 0xFEE1000, 0), 2)
    text = stop_text(stop)
    assert "DRIVER_VERIFIER_DETECTED_VIOLATION (0x0000000000000122, " in text
    assert "KeWaitForSingleObject, called at my.sys+0x2e31, waits at DISPATCH_LEVEL" in text
    assert text.endswith("; backtrace my.sys+0x2e31, my.sys+0x362e")


def test_a_stop_without_a_known_caller_is_one_too() -> None:
    stop = protocol.parse_stop_line(
        "WSKSTOP code=0000000f p=1,2,3,4 irql=2 call=KeAcquireSpinLock at= stack= why=because"
    )
    assert stop is not None
    assert stop_text(stop).endswith(": KeAcquireSpinLock, because")
    assert "SPIN_LOCK_ALREADY_OWNED" in stop_text(stop)


def test_an_instruction_is_at_its_place() -> None:
    stop = protocol.parse_stop_line(
        "01a0:warn: WSKSTOP code=000000d6 p=7fa4a440a000,000000001,0021a2e14,0 irql=2 call=a write at=my.sys+0x2e14 "
        "stack=my.sys+0x2e14 why=is made beyond the end of a block of 64 bytes"
    )
    assert stop is not None
    assert "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION" in stop_text(stop)
    assert ": a write, at my.sys+0x2e14, is made beyond the end of a block of 64 bytes; " in stop_text(stop)


@pytest.mark.parametrize("cut", range(0, LINE.index(" why="), 7))
def test_a_stop_that_is_cut_off_is_none(cut: int) -> None:
    assert protocol.parse_stop_line(LINE[:cut]) is None


def test_a_stop_is_the_drivers_fault() -> None:
    stop = StrictStop(t=1, machine="target", detail="0x000000c4 ...")
    found = list(crashes(Facts(LINGER_ZERO, [stop])))
    assert found == [
        ("fail", "the driver broke a rule for which Windows with Driver Verifier stops (simulated): 0x000000c4 ...")
    ]


def test_the_kernels_command_line_names_the_checks(tmp_path: Path) -> None:
    assert guest(None).files(driver(), tmp_path).kernel_args == "quiet"
    assert guest(7).files(driver(), tmp_path).kernel_args == "quiet wsklab.strict=irql,memory,witness"


def test_a_strict_lab_has_a_snapshot_of_its_own() -> None:
    assert guest(None).ingredients() != guest(1).ingredients()
    assert guest(1).ingredients() == guest(2).ingredients(), "the seed is told to the running guest"


def test_a_report_says_which_checks_were_on() -> None:
    assert checks(guest(None)) == "Strict checks: off (--strict)."
    assert checks(guest(3)) == "Strict checks: irql, memory, witness, simulated; drawn from the seed 3."
    assert checks(guest(3), True).startswith("Strict checks: irql, memory, witness, concurrency, simulated;")
    assert not guest(3).qualifying


def test_what_needs_the_strict_mode_is_left_out_without_it() -> None:
    said: list[str] = []
    both = Selection([DISPATCH, LINGER_ZERO], None, None)
    assert without_strict(both, False, said.append).scenarios == [LINGER_ZERO]
    assert said == ["left out, as only --strict simulates it: dispatch-level"]
    assert without_strict(both, True, said.append) is both
    with pytest.raises(UsageError, match="dispatch-level: this is simulated with --strict only"):
        without_strict(replace(both, scenarios=[DISPATCH]), False, said.append)


def test_windows_has_driver_verifier_instead() -> None:
    with pytest.raises(UsageError, match="on Windows it is Driver Verifier"):
        find.check("some-windows", None, 1)


class Told:
    """What of a lab tells the target its IRQL, and nothing else."""

    def __init__(self, strict: int | None) -> None:
        self.guest, self.files = guest(strict), list[tuple[str, bytes]]()
        self._told_irql: str | None = None
        self.foreign: None = None
        self._driver: BuiltDriver | None = None
        self.target = self.agent = self

    def _tell_strict(self, wanted: str) -> None:
        lab: Any = self
        Lab._tell_strict(lab, wanted)

    def put(self, path: str, content: bytes) -> None:
        self.files.append((path, content))

    def tell(self, scenario: Scenario, seed: str = "1") -> None:
        lab: Any = self
        Lab._tell_irql(lab, scenario, seed)


def test_the_target_is_told_once_what_a_scenario_asks_for() -> None:
    told = Told(1)
    told.tell(DISPATCH)
    told.tell(DISPATCH)
    told.tell(LINGER_ZERO)
    assert [content.split()[0] for _, content in told.files] == [b"irql=dispatch", b"irql=mixed"]
    assert {path for path, _ in told.files} == {r"C:\wsklab\strict.txt"}
    assert all(b"witness" not in content for _, content in told.files)
    assert told.files[0][1].split()[1] != told.files[1][1].split()[1], "each scenario has its own draws"


def test_a_repetition_draws_anew_and_the_same_again() -> None:
    first, again = Told(1), Told(1)
    for told in (first, again):
        told.tell(LINGER_ZERO, "1 linger-zero 1")
        told.tell(LINGER_ZERO, "1 linger-zero 2")
    assert first.files == again.files
    assert first.files[0] != first.files[1]


def test_a_crowd_is_not_told_call_by_call() -> None:
    told = Told(1)
    told.tell(LINGER_ZERO.model_copy(update={"connections": 1000}))
    assert told.files[0][1].endswith(b" witness=off\n")


def test_what_is_to_fail_is_told_with_the_driver_whose_it_is() -> None:
    told = Told(1)
    told._driver = driver()
    scarce = LINGER_ZERO.model_copy(update={"socket": Socket(fails=3, provider="late")})
    told.tell(scarce)
    assert told.files[0][1].endswith(b" provider=late fail=3 of=wsklab.sys\n")
    told.tell(LINGER_ZERO)
    assert b"fail" not in told.files[1][1]


def test_what_must_fail_needs_the_strict_mode() -> None:
    assert not LINGER_ZERO.socket.needs_strict
    assert Socket(fails=1).needs_strict
    assert Socket(fails=1).survival
    assert Socket(provider="late").needs_strict
    assert not Socket(provider="late").survival


def test_nothing_is_told_without_the_strict_mode() -> None:
    told = Told(None)
    told.tell(DISPATCH)
    assert told.files == []
