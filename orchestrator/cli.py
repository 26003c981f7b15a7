"""The command line (a contract: scripts rely on its words and its exit codes). Each command imports what it needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import click

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results import WRONG_USAGE

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="wsklab")
def main() -> None:
    """wsklab ends TCP connections in every way they end in the field, and judges what a WSK driver was told.

    It boots a target that runs the driver and a Linux peer under QEMU, joins them by a wire of its own, and compares
    the flags of WskDisconnectEvent with what was on the wire.

    Exit codes: 0 every verdict pass; 1 some fail or flaky; 2 wrong usage; 3 something is inconclusive, the lab's own
    fault, or was not run at all; 130 interrupted.
    """


def _jobs(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """A number of labs; None for `auto`."""
    if value == "auto":
        return None
    if value.isdecimal() and int(value):
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number of labs nor 'auto'")


@main.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with this tag (may be repeated).")
@click.option("--exclude", multiple=True, metavar="TAG", help="No scenarios with this tag (may be repeated).")
@click.option("--target", default="standin", show_default=True, metavar="standin|IMAGE", help="What runs the driver.")
@click.option("--driver", "driver_name", default="wsklab", show_default=True, metavar="PROFILE",
              help="The driver under test: a profile's name or file (docs/drivers.md).")
@click.option("--twin", "twin_names", multiple=True, metavar="NAME",
              help="Run a deliberately wrong build of the driver instead.")
@click.option("--twins", is_flag=True,
              help="Run every wrong build (or those of --twin, which may be repeated) and the correct one, and show "
                   "which scenarios catch which. Exit code 0: all caught, no false alarm. Writes twins.json.")
@click.option("--verifier", "verify", metavar="standard", help="Windows: have Driver Verifier watch the driver.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Run everything N times.")
@click.option("--until-fail", is_flag=True, help="Repeat until a verdict is not pass.")
@click.option("--jobs", default="1", show_default=True, metavar="N|auto", callback=_jobs,
              help="Labs side by side; no more than the host has memory and cores for, and auto is that many.")
@click.option("--isolate/--shared", default=True, show_default=True,
              help="Take the target back to its snapshot before each scenario, or run all on one state of it.")
@click.option("--cold", is_flag=True, help="Boot, even if a snapshot of the ready lab is kept; and keep none.")
@click.option("--seed", default=1, show_default=True, type=int, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder (must be empty).")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on standard output, and nothing else.")
def run(scenarios: tuple[str, ...], tags: tuple[str, ...], exclude: tuple[str, ...], target: str, driver_name: str,
        twin_names: tuple[str, ...], twins: bool, verify: str | None, repeat: int, until_fail: bool, jobs: int | None,
        isolate: bool, cold: bool, seed: int, out: Path | None, as_json: bool) -> None:
    """Run scenarios, named by name, tag, file or folder; none named is the built-in suite.

    With --driver that is the suite any-driver: your driver cannot be steered, only connected and observed.
    Writes results.json, junit.xml, report.html and evidence/ into the run's folder.
    """
    from wsklab.orchestrator import commands

    if twins:
        if (target, driver_name, repeat, until_fail, jobs, verify) != ("standin", "wsklab", 1, False, 1, None):
            raise UsageError("--twins goes with scenarios, --tag, --exclude, --twin, --seed, --out and --json only.")
        from wsklab.orchestrator import twin_commands

        sys.exit(twin_commands.run(words=scenarios, tags=tags, exclude=exclude, names=twin_names, seed=seed, out=out,
                                   as_json=as_json))
    if len(twin_names) > 1:
        raise UsageError("a run has one driver; several twins, one after another, are `wsklab run --twins`.")
    code = commands.run(
        words=scenarios, tags=tags, exclude=exclude, target=target, driver_name=driver_name,
        twin=next(iter(twin_names), None), repeat=repeat, until_fail=until_fail, jobs=jobs, isolate=isolate, cold=cold,
        seed=seed, out=out, as_json=as_json, verify=verify)
    sys.exit(code)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Make results.json, junit.xml and report.html anew from the rows of a run, also of one that was killed.

    The exit code is the run's.
    """
    from wsklab.orchestrator import results_commands

    sys.exit(results_commands.report(folder))


@main.group()
def results() -> None:
    """The contract of results.json."""


@results.command("schema")
def results_schema() -> None:
    """results.json as JSON Schema."""
    from wsklab.orchestrator import results_commands

    results_commands.schema()


