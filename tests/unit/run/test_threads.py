"""`--concurrent`: which scenarios get several threads."""

from __future__ import annotations

from wsklab.orchestrator.run.selection import Selection, concurrently
from wsklab.orchestrator.scenario import catalogue


def test_threads_are_given_to_nothing_that_knows_an_order() -> None:
    chosen = Selection(list(catalogue.built_in()), None, None)
    given = {scenario.name for scenario in concurrently(chosen).scenarios if scenario.socket.concurrent}
    assert "close-graceful" in given
    for scenario in catalogue.built_in():
        if not scenario.socket.concurrent:
            assert (scenario.name in given) == (not scenario.expect.order and not scenario.expect.characterise)
