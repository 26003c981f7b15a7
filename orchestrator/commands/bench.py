"""`wsklab bench`: measure, print, keep; compare two results."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.plot import Points, line_chart
from wsklab.orchestrator.results.results import write_atomically
from wsklab.orchestrator.run import capacity, runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import bench
from wsklab.orchestrator.trials.bench import Figure

CONNECTIONS = (1, 10, 50, 100, 200, 400)


def run(out: Path | None, quick: bool, as_json: bool) -> None:
    """Measure everything; `quick` takes about three minutes on two cores without KVM. What is measured is on disk."""
    folder, console = runner.new_folder(out), Console(quiet=as_json)
    with console.step("drivers", makes=True):
        driver = build_driver(None, images.cache_folder(), console.progress)
    preparation = Preparation.prepare(folder, console).quietly()
    scenario, many = (
        catalogue.select(["linger-zero"], [], [])[0],
        catalogue.select(["hundred-mixed-endings"], [], [])[0],
    )
    labs, figures, growth = bench.Labs(preparation, driver, folder), list[Figure](), dict[str, Points]()

    def keep(*measured: Figure) -> str:
        figures.extend(measured)
        document = bench.document({**about(preparation, driver), "quick": quick}, figures, growth)
        write_atomically(folder / "bench.json", json.dumps(document, indent=1) + "\n")
        return json.dumps(document, indent=1)

    with console.step("the wire and the KD session"):
        keep(*bench.wire_figures(1.0 if quick else 5.0), bench.kd_figure(5 if quick else 20))
    with console.step("cold starts: a boot for each scenario"):
        ready, naive = labs.starts(scenario, 2 if quick else 5, cold=True)
        keep(bench.figure("cold start", "s", ready), bench.figure("naive: boot, scenario, stop", "s", naive))
    with console.step("warm starts: a kept snapshot for each scenario"):
        labs.starts(scenario, 1, cold=False)  # it is kept now
        ready, whole = labs.starts(scenario, 3 if quick else 10, cold=False)
        keep(bench.figure("warm start", "s", ready), bench.figure("warm start, scenario, stop", "s", whole))
    with console.step("one lab, many scenarios"):
        keep(*labs.series(scenario, many, 15 if quick else 100))
    with console.step("more connections"):
        growth["seconds by connections"] = labs.by_connections(many, CONNECTIONS, 1 if quick else 3)
    with console.step("more labs"):
        most, _ = capacity.admit(None, preparation.guests_mib, capacity.host())
        growth["scenarios per minute by labs"] = labs.by_labs(scenario, most + 1, 20 if quick else 60)
    document = keep()
    for name, points in growth.items():
        up, _, across = name.partition(" by ")
        write_atomically(folder / f"by-{across}.svg", line_chart(name.capitalize(), across, up, {"": points}))
    if as_json:
        click.echo(document)
        return
    for f in figures:
        click.echo(f"{f.name:38} {f.median:10.4g} {f.unit:5}  p95 {f.p95:<9.4g} {f.least:.4g} to {f.most:.4g}  n={f.n}")
    for name, points in growth.items():
        click.echo(f"{name}: " + ", ".join(f"{x:g}: {y:.4g}" for x, y in points))
    click.echo(f"\n{folder / 'bench.json'}")


def about(preparation: Preparation, driver: BuiltDriver) -> dict[str, Any]:
    """On what, and with what, it was measured."""
    return {
        "host": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        **preparation.results(driver, 1).run,
    }


def compare(before: Path, after: Path, as_json: bool) -> None:
    """Print what changed from one result to the other."""
    changes = bench.compare(bench.read(before), bench.read(after))
    if as_json:
        click.echo(json.dumps([vars(change) for change in changes], indent=1))
        return
    for c in changes:
        percent = "" if c.percent is None else f"{c.percent:+.1f} %"
        note = "" if c.real else "  (within the spread)"
        click.echo(f"{c.name:34} {c.before:10.4g} -> {c.after:<10.4g} {c.unit:5} {percent:>9}{note}")


@click.group("bench", invoke_without_command=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The bench's folder (must be empty).")
@click.option("--quick", is_flag=True, help="Fewer repetitions: about two minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print bench.json on standard output, and nothing else.")
@click.pass_context
def command(context: click.Context, out: Path | None, quick: bool, as_json: bool) -> None:
    """Measure starts, restores, scenarios, the wire and the KD session; writes bench.json."""
    if context.invoked_subcommand is None:
        run(out, quick, as_json)


@command.command("compare")
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare_command(before: Path, after: Path, as_json: bool) -> None:
    """Compare two results (bench.json, or the folders that hold them)."""
    compare(before, after, as_json)


@command.command("endurance")
@click.option(
    "--disconnects",
    default=10_000,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Endings on one shared lab: 100 side by side, half FIN, half RST, in an order drawn.",
)
@click.option(
    "--restores",
    default=500,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Times back to the snapshot, with a scenario after each.",
)
@click.option(
    "--rows",
    default=100_000,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Rows reported with no lab: what one costs must not depend on how many there are.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The bench's folder (must be empty).")
@click.option("--json", "as_json", is_flag=True, help="Print endurance.json on standard output, and nothing else.")
def endurance_command(disconnects: int, restores: int, rows: int, out: Path | None, as_json: bool) -> None:
    """Thousands of endings and rows, hundreds of restores: what goes wrong, what grows. Writes endurance.json."""
    from wsklab.orchestrator.commands import endurance

    sys.exit(endurance.run(out, disconnects, restores, rows, as_json))


@command.command("history")
@click.option("--history", metavar="URL", help="An empty database to fill (default: a file that is removed again).")
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(1000), metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history_command(history: str | None, rows: int, as_json: bool) -> None:
    """Fill a history with rows that were made up, and measure how fast it takes them and answers."""
    from wsklab.orchestrator.commands import bench_history

    bench_history.run(history, rows, as_json)


@command.command("fleet")
@click.option("--slots", multiple=True, default=[10], show_default=True, type=click.IntRange(1, 5000), metavar="N")
@click.option("--rows", default=1000, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--rows-a-slot", type=click.IntRange(1), metavar="N", help="So many for each slot, instead of --rows.")
@click.option("--seconds", default=0.43, show_default=True, type=float, help="Mean of what a row takes; log-normal.")
@click.option("--workers", default=5, show_default=True, type=click.IntRange(1, 200), help="That share the slots.")
@click.option("--killed", default=0, show_default=True, type=click.IntRange(0), help="Workers killed half-way.")
@click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Draw the figures there."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fleet_command(
    slots: tuple[int, ...],
    rows: int,
    rows_a_slot: int | None,
    seconds: float,
    workers: int,
    killed: int,
    plots: Path | None,
    as_json: bool,
) -> None:
    """Measure what a fleet costs beside its labs, which are simulated: real workers, a thread for each slot."""
    from wsklab.orchestrator.commands import bench_fleet

    if killed >= workers:
        raise UsageError("--killed leaves at least one of the --workers.")
    sizes = [(count, rows_a_slot * count if rows_a_slot else rows) for count in slots]
    bench_fleet.run(sizes, seconds, workers, killed, plots, as_json)


@command.command("captures")
@click.option("--packets", default=1_000_000, show_default=True, type=click.IntRange(1, 5_000_000), metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def captures_command(packets: int, as_json: bool) -> None:
    """How long `wsklab repro list` takes for a capture of N packets, and how much memory."""
    from wsklab.orchestrator.field.endings import speed

    with tempfile.TemporaryDirectory(prefix="wsklab-bench-") as folder:
        path = Path(folder) / "made.pcap"
        speed.make(path, packets)
        done = speed.measure(path)
    if as_json:
        click.echo(json.dumps(vars(done), indent=1))
        return
    click.echo(f"{done.packets:,} packets of {done.connections:,} connections: {done.seconds:.1f} s, of them")
    click.echo(f"{done.cpu_seconds:.1f} s of a processor, {done.peak_mib:.0f} MiB")
