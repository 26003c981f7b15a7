"""The tree of errors: a usage error is no lab error, and a deadline that passed names what was awaited."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

from wsklab.common.errors import TimedOut, UsageError, WsklabError
from wsklab.drivers.errors import DriverError
from wsklab.images.errors import ImageError
from wsklab.orchestrator import errors, unexpected
from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.guest.agent import AgentSilent
from wsklab.orchestrator.observe.journal import Journal, NotYet
from wsklab.qemu.errors import DeadlinePassed, GuestDied, LaunchError, MachineError, QmpError, WireError

ROOT = Path(__file__).parents[3]
CODE = [
    file for layer in ("common", "qemu", "drivers", "images", "orchestrator") for file in (ROOT / layer).rglob("*.py")
]
BRANCHES = {
    LabError: (StepError, AgentSilent),
    MachineError: (DeadlinePassed, GuestDied, LaunchError, QmpError, WireError),
    TimedOut: (DeadlinePassed, NotYet),
    UsageError: (),
    ImageError: (),
    DriverError: (),
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_grows_from_one_root(branch: type[Exception]) -> None:
    assert issubclass(branch, WsklabError)
    assert all(issubclass(leaf, branch) for leaf in BRANCHES[branch])


@pytest.mark.parametrize("other", [LabError, MachineError, ImageError, DriverError, TimedOut])
def test_a_usage_error_is_nothing_else(other: type[Exception]) -> None:
    assert not issubclass(UsageError, other) and not issubclass(other, UsageError)
    assert errors.UsageError is UsageError


@pytest.mark.parametrize("late", [TimedOut, DeadlinePassed])
def test_a_deadline_that_passed_says_what_was_awaited(late: type[TimedOut]) -> None:
    with pytest.raises(TypeError):
        late()  # type: ignore[call-arg]
    with pytest.raises(TimeoutError, match=r"^no READY on the console line$"):
        raise late("no READY on the console line")


def test_the_journal_says_what_did_not_come(tmp_path: Path) -> None:
    with pytest.raises(NotYet) as late:
        Journal().wait(lambda _: True, time.monotonic(), what="the driver's first line")
    assert unexpected.sentence(late.value, tmp_path) == "the driver's first line did not come within the time allowed"


def bare(source: str) -> list[int]:
    """Return the lines of a text that raise a nameless TimeoutError."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and ast.unparse(node.exc).partition("(")[0] == "TimeoutError"
    ]


def test_nobody_raises_a_nameless_time_out() -> None:
    assert bare("raise TimeoutError") == bare("raise TimeoutError()") == [1]
    found = {str(file.relative_to(ROOT)): bare(file.read_text(encoding="utf-8")) for file in CODE}
    assert {file: lines for file, lines in found.items() if lines} == {}
