"""A wait ends before its time only when nothing can come any more: what comes late is seen, what is lost costs little.

No receive is posted where an event comes late: an IRP that is outstanding would be reason enough to wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.lab.lab import LOAD, Lab
from wsklab.orchestrator.liveness.quiescence import NOTHING
from wsklab.orchestrator.play.player import play
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import Scenario, load
from wsklab.orchestrator.scenario.yaml_source import parse

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

LATE = """
name: late
title: The peer's FIN comes long after the driver's last word
steps:
  - driver: {{connect: peer}}
  - driver: {{enable: [disconnect]}}
  {before}
  - peer: close
  - driver: {{await: disconnect}}
expect:
  wire: {{peer: fin, driver: none}}
  disconnect: [{{abortive: clear}}]
"""

KEEPALIVE = """
name: keepalive
title: Nothing but the keepalive timer of the driver's side tells that the peer is gone
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - driver: {keepalive: {idle: 4, interval: 1, count: 2}}
  - wire: {blackhole: both}
  - driver: {await: disconnect, within: 20}
expect:
  characterise: true
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Preparation.prepare(tmp_path_factory.mktemp("late"), Console(quiet=True)).boot(driver(None))
    yield lab
    lab.stop()


def driver(twin: str | None) -> BuiltDriver:
    return build_driver(twin, images.cache_folder(), lambda _text: None)


def judged(lab: Lab, scenario: Scenario, folder: Path) -> Judgement:
    return judge(scenario, play(lab, scenario, folder / "wire.pcapng"))


@pytest.mark.parametrize(
    "before",
    [
        "- wire: {hold: {from: peer, segment: fin, seconds: 7, count: every}}",  # the wire has it
        "- wire: {drop: {from: peer, segment: fin, count: 4}}",  # the peer's kernel sends it again, seconds later
    ],
    ids=["held", "lost-four-times"],
)
def test_an_event_that_comes_late_is_waited_for(lab: Lab, tmp_path: Path, before: str) -> None:
    judgement = judged(lab, parse(LATE.format(before=before), Scenario, "test"), tmp_path)
    assert judgement.verdict == "pass", judgement.reasons


def test_a_timer_of_a_kernel_is_waited_for(lab: Lab, tmp_path: Path) -> None:
    judgement = judged(lab, parse(KEEPALIVE, Scenario, "test"), tmp_path)
    assert judgement.verdict == "pass", judgement.reasons


def test_bytes_that_were_never_sent_are_not_waited_for(lab: Lab, tmp_path: Path) -> None:
    """The peer waits by itself: its program is told that nothing can come, and answers with what it has."""
    lab.target.unload(LOAD * lab.slowness)
    lab.load(driver("sends-short"))
    judgement = judged(lab, load(BUILT_IN / "half-close.yaml"), tmp_path)
    assert judgement.verdict == "fail"
    assert any(
        reason.endswith(f"the peer could not receive: not all the data came in time, {NOTHING}")
        for reason in judgement.reasons
    )
    assert "the peer received 3999 bytes, expected 4000" in judgement.reasons
    assert lab.trusted


def test_an_event_that_is_lost_is_not_waited_for(lab: Lab, tmp_path: Path) -> None:
    lab.target.unload(LOAD * lab.slowness)
    lab.load(driver("never-enables"))
    judgement = judged(lab, load(BUILT_IN / "data-then-reset.yaml"), tmp_path)
    assert judgement.verdict == "fail"
    assert any(reason.endswith(f"disconnect was not reported, {NOTHING}") for reason in judgement.reasons)
    assert lab.trusted
