"""Rows and results, as tests of what is made of them need some."""

from __future__ import annotations

from typing import Any

from wsklab.orchestrator.results import junit as junit_file
from wsklab.orchestrator.results.results import Results, ScenarioResult, observed


def result(name: str = "linger-zero", verdict: str = "pass", repeat: int = 1, **more: Any) -> ScenarioResult:
    fields: dict[str, Any] = {
        "name": name,
        "title": "A title",
        "repeat": repeat,
        "verdict": verdict,
        "reasons": [],
        "covers": ["C05"],
        "expected": {},
        "observed": observed() | {"wire": {"peer": [["rst"]], "driver": [[]], "frames": 9}},
        "timing": {"total_s": 0.5},
        "evidence": f"evidence/{name}-{repeat}",
        **more,
    }
    return ScenarioResult(**fields)


def some(*scenarios: ScenarioResult) -> Results:
    return Results(
        run={
            "id": "r1",
            "started": "2026-01-01T00:00:00Z",
            "seed": 1,
            "command": "wsklab run",
            "host": "h",
            "accelerator": "tcg",
            "versions": {},
        },
        target={"name": "standin", "kind": "standin", "qualifying": False, "version": "Wine 8.0", "image_sha256": "0"},
        driver={"name": "wsklab", "sha256": "0" * 64, "twin": None},
        scenarios=list(scenarios),
        state="complete",
    )


def junit(*words: Any) -> str:
    """Return junit.xml as one text."""
    return "".join(junit_file.junit(*words))
