"""Runs as the history knows them, made up; and folders of runs as `wsklab run` leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsklab.orchestrator.history import behaviour
from wsklab.orchestrator.history.records import Environment, Ingredients, Row, Run
from wsklab.orchestrator.results.results import Verdict, observed

RESET: Mapping[str, Any] = {
    **observed(),
    "disconnects": [
        {"conn": 0, "flags": 1, "abortive": True, "at_dispatch": None, "irql": 2, "context_ok": True, "order": 1}
    ],
    "receives": [{"conn": 0, "status": "c000020d", "length": 0, "order": 2}],
    "wire": {"peer": [["rst"]], "driver": [[]], "frames": 9},
}


def run(number: int = 1, driver: str = "d1", **more: Any) -> Run:
    """Return a run; runs with a higher number began later."""
    fields: dict[str, Any] = {
        "key": f"{number:064}",
        "name": f"run-{number}",
        "node": "here",
        "folder": f"/runs/{number}",
        "started": 1_750_000_000 + 86_400 * number,
        "state": "complete",
        "why": None,
        "exit_code": 0,
        "asked": 1,
        "not_run": 0,
        "seed": 1,
        "command": "wsklab run",
        "environment": Environment("standin", "wsklab", "tcg"),
        "qualifying": False,
        "driver": "wsklab",
        "ingredients": Ingredients(driver, "image", "Wine 8.0", "7.2", "0.1.0", "Linux"),
    }
    return Run(**(fields | more))


def row(
    scenario: str = "linger-zero",
    verdict: Verdict = "pass",
    repeat: int = 1,
    reasons: Sequence[str] = (),
    seen: Mapping[str, Any] = RESET,
    total_ms: int = 500,
    **more: Any,
) -> Row:
    """Return a row of that scenario."""
    fields: dict[str, Any] = {
        "scenario": scenario,
        "repeat": repeat,
        "verdict": verdict,
        "reasons": tuple(reasons),
        "behaviour": behaviour.of(seen),
        "expects": "0" * 16,
        "total_ms": total_ms,
        "run_ms": 400,
        "restore_ms": 80,
        "judge_ms": 5,
        "evidence": f"evidence/{scenario}" + (f"-{repeat}" if repeat > 1 else ""),
    }
    return Row(**(fields | more))


def folder(
    path: Path,
    verdicts: Mapping[str, Sequence[Verdict]],
    state: str = "complete",
    started: str = "2026-01-01T00:00:00+00:00",
) -> Path:
    """Return a run's folder, as far as the history reads it: scenario -> the verdict of each repeat."""
    path.mkdir(parents=True)
    rows = [
        {
            "name": name,
            "title": "A title",
            "repeat": repeat,
            "verdict": verdict,
            "reasons": [] if verdict == "pass" else ["R5: WSK_FLAG_ABORTIVE is clear, must be set"],
            "covers": ["R5"],
            "expected": {},
            "observed": RESET,
            "timing": {"total_s": 0.5, "run_s": 0.4, "restore_s": 0.08, "judge_s": 0.005},
            "evidence": f"evidence/{name}" + (f"-{repeat}" if repeat > 1 else ""),
            "findings": [],
        }
        for name, every in verdicts.items()
        for repeat, verdict in enumerate(every, 1)
    ]
    for made in rows:
        evidence = path / str(made["evidence"])
        evidence.mkdir(parents=True)
        (evidence / "debug.txt").write_text("wsklab: text\n", encoding="utf-8")
    (path / "results.jsonl").write_text("".join(json.dumps(made) + "\n" for made in rows), encoding="utf-8")
    document = {
        "schema": 2,
        "state": state,
        "why": None,
        "exit_code": 3 if state == "running" else 0,
        "asked": len(rows),
        "not_run": {name: len(every) for name, every in verdicts.items()} if state == "running" else {},
        "plan": {"scenarios": list(verdicts), "repeat": 1, "until_fail": False},
        "run": {
            "id": path.name,
            "started": started,
            "seed": 1,
            "command": "wsklab run",
            "host": "Linux 6.1",
            "accelerator": "tcg",
            "versions": {"wsklab": "0.1.0", "qemu": "7.2"},
        },
        "target": {
            "name": "standin",
            "kind": "standin",
            "qualifying": False,
            "version": "Wine 8.0",
            "image_sha256": "0",
        },
        "driver": {"name": "wsklab", "sha256": "5f" * 32, "twin": None, "profile": "wsklab"},
        "totals": {},
        "scenarios": [] if state == "running" else rows,
    }
    (path / "results.json").write_text(json.dumps(document), encoding="utf-8")
    return path
