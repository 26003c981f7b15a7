"""A run's folder as `wsklab run` leaves it, made from recorded observations: what the browser opens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from support.recorded import Recording

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.results import report
from wsklab.orchestrator.results.results import Results, ScenarioResult
from wsklab.orchestrator.results.story import tell
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

SCENARIO = """
name: linger-zero
title: The peer closes with SO_LINGER 0
covers: [C05, R4, R5]
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - peer: {close: {linger: 0}}
  - driver: {await: disconnect}
expect:
  wire: {peer: rst, driver: none}
  disconnect: [{abortive: set, at_dispatch: any, context: own}]
"""

HOSTILE = (
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'};document.title='owned';//",
    "</script><h1>owned</h1>",
    "{{ 7 * 7 }}",
    "\u202eevil\u202c",
)


def recording(flags: int = 1, fates: Sequence[str] = ()) -> Recording:
    """Make a recording: the peer resets a connection, and the driver is told so, with these flags.

    Further resets met such a fate.
    """
    made = Recording().opened()
    made.step("driver", "connect").step("driver", "enable").step("peer", "close")
    made.frame("target", "S").frame("peer", "SA").frame("target", "A").frame("peer", "RA", 2)
    for fate in fates:
        made.frame("peer", "RA", 2, fate=fate)
    return made.disconnect(flags).step("driver", "await")


@cache
def scenario() -> Scenario:
    """Return the one that all rows are runs of."""
    return parse(SCENARIO, Scenario, "test")


class Run:
    """Rows are added one by one; `write` makes the page and returns its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = Results(
            run={
                "id": "20260101-000000-000",
                "started": "2026-01-01T00:00:00+00:00",
                "seed": 1,
                "command": "wsklab run --repeat 2",
                "host": "Linux 6.1 x86_64",
                "accelerator": "tcg",
                "versions": {},
            },
            target={
                "name": "standin",
                "kind": "standin",
                "qualifying": False,
                "version": "Wine 8.0",
                "image_sha256": "0",
            },
            driver={"name": "wsklab", "sha256": "5f" * 32, "twin": None},
            state="complete",
        )
        self._stories: list[list[report.StoryRow]] = []

    def add(
        self,
        name: str = "linger-zero",
        number: int = 1,
        flags: int = 1,
        loss: str = "",
        title: str = "",
        fates: Sequence[str] = (),
    ) -> None:
        """One row: `flags` other than 1 fail; `loss` is a crash and what was said of it."""
        made = recording(flags, fates)
        if loss:
            made.add("machine", "crash", machine="target", detail=loss)
        observations = made.ended()
        judgement = judge(scenario(), observations)
        evidence = f"evidence/{name}" + (f"-{number}" if number > 1 else "")
        for file in ("wire.pcapng", "debug.txt", *(["crash/target-screen.png"] if loss else [])):
            path = self.folder / evidence / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.results.scenarios.append(
            ScenarioResult(
                name=name,
                title=title or scenario().title,
                repeat=number,
                verdict=judgement.verdict,
                reasons=list(judgement.reasons),
                covers=list(scenario().covers),
                expected={},
                observed=judgement.observed,
                timing={"total_s": 0.42},
                evidence=evidence,
                story=tell(scenario(), observations, judgement.verdict, judgement.reasons),
            )
        )
        self._stories.append(report.story(observations))

    def write(self) -> Path:
        """Return the page."""
        evidence = [report.files(self.folder, row.evidence) for row in self.results.scenarios]
        page = self.folder / "report.html"
        page.write_text(report.render(self.results.as_dict(), self._stories, evidence), encoding="utf-8")
        return page
