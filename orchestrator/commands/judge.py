"""`wsklab judge`: the verdicts of a run given again from its evidence alone, and compared with what they were."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from wsklab.common import files
from wsklab.common.text import visible
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, WRONG_USAGE, UsageError
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run.order import AGAIN
from wsklab.orchestrator.scenario import scenario

OBSERVATIONS, SCENARIO, VERDICT = "observations.jsonl", "scenario.yaml", "verdict.json"


@dataclass(frozen=True)
class Rejudged:
    """One evidence folder, judged again; no verdict where the evidence does not give one."""

    evidence: str
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    """In what it comes out otherwise, a sentence for each point."""
    damage: tuple[str, ...] = ()
    """Why the evidence gives no verdict, or proves nothing of the one it had."""
    remark: str = ""
    """Why there is nothing to judge, and no row rests on it."""


def rejudge(folder: Path, name: str, row: ScenarioResult | None = None) -> Rejudged:
    """Judge one evidence folder, and compare with its own verdict and with its row where it has one."""
    try:
        read = observation.read(folder / OBSERVATIONS)
        again = judge(scenario.load(folder / SCENARIO), read.observations)
    except UsageError as error:
        return Rejudged(name, damage=(str(error),))
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # whole, but not what this version writes
        what = f"{type(error).__name__}: {error}"
        return Rejudged(name, damage=(f"{folder / OBSERVATIONS}: this version cannot judge it ({what}).",))
    damage: list[str] = []
    differs: list[str] = []
    if read.cut:
        damage.append(f"{folder / OBSERVATIONS}: ends within a line, which is left out: the run was killed there.")
    try:
        kept = files.read_json(folder / VERDICT, files.RESULT)
        differs += _differences(VERDICT, kept, again) if isinstance(kept, dict) else [f"{VERDICT} is no verdict"]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        damage.append(f"{folder / VERDICT}: cannot be read ({why}), so nothing says what the verdict was.")
    if row is not None:
        of_row: dict[str, object] = {"verdict": row.verdict, "reasons": row.reasons, "observed": row.observed}
        differs += _differences("the row", of_row, again)
    return Rejudged(name, again.verdict, again.reasons, tuple(differs), tuple(damage))


def _differences(where: str, kept: Mapping[str, object], again: Judgement) -> Iterator[str]:
    """Say in which points a judgement is not what was kept of it."""
    now = json.loads(json.dumps(asdict(again)))
    if kept.get("verdict") != now["verdict"]:
        yield f"the verdict is {now['verdict']}, in {where} it is {kept.get('verdict')}"
    for point in ("reasons", "remarks", "observed"):
        before, after = kept.get(point, now[point]), now[point]
        if before != after:
            yield f"{point}: now {_short(after)}, in {where} {_short(before)}"


def _short(value: object, most: int = 200) -> str:
    text = "; ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else json.dumps(value)
    return (text if len(text) <= most else f"{text[:most]}...") or "none"


def rejudge_run(folder: Path) -> Iterator[Rejudged]:
    """Judge every evidence folder of a run again, then name the rows that have none. Raises UsageError.

    The driver's unload is left out: the judge has no part in its verdict. Of a first attempt, whose row is that of the
    second, nothing may have been kept: a disk may have been full.
    """
    try:
        waiting = {row.evidence: row for row in rows.read(folder) if row.name != UNLOAD}
    except FileNotFoundError:  # killed before its first row
        waiting = {}
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"{error}; the verdicts it held cannot be compared.") from None
    second = {name.removesuffix(AGAIN) for name in waiting if name.endswith(AGAIN)}
    for path in sorted(path for path in (folder / "evidence").iterdir() if path.is_dir()):
        name = str(path.relative_to(folder))
        if path.name != UNLOAD and not path.name.startswith((f"{UNLOAD}-", f"{UNLOAD}@")):
            if name in second and name not in waiting and not (path / OBSERVATIONS).exists():
                yield Rejudged(name, remark="the first of two attempts, of which nothing was kept")
            else:
                yield rejudge(path, name, waiting.pop(name, None))
    for name, row in waiting.items():
        yield Rejudged(name, damage=(f"{folder / name}: is gone; the row says {row.verdict}.",))


def command_on(folder: Path, as_json: bool) -> int:
    """Carry out the command; returns its exit code. Raises UsageError for a folder that holds no evidence."""
    if (folder / "evidence").is_dir():
        found = rejudge_run(folder)
    elif (folder / OBSERVATIONS).exists():
        found = iter([rejudge(folder, folder.resolve().name)])
    else:
        raise UsageError(f"{folder}: is neither the folder of a run nor one of its evidence folders.")
    seen = []
    for one in found:
        seen.append(one)
        if not as_json:
            _show(one)
    code = WRONG_USAGE if any(one.damage for one in seen) or not seen else ALL_PASS
    if any(one.differs for one in seen):
        code = SOME_FAIL
    if as_json:
        click.echo(json.dumps({"exit_code": code, "evidence": [asdict(one) for one in seen]}, indent=1))
    else:
        counts = {
            "as before": sum(not (one.differs or one.damage or one.remark) for one in seen),
            "otherwise": sum(bool(one.differs) for one in seen),
            "damaged or without evidence": sum(bool(one.damage) and not one.differs for one in seen),
        }
        click.echo(
            "\n" + ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "as before")
        )
    return code


def _show(one: Rejudged) -> None:
    click.echo(visible(f"{one.verdict or '-':12}  {one.evidence}", lines=True))
    if one.remark:
        click.echo(f"              {one.remark}")
    for reason in one.reasons:
        click.echo(visible(f"              {reason}", lines=True))
    for told in (*(f"otherwise: {text}" for text in one.differs), *one.damage):
        click.echo(visible(f"          ! {told}", lines=True))


@click.command("judge")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, as_json: bool) -> None:
    """Give the verdicts of a run, or of one evidence folder, again from the evidence alone.

    What comes out otherwise than it was is named. Exit codes: 0 all as before; 1 something comes out otherwise;
    2 evidence is damaged, or there is none.
    """
    sys.exit(command_on(folder, as_json))
