"""The fixtures of tests in Python: `lab`, `target`, `peer`, `wire`, `driver`, each a party of one conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from wsklab.common.errors import WsklabError
from wsklab.orchestrator.live.parties import Driver, Parties, Peer, Target, TheLab, Wire
from wsklab.orchestrator.live.session import Told
from wsklab.orchestrator.play.player import FAILURES
from wsklab.orchestrator.pytest_plugin.outcomes import LabFailed, reason
from wsklab.orchestrator.pytest_plugin.sharing import holder

TEST = pytest.StashKey[Told]()
"""The conversation of an item, from its setup on."""

WRONG = pytest.StashKey[str]()
"""What the test itself has found wrong."""

ERROR = pytest.StashKey[bool]()
"""It has been told already that the lab is at fault."""


def words_of(item: pytest.Item) -> dict[str, Any]:
    """Return what `@pytest.mark.scenario(connections=2, covers=["R5"])` says, the closest mark last."""
    words: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("scenario"))):
        words |= mark.kwargs
    return words


def name_of(nodeid: str) -> str:
    """Return the name of a test's evidence: its file, class and function."""
    path, *rest = nodeid.split("::")
    return "-".join([path.rpartition("/")[2].removesuffix(".py"), *rest])


@pytest.fixture
def _parties(request: pytest.FixtureRequest) -> Iterator[Parties]:
    item = request.node
    shared = item.get_closest_marker("shared") is not None
    try:
        session = holder(request.config).get()
        told = session.converse(name_of(item.nodeid), item.nodeid, words_of(item), shared)
    except ValueError as error:
        pytest.fail(f"the mark `scenario` of this test is wrong: {error}", pytrace=False)
    except (WsklabError, *FAILURES) as error:
        raise LabFailed(str(error)) from None
    item.stash[TEST] = told
    yield Parties(told.conversation)
    if WRONG not in item.stash:
        told.drop()  # it was skipped or interrupted, or is judged already
        return
    row = told.conclude(item.stash[WRONG], item.nodeid)
    if row.verdict == "infra" and not item.stash.get(ERROR, False):
        raise LabFailed(f"the test failed by the lab's own fault: {reason(row)}")


@pytest.fixture
def lab(_parties: Parties) -> TheLab:
    """Provide the lab as a whole: `lab.settle()`, `lab.wait(1)`, `lab.story()`."""
    return _parties.lab


@pytest.fixture
def target(_parties: Parties) -> Target:
    """Provide the guest that runs the driver: `target.shell("...")`."""
    return _parties.target


@pytest.fixture
def peer(_parties: Parties) -> Peer:
    """Provide the other end of every connection: `peer.close(linger=0)`."""
    return _parties.peer


@pytest.fixture
def wire(_parties: Parties) -> Wire:
    """Provide the cable: `wire.drop_first("fin")`, `wire.frames`."""
    return _parties.wire


@pytest.fixture
def driver(_parties: Parties) -> Driver:
    """Provide the driver under test: `driver.connect()`, `driver.await_disconnect().flags`."""
    return _parties.driver