@results.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def results_check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check results files: their form, and that their totals are those of their rows."""
    from wsklab.orchestrator import results_commands

    sys.exit(results_commands.check(list(files), as_json))


@main.group(invoke_without_command=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The bench's folder (must be empty).")
@click.option("--quick", is_flag=True, help="Fewer repetitions: about two minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print bench.json on standard output, and nothing else.")
@click.pass_context
def bench(context: click.Context, out: Path | None, quick: bool, as_json: bool) -> None:
    """Measure starts, restores, scenarios, the wire and the KD session; writes bench.json."""
    from wsklab.orchestrator import bench_commands

    if context.invoked_subcommand is None:
        bench_commands.run(out, quick, as_json)


@bench.command("compare")
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench_compare(before: Path, after: Path, as_json: bool) -> None:
    """Compare two results (bench.json, or the folders that hold them)."""
    from wsklab.orchestrator import bench_commands

    bench_commands.compare(before, after, as_json)


@bench.command("endurance")
@click.option("--disconnects", default=10_000, show_default=True, type=click.IntRange(0), metavar="N",
              help="Endings on one shared lab: 100 side by side, half FIN, half RST, in an order drawn.")
@click.option("--restores", default=500, show_default=True, type=click.IntRange(0), metavar="N",
              help="Times back to the snapshot, with a scenario after each.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The bench's folder (must be empty).")
@click.option("--json", "as_json", is_flag=True, help="Print endurance.json on standard output, and nothing else.")
def bench_endurance(disconnects: int, restores: int, out: Path | None, as_json: bool) -> None:
    """Thousands of endings, hundreds of restores: what goes wrong, what grows. Writes endurance.json and plots."""
    from wsklab.orchestrator import endurance_commands

    sys.exit(endurance_commands.run(out, disconnects, restores, as_json))


@main.command()
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--code", default="driver", show_default=True, type=click.Choice(["driver", "provider"]),
              help="What is mutated: the lab's own driver, or the stand-in's WSK provider.")
@click.option("--sample", default=40, show_default=True, type=click.IntRange(1), metavar="N", help="So many mutants.")
@click.option("--seed", default=1, show_default=True, type=int, help="Which ones are drawn.")
@click.option("--file", "files", multiple=True, metavar="NAME.c", help="Only of this file (may be repeated).")
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Only of this kind (may be repeated).")
@click.option("--jobs", default="1", show_default=True, metavar="N|auto", callback=_jobs, help="Labs side by side.")
@click.option("--list", "only_list", is_flag=True, help="Only list the mutants, in the order drawn.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder for results (must be empty).")
@click.option("--resume", type=click.Path(path_type=Path, exists=True), metavar="DIR",
              help="Go on in this folder of a run that was cut short, or add to it with a greater --sample.")
@click.option("--json", "as_json", is_flag=True, help="Print mutants.json on standard output, and nothing else.")
def mutate(scenarios: tuple[str, ...], code: Literal["driver", "provider"], sample: int, seed: int,
           files: tuple[str, ...], operators: tuple[str, ...], jobs: int | None, only_list: bool, out: Path | None,
           resume: Path | None, as_json: bool) -> None:
    """Put small faults into the lab's own driver, one at a time, and see whether the scenarios catch them.

    Exit code: 0 all caught, 1 some not. Writes mutants.json and mutants.jsonl, and keeps the evidence of each catch.
    """
    from wsklab.orchestrator import mutate_commands

    if only_list:
        mutate_commands.listing(code, files, operators, seed, as_json)
        return
    sys.exit(mutate_commands.run(code=code, words=scenarios, files=files, operators=operators, sample=sample,
                                 seed=seed, jobs=jobs, out=out, resume=resume, as_json=as_json))


@main.group()
def scenario() -> None:
    """The catalogue of scenarios, and checks of your own."""


@scenario.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenario_list(as_json: bool) -> None:
    """The built-in scenarios: name, tags, what each covers."""
    from wsklab.orchestrator.suite import any_driver, built_in

    rows = [{"name": s.name, "title": s.title, "tags": s.tags, "covers": s.covers}
            for s in (*built_in(), *any_driver())]
    if as_json:
        _print_json(rows)
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['title']}  [{', '.join(row['tags'])}]")


@scenario.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenario_check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check scenario files or folders of them, without booting anything."""
    from wsklab.orchestrator.scenario import load
    from wsklab.orchestrator.suite import files

    findings: list[dict[str, Any]] = []
    for path in files(paths):
        try:
            findings.append({"file": str(path), "ok": True, "name": load(path).name, "problems": []})
        except UsageError as error:
            findings.append({"file": str(path), "ok": False, "problems": str(error).splitlines()})
    if as_json:
        _print_json(findings)
    for finding in findings if not as_json else []:
        for problem in finding["problems"]:
            click.echo(problem, err=True)
        if finding["ok"]:
            click.echo(f"{finding['file']}: ok ({finding['name']})")
    sys.exit(0 if all(finding["ok"] for finding in findings) else WRONG_USAGE)


