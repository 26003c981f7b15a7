"""The in-toto statements on a release: our own predicate with its schema, and the test-result predicate beside it.

Specifications: in-toto attestation, `spec/v1/statement.md` and `spec/predicates/test-result.md`. A rehearsal has a
predicate type of its own, as a reader that does not know a field passes over it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.plan import Plan, proves
from wsklab.orchestrator.release.records import Cell, Closed
from wsklab.orchestrator.release.rules import Decision, decide
from wsklab.orchestrator.release.sampling import bound
from wsklab.orchestrator.results.known import Erratum
from wsklab.orchestrator.results.results import UNLOAD

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
QUALIFICATION = "urn:x-wsklab:qualification:v1"
REHEARSAL = "urn:x-wsklab:qualification-rehearsal:v1"

Result = Literal["go", "no-go", "rehearsal-go", "rehearsal-no-go"]


class Lab(Closed):
    """The lab that has judged: its version, and a hash of its code."""

    version: str
    sha256: str


class Begun(Closed):
    """What is settled before the first run and may not change until the last (`begun.json`)."""

    plan_sha256: str
    errata_sha256: str | None
    rehearsal: bool
    begun: datetime
    lab: Lab
    scenarios: dict[str, dict[str, str]]
    """Driver -> scenario -> SHA-256 of what it says."""


class Previous(Closed):
    """The last qualified release."""

    name: str
    sha256: str
    """Of its envelope."""
    finished: datetime


class Pooled(Closed):
    """The flake rate of a whole cell: what its scenarios have together."""

    cell: str
    failed: int
    judged: int
    bound: float
    """The highest rate that is possible at the plan's confidence."""


class Evidence(Closed):
    """The index of all files."""

    sha256: str
    files: int


class Predicate(Closed):
    """What is stated of the subjects, the drivers."""

    model_config = ConfigDict(title="wsklab qualification, version 1")

    version: Literal[1] = 1
    name: str
    rehearsal: bool
    result: Result
    decision: Decision
    begun: Begun
    finished: datetime
    plan: Plan
    errata: tuple[Erratum, ...]
    proves: tuple[str, ...]
    """What the plan's repeats prove, as it was shown before the first run."""
    pooled: tuple[Pooled, ...]
    cells: tuple[Cell, ...]
    previous: Previous | None
    deviations: tuple[str, ...]
    """From the last qualified release."""
    evidence: Evidence


def made(
    plan: Plan,
    errata: Sequence[Erratum],
    begun: Begun,
    cells: Sequence[Cell],
    finished: datetime,
    evidence: Evidence,
    previous: Previous | None = None,
    deviations: Sequence[str] = (),
) -> Predicate:
    """Return the predicate; all that can be computed is computed here, and again when it is verified. Pure."""
    wanted = {driver: list(names) for driver, names in begun.scenarios.items()}
    decision = decide(plan, wanted, cells, errata, finished.date(), begun.rehearsal)
    word = "go" if decision.go else "no-go"
    return Predicate(
        name=plan.name,
        rehearsal=begun.rehearsal,
        result=TypeAdapter(Result).validate_python(f"rehearsal-{word}" if begun.rehearsal else word),
        decision=decision,
        begun=begun,
        finished=finished,
        plan=plan,
        errata=tuple(errata),
        proves=tuple(proves(plan, max(map(len, wanted.values()), default=0))),
        pooled=tuple(_pooled(cell, plan.rules.confidence) for cell in cells),
        cells=tuple(cells),
        previous=previous,
        deviations=tuple(deviations),
        evidence=evidence,
    )


def _pooled(cell: Cell, confidence: float) -> Pooled:
    played = [count for count in cell.scenarios if count.scenario != UNLOAD]
    failed = sum(count.failed for count in played)
    judged = sum(count.passed + count.failed for count in played)
    return Pooled(cell=cell.title, failed=failed, judged=judged, bound=bound(failed, judged, confidence))


def again(predicate: Predicate, cells: Sequence[Cell]) -> Predicate:
    """Return the predicate as it should be, of its own plan and of these cells."""
    return made(
        predicate.plan,
        predicate.errata,
        predicate.begun,
        cells,
        predicate.finished,
        predicate.evidence,
        predicate.previous,
        predicate.deviations,
    )


def subjects(predicate: Predicate) -> dict[str, str]:
    """Return the drivers, file name -> SHA-256; two of one name are told apart."""
    found = dict[str, str]()
    for cell in predicate.cells:
        for run in cell.runs:
            name, digest = f"{run.driver.name.removesuffix('.sys')}.sys", run.driver.sha256
            if digest in found.values():
                continue
            found[name if name not in found else f"{name} {digest[:12]}"] = digest
    return found


def payload(predicate: Predicate) -> bytes:
    """Return our statement."""
    kind = REHEARSAL if predicate.rehearsal else QUALIFICATION
    return _statement(predicate, kind, predicate.model_dump(mode="json"))


def test_result(predicate: Predicate) -> bytes:
    """Return the test-result statement on the same subjects, for those who know no other.

    A scenario of a cell is a test; known failures and rehearsals are never better than WARNED.
    """
    passed, warned, failed = list[JsonValue](), list[JsonValue](), list[JsonValue]()
    for cell in predicate.cells:
        for count in cell.scenarios:
            name = f"{cell.title}: {count.scenario}"
            bad = count.failed > predicate.plan.rules.failures
            perfect = count.passed == count.runs
            (failed if bad else passed if perfect else warned).append(name)
    result = "FAILED" if not predicate.decision.go else "WARNED" if warned or predicate.rehearsal else "PASSED"
    configuration: list[JsonValue] = [
        {"name": "plan.yaml", "digest": {"sha256": predicate.begun.plan_sha256}},
        {"name": "evidence.sha256", "digest": {"sha256": predicate.evidence.sha256}},
        {"name": f"wsklab {predicate.begun.lab.version}", "digest": {"sha256": predicate.begun.lab.sha256}},
    ]
    if predicate.rehearsal:
        configuration.append({"name": "REHEARSAL: it qualifies nothing", "digest": {}})
    told: dict[str, JsonValue] = {
        "result": result,
        "configuration": configuration,
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
    }
    return _statement(predicate, TEST_RESULT, told)


def _statement(predicate: Predicate, kind: str, told: Mapping[str, JsonValue]) -> bytes:
    document = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects(predicate).items()],
        "predicateType": kind,
        "predicate": told,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def parse(content: bytes) -> Predicate:
    """Return the predicate of our statement, of which nothing but its form is known. Raises Refused."""
    try:
        document = json.loads(content, object_pairs_hook=_unique)
        kind, told = document["predicateType"], document["predicate"]
        if document["_type"] != STATEMENT or kind not in (QUALIFICATION, REHEARSAL):
            raise Refused(f"it is a statement of another kind ({kind})")
        predicate = Predicate.model_validate_json(json.dumps(told))
    except Refused:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        raise Refused("it is not a statement of the schema that this version of wsklab knows") from None
    if payload(predicate) != content:  # the kind, the subjects, and every field in its one form
        raise Refused("its parts contradict each other")
    return predicate


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def schema() -> str:
    """Return the JSON schema of our predicate."""
    document = Predicate.model_json_schema()
    document |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": QUALIFICATION}
    return json.dumps(document, indent=1) + "\n"
