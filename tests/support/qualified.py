"""A qualification as `wsklab qualify` leaves it, made without machines: what the runs would have written is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from wsklab.orchestrator.judge.observed import Disconnect, Ends, Observed, Verdict
from wsklab.orchestrator.release import conduct, plan, release
from wsklab.orchestrator.release.plan import Loaded
from wsklab.orchestrator.release.release import Earlier, Released, Signer
from wsklab.orchestrator.release.statement import Begun, Lab
from wsklab.orchestrator.results.results import UNLOAD, UNLOAD_COVERS, Plan, Results, ScenarioResult
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import load

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LAB = Lab(version="0.1.0", sha256="1" * 64)

PLAN = """
name: echo-1.4.2
targets: [windows-11]
scenarios: [linger-zero, close-graceful]
repeats: 3
rules: {covers: [C01, C05]}
"""

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = CryptoSigner(PRIVATE)

Judge = Callable[[str, int], tuple[Verdict, str]]


def passes(name: str, number: int) -> tuple[Verdict, str]:
    """Every row passes."""
    return "pass", ""


def fails(scenario: str, *numbers: int, verdict: Verdict = "fail", reason: str = "flags 0x0") -> Judge:
    """All rows pass but these repeats of a scenario."""
    return lambda name, number: (verdict, reason) if name == scenario and number in numbers else ("pass", "")


def seen(abortive: bool) -> Observed:
    """Return what a row observed of a driver that was told once."""
    call = Disconnect(
        conn=1, flags=int(abortive), abortive=abortive, at_dispatch=False, irql=0, context_ok=True, order=1
    )
    return Observed(disconnects=[call], receives=[], sends=[], wire=Ends(peer=[["rst"]], driver=[[]], frames=9))


@dataclass
class Runs:
    """In place of `wsklab run`: writes what it would have left; how many there were."""

    judge: Judge = passes
    qualifying: bool = True
    driver: Mapping[str, str | None] = field(default_factory=lambda: {"name": "wsklab", "sha256": "d" * 64})
    image: str = "a" * 64
    verifier: str | None = None
    interrupt_at: int | None = None
    """The row, of all that there are, before which it is interrupted."""
    calls: list[list[str]] = field(default_factory=list)
    rows: int = 0

    def __call__(self, words: Sequence[str]) -> None:
        """Run these words. Raises KeyboardInterrupt when it is to."""
        self.calls.append(list(words))
        given = dict(pairwise(words))
        folder, repeat = Path(given["--out"]), int(given["--repeat"])
        scenarios = [load(Path(word)) for word in words if word.endswith(".yaml")]
        folder.mkdir(parents=True)
        results = Results(
            run={
                "started": NOW.isoformat(),
                "seed": int(given["--seed"]),
                "accelerator": "kvm",
                "host": "Linux",
                "versions": {"wsklab": "0.1.0", "qemu": "10.0"},
            },
            target={
                "name": given["--target"],
                "kind": "windows",
                "qualifying": self.qualifying,
                "version": "Windows 11",
                "image_sha256": self.image,
                **({"verifier": {"choice": self.verifier}} if self.verifier else {}),
            },
            driver={"twin": None, "profile": given["--driver"], **self.driver},
            plan=Plan(tuple(s.name for s in scenarios), repeat),
        )
        try:
            for number in range(1, repeat + 1):
                for scenario in scenarios:
                    if self.rows == self.interrupt_at:
                        self.interrupt_at = None
                        raise KeyboardInterrupt
                    self.rows += 1
                    verdict, reason = self.judge(scenario.name, number)
                    results.scenarios.append(row(scenario.name, number, scenario.covers, verdict, reason))
            results.scenarios.append(row(UNLOAD, 1, UNLOAD_COVERS, *self.judge(UNLOAD, 1)))
            results.conclude("complete")
        except KeyboardInterrupt:
            results.conclude("interrupted", "interrupted")
            raise
        finally:
            lines = [json.dumps(asdict(one)) + "\n" for one in results.scenarios]
            (folder / "results.jsonl").write_text("".join(lines))
            (folder / "results.json").write_text(results.as_text())
            for one in results.scenarios:
                (folder / one.evidence).mkdir(parents=True)
                (folder / one.evidence / "verdict.json").write_text(one.verdict)


def row(name: str, number: int, covers: Sequence[str], verdict: Verdict, reason: str) -> ScenarioResult:
    """One row."""
    return ScenarioResult(
        name=name,
        title=name,
        repeat=number,
        verdict=verdict,
        reasons=[reason] if reason else [],
        covers=covers,
        expected={},
        observed=seen(abortive=name == "linger-zero"),
        timing={},
        evidence=f"evidence/{name}-{number}",
    )


def loaded(folder: Path, text: str = PLAN, errata: str | None = None) -> Loaded:
    """Return a plan in a file, and its errata beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    if errata is not None:
        (folder / "errata.yaml").write_text(errata)
        text += "errata: errata.yaml\n"
    (folder / "PLAN.yaml").write_text(text)
    return plan.load(folder / "PLAN.yaml")


def begin(folder: Path, planned: Loaded, rehearsal: bool = False, lab: Lab = LAB) -> Begun:
    """Settle everything in a folder."""
    chosen = {driver: catalogue.select(planned.plan.scenarios) for driver in planned.plan.drivers}
    errata = planned.errata_content
    begun = Begun(
        plan_sha256=planned.sha256,
        errata_sha256=None if errata is None else sha256(errata).hexdigest(),
        rehearsal=rehearsal,
        begun=NOW - timedelta(hours=1),
        lab=lab,
        scenarios=conduct.digests(chosen),
    )
    folder.mkdir()
    conduct.begin(folder, planned, begun, chosen)
    return begun


def course(folder: Path, planned: Loaded, begun: Begun, runs: Runs) -> conduct.Conduct:
    """Return the runs of a plan, which only write."""
    return conduct.Conduct(
        folder,
        planned,
        begun,
        runs,
        frozenset({"verifier"}),
        lambda _: {"qemu-system-x86_64": "9" * 64},
        lambda _: None,
    )


def qualified(
    folder: Path,
    runs: Runs | None = None,
    text: str = PLAN,
    *,
    errata: str | None = None,
    rehearsal: bool = False,
    signer: Signer | None = None,
    earlier: Earlier | None = None,
    now: datetime = NOW,
) -> Released:
    """Return a whole qualification in `folder / "release"`, signed."""
    planned = loaded(folder, text, errata)
    home = folder / "release"
    course(home, planned, begin(home, planned, rehearsal), runs or Runs()).run()
    return release.conclude(home, now, signer or Signer(KEY), earlier, printed=lambda *_: "not printed")


def statement_of(released: Released) -> Path:
    """Return the signed statement's file."""
    return next(path for path in released.files if path.name.endswith("qualification.dsse.json"))


def public_pem() -> bytes:
    """Return the public key, as a verifier has it."""
    return PRIVATE.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