@scenario.command("schema")
def scenario_schema() -> None:
    """The scenario format as JSON Schema, for editors."""
    from wsklab.orchestrator.scenario import Scenario

    _print_json(Scenario.model_json_schema(by_alias=True))


@scenario.command("coverage")
@click.option("--results", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A results.json of a real run (may be repeated): shows the newest verdicts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/coverage.md.")
def scenario_coverage(files: tuple[Path, ...], as_json: bool, as_markdown: bool) -> None:
    """Every requirement, ending and field bug: what checks it here, and why not where nothing does."""
    from wsklab.orchestrator import coverage_commands

    sys.exit(coverage_commands.show(files, as_json, as_markdown))


@main.group()
def image() -> None:
    """Guest images: built from recipes, kept in a store, verified before use."""


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def image_list(as_json: bool) -> None:
    """The recipes, and which images of them are in the store."""
    from wsklab.orchestrator import image_commands

    image_commands.listing(as_json)


@image.command("build")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Build even if the store has it; looks for newer packages.")
@click.option("--iso", type=click.Path(path_type=Path), metavar="FILE", help="Windows: your own installation ISO.")
@click.option("--virtio-win", type=click.Path(path_type=Path), metavar="FILE", help="Windows: the drivers' ISO.")
@click.option("--openssh", type=click.Path(path_type=Path), metavar="FILE", help="Windows: OpenSSH-Win64.zip.")
def image_build(names: tuple[str, ...], force: bool, iso: Path | None, virtio_win: Path | None,
                openssh: Path | None) -> None:
    """Build images by recipe name; windows-* from the media that you name."""
    from wsklab.images.windows import Media
    from wsklab.orchestrator import image_commands

    image_commands.build(names, force, Media(iso, virtio_win, openssh))


@image.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def image_verify(names: tuple[str, ...], as_json: bool) -> None:
    """Compare every file of the stored images with its SHA-256."""
    from wsklab.orchestrator import image_commands

    sys.exit(image_commands.verify(names, as_json))


@image.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def image_remove(names: tuple[str, ...]) -> None:
    """Remove images from the store."""
    from wsklab.orchestrator import image_commands

    image_commands.remove(names)


@main.command()
@click.option("--target", metavar="standin|IMAGE", help="Also boot this target and examine it step by step.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.json|DIR",
              help="The report that can be sent (the same in words lies beside it), or the folder of everything.")
@click.option("--json", "as_json", is_flag=True, help="Print doctor.json on standard output, and nothing else.")
def doctor(target: str | None, out: Path | None, as_json: bool) -> None:
    """What works on this host, what does not, and what to do about it. Exit code 3 when something does not work."""
    from wsklab.orchestrator import doctor_commands

    sys.exit(doctor_commands.run(target, out, as_json))


@main.group()
def driver() -> None:
    """The drivers: building ours, inspecting any."""


@driver.command("build")
@click.option("--twin", metavar="NAME", help="A deliberately wrong build; `all` builds every one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def driver_build(twin: str | None, as_json: bool) -> None:
    """Build the client driver, the stand-in provider and the agent."""
    from wsklab.orchestrator import driver_commands

    driver_commands.build(twin, as_json)


@driver.command("sign")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The signed copy.")
def driver_sign(file: Path, out: Path) -> None:
    """Sign a copy of any .sys file with a test certificate made for this host."""
    from wsklab.orchestrator import driver_commands

    driver_commands.sign(file, out)


@driver.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def driver_check(file: Path, as_json: bool) -> None:
    """Inspect any .sys file: what would keep it from loading, before anything is booted."""
    from wsklab.orchestrator import driver_commands

    sys.exit(driver_commands.check(file, as_json))


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1))
