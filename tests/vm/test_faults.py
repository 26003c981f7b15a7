"""Parts of a lab broken for real: a panel of what `wsklab doctor --faults` does, at least one for each part.

How long it took until each was named is no assertion, as hosts differ: it is written to `faults.json`, of pytest's
temporary folder or where WSKLAB_FAULTS says. What a fault does to a run as a whole is in test_run and test_warm_start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.trials.fault import Case, Outcome, Setup, do
from wsklab.orchestrator.trials.faults import CASES

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

PANEL = [case for case in CASES if case.panel]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    preparation = Preparation.prepare(tmp_path_factory.mktemp("faults"), Console(quiet=True))
    return Setup(preparation, build_driver(None, images.cache_folder(), lambda _text: None))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Outcome]]:
    """All that were done, written at the end."""
    found: list[Outcome] = []
    yield found
    path = Path(os.environ.get("WSKLAB_FAULTS") or tmp_path_factory.getbasetemp() / "faults.json")
    path.write_text(json.dumps([asdict(outcome) for outcome in found], indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("case", PANEL, ids=[case.name.replace(" ", "-").replace("/", "-") for case in PANEL])
def test_a_fault_gets_its_verdict_and_its_evidence(
    case: Case, setup: Setup, outcomes: list[Outcome], tmp_path: Path
) -> None:
    outcome = do(case, setup, tmp_path / "fault")
    outcomes.append(outcome)
    assert outcome.problems == (), outcome.seen
