"""`wsklab repro`: what a capture from the field shows, and the scenario that makes it again."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from wsklab.common.text import visible
from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.commands.trying import Lab, lab_options
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.field.debug_text import contradictions, debugtext
from wsklab.orchestrator.field.endings import headers, pairing, table
from wsklab.orchestrator.field.endings.connections import Capture, Connection, read
from wsklab.orchestrator.field.endings.story import MS
from wsklab.orchestrator.field.packets import stripping
from wsklab.orchestrator.field.packets.captures import Notes, packets
from wsklab.orchestrator.field.replay.bundle import is_bundle
from wsklab.orchestrator.field.scenarios import again, beside, exact, fidelity
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.scenario import Scenario


class OneOrMore(click.Group):
    """`wsklab repro FILE` is `make FILE`, or `again FILE` for a bundle: a word that is no command is a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command's word before a file."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["again" if is_bundle(Path(args[0])) else "make", *args]
        return super().parse_args(ctx, args)


FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
DRIVER_AT = click.option(
    "--driver-at",
    metavar="ADDRESS",
    help="The address of the driver's machine. Without it: the side with Windows' TTL, else the one that opened.",
)
CONNECTION = click.option("--connection", type=click.IntRange(1), metavar="N", help="One connection of the table.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("repro", cls=OneOrMore)
def command() -> None:
    """List the connections and endings of captures from the field, and make one of them again.

    `wsklab repro list FILE...` prints the table; `wsklab repro FILE --connection N --out NEW.yaml` writes a scenario;
    `wsklab repro BUNDLE` runs what `wsklab bundle` has put together.
    """


@command.command("list")
@FILES
@DRIVER_AT
@CONNECTION
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="The driver's debug text.")
@click.option("--driver", metavar="PROFILE", help="The driver's profile, whose patterns read the log.")
@click.option(
    "--expect", metavar="REPORT", help="What the driver is said to have told: 'abortive: set', 'clear', 'none'."
)
@AS_JSON
def list_command(
    files: tuple[Path, ...],
    driver_at: str | None,
    connection: int | None,
    log: Path | None,
    driver: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Print all TCP connections of captures (pcap, pcapng, also gzipped): who opened them, how they ended, and why.

    With a log, or a report, contradictions to the wire are named. Exit codes: 0 none; 1 some; 2 a file cannot be read.
    """
    if (log is None) != (driver is None):
        raise UsageError("--log and --driver go together: the profile's patterns say what the log's lines mean.")
    report = None if expect is None else contradictions.expected(expect)
    profile = None if driver is None else load_profile(driver)
    captures = read_all(files, driver_at)
    shown = [one for capture in captures for one in capture.connections if connection in (None, one.number)]
    if connection is not None and not shown:
        raise UsageError(f"there is no connection {connection}; `wsklab repro list` without it prints all.")
    wrong: list[tuple[int, str]] = []
    if log is not None and profile is not None:
        told = debugtext.read_log(log, profile)
        wrong += contradictions.contradictions(told, debugtext.beside(told, shown), shown)
    if expect is not None:
        wrong += [(one.number, text) for one in shown if (text := contradictions.against(one, report)) is not None]
    pairs = [pair for a, b in combinations(captures, 2) for pair in pairing.pairs(a.connections, b.connections)]
    if as_json:
        print_json(captures, shown, pairs, wrong)
    else:
        print_table(captures, shown, pairs, wrong, connection is not None)
    sys.exit(SOME_FAIL if wrong else ALL_PASS)


def read_all(files: tuple[Path, ...], driver_at: str | None) -> list[Capture]:
    """Read captures; their connections are numbered through. Raises UsageError."""
    captures: list[Capture] = []
    for number, path in enumerate(files):
        first = 1 + sum(len(capture.connections) for capture in captures)
        captures.append(read(path, driver_at, first, number))
    return captures


def print_json(
    captures: list[Capture], shown: list[Connection], pairs: list[pairing.Pair], wrong: list[tuple[int, str]]
) -> None:
    """Print everything for a program, one connection after the other: there may be a hundred thousand."""
    rest = {
        "pairs": [
            {
                "connections": [p.first.number, p.second.number],
                "matched": p.matched,
                "clock_offset_ns": p.offset,
                "delay_ns": p.delay,
                "only_in_one": list(p.only),
            }
            for p in pairs
        ],
        "contradictions": [{"connection": number or None, "text": text} for number, text in wrong],
    }
    numbers = {one.number for one in shown}
    click.echo('{"captures": [')
    for place, capture in enumerate(captures):
        click.echo(f'{"," if place else ""}{json.dumps(table.document(capture))[:-1]}, "connections": [')
        begun = False
        for one in capture.connections:
            if one.number in numbers:
                click.echo(f"{',' if begun else ''}{json.dumps(table.connection_document(one))}")
                begun = True
        click.echo("]}")
    click.echo(f"],\n{json.dumps(rest, indent=1)[1:]}")


def print_table(
    captures: list[Capture],
    shown: list[Connection],
    pairs: list[pairing.Pair],
    wrong: list[tuple[int, str]],
    segments: bool,
) -> None:
    """Print everything for people; `segments`: also those of the connections shown."""
    numbers = {one.number for one in shown}
    for capture in captures:
        for line in table.file_lines(capture):
            click.echo(line)
        own = [one for one in capture.connections if one.number in numbers]
        if own:
            click.echo(f"\n{table.HEAD}")
        for one in own:
            lines = table.details(one) if len(shown) <= table.DETAILED else [table.row(one)]
            for line in lines:
                click.echo(visible(line))
            for line in table.segment_lines(one) if segments else ():
                click.echo(line)
        click.echo()
    for pair in pairs:
        clocks = ""
        if pair.offset is not None and pair.delay is not None:
            clocks = f"; the second clock is {pair.offset / MS:+.3f} ms ahead, the way takes {pair.delay / MS:.3f} ms"
        click.echo(f"{pair.first.number} and {pair.second.number} are one connection ({pair.matched} segments){clocks}")
        for text in pair.only:
            click.echo(f"    {text}")
    for number, text in wrong:
        click.echo(visible(f"contradiction: {f'connection {number}: ' if number else ''}{text}"))


@command.command("make")
@FILES
@DRIVER_AT
@CONNECTION
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="NEW.yaml", help="The scenario's file.")
@click.option("--ending", metavar="C05", help="Which of the endings that fit is made; without it, the first one.")
@click.option(
    "--peer",
    type=click.Choice(["program", "exact", "auto"]),
    default="program",
    show_default=True,
    help="Who plays the peer: its program, or the wire, exactly; auto is the program where that can do all of it.",
)
@click.option("--real-time", is_flag=True, help="Keep the capture's pauses, not only those that matter.")
def make_command(
    files: tuple[Path, ...],
    driver_at: str | None,
    connection: int | None,
    out: Path,
    ending: str | None,
    peer: str,
    real_time: bool,
) -> None:
    """Write a scenario that makes one connection of a capture again; `wsklab run NEW.yaml` runs it."""
    one = chosen(read_all(files, driver_at), connection)
    name = re.sub("[^a-z0-9]+", "-", out.stem.lower()).strip("-")[:64].strip("-") or "field"
    if peer == "auto" and (reasons := list(again.why_not(one))) and exact.refusal(one) is None:
        click.echo(f"The wire plays the peer, as a program cannot make: {'; '.join(reasons)}.")
        peer = "exact"
    played = None
    if peer == "exact":
        played = exact.segments(one, headers.headers(files[one.file], one), real_time)
    text = again.scenario(one, name, ending, real_time, visible(files[one.file].name), played)
    yaml_source.parse(text, Scenario, str(out))
    written(out, text.encode())
    click.echo(f"{out}: {len(text.splitlines())} lines; run it with `wsklab run {out}`, then compare with")
    click.echo(f"`wsklab repro fidelity {files[one.file]} RUN/evidence/{name} --connection {one.number}`")


@command.command("fidelity")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("evidence", type=click.Path(path_type=Path))
@DRIVER_AT
@CONNECTION
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Draw both on one axis of time, too.")
@AS_JSON
def fidelity_command(
    file: Path, evidence: Path, driver_at: str | None, connection: int | None, html: Path | None, as_json: bool
) -> None:
    """Set a run's recording (its evidence folder) beside the capture, with a number and the first difference.

    Exit codes: 0 the same ending, with the same behind it; 1 another one.
    """
    one = chosen(read_all((file,), driver_at), connection)
    recording = evidence / "wire.pcapng" if evidence.is_dir() else evidence
    found = fidelity.best(one, read(recording).connections)
    if found is None:
        raise UsageError(f"{recording}: no TCP connection is in it.")
    run, result = found
    if html is not None:
        try:
            html.write_text(beside.page(one, run, result), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{html}: cannot be written: {error.strerror}.") from None
    if as_json:
        document = {**asdict(result), "same": result.same, "first_difference": result.first_difference}
        click.echo(json.dumps({"connection": one.number, "run": run.names, **document}, indent=1))
    else:
        width = max([len(row[0]) for row in result.rows] + [20])
        click.echo(f"   {'capture':{width}}  run")
        for captured, made, alike in result.rows:
            click.echo(f"{' ' if alike else '!'}  {captured:{width}}  {made}")
        click.echo(
            f"\nfidelity {result.number:.3f} (ending {result.ending:.2f}, points {result.points:.2f}, "
            f"bytes {result.bytes:.2f})"
        )
        word = "the same ending" if result.same else "another ending, hence no reproduction"
        click.echo(f"{word}{f'; first difference: {result.first_difference}' if result.first_difference else ''}")
    sys.exit(ALL_PASS if result.same else SOME_FAIL)


@command.command("strip")
@click.argument("file", type=click.Path(path_type=Path))
@CONNECTION
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="NEW.pcapng", help="The new capture.")
def strip_command(file: Path, connection: int | None, out: Path) -> None:
    """Write a capture anew without its payload: headers and lengths, which are all that `repro` needs.

    Addresses and ports stay. Fragments, and what is no TCP, are left out.
    """
    frames = None
    if connection is not None:
        one = chosen(read_all((file,), None), connection)
        frames = frozenset([s.frame for s in one.segments()] + [e.frame for e in one.errors])
    notes, left_out = Notes(), list[int]()
    blocks = b"".join(stripping.stripped(packets(file, notes), notes, frames, left_out))
    written(out, blocks)
    click.echo(f"{out}: {len(blocks):,} bytes; {len(left_out):,} packets without a TCP header were left out.")


@command.command("again")
@click.argument("file", metavar="BUNDLE", type=click.Path(path_type=Path))
@lab_options
@click.option("--trials", type=click.IntRange(1), metavar="N", help="At the most  [default: as its rate asks for]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder (must be empty).")
@AS_JSON
def again_command(file: Path, trials: int | None, out: Path | None, as_json: bool, **lab: Any) -> None:
    """Run a bundle until it ends as it did where it comes from, and say what differs here.

    Exit codes: 0 it reproduces; 1 it does not; 3 the lab could make no trial.
    """
    from wsklab.orchestrator.commands import bundle

    sys.exit(bundle.again(file, Lab(**lab), trials, out, as_json))


def written(path: Path, content: bytes) -> None:
    """Write a new file. Raises UsageError."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path}: exists already; name a new file.") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}.") from None


def chosen(captures: list[Capture], connection: int | None) -> Connection:
    """Return the connection that a command is about. Raises UsageError."""
    every = [one for capture in captures for one in capture.connections]
    if not every:
        raise UsageError("no TCP connection is in the capture.")
    if connection is None:
        if len(every) > 1:
            raise UsageError(
                f"there are {len(every)} connections; choose one with --connection N (`wsklab repro list`)."
            )
        return every[0]
    found = next((one for one in every if one.number == connection), None)
    if found is None:
        raise UsageError(f"there is no connection {connection}; `wsklab repro list` prints those there are.")
    return found
