"""`wsklab qualify`: go or no-go for a release, signed, and checked again anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, redirect_stdout
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import click

from wsklab import images
from wsklab.orchestrator.commands import run as run_command
from wsklab.orchestrator.commands.signing import FILE, earlier_of, signer_of, signing
from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN, SOME_FAIL, UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.release import certificates, conduct, envelope, ingredients, page, plan, release, rules, verify
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.plan import Loaded
from wsklab.orchestrator.release.release import Earlier, Released, Signer
from wsklab.orchestrator.release.statement import Begun, Predicate, schema, subjects
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run import janitor, selection
from wsklab.orchestrator.scenario.scenario import Scenario

RESERVED = {
    *("target", "driver", "driver-file", "tag", "exclude", "repeat", "jobs", "cold", "seed"),
    *("twin", "twins", "variants", "until-fail", "shared", "out", "json", "history", "known"),
    *("view", "hold", "debugger"),
}
"""Options of `wsklab run` that the plan has keys for, or that would make the runs something else."""

SHOWN = 20
"""Reasons on the console; all of them are on the page."""


class PlanOrCommand(click.Group):
    """A group whose first word may be a plan: then it is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before what is no command's name."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def run(
    path: Path,
    *,
    out: Path | None,
    resume: bool,
    rehearsal: bool,
    dry: bool,
    signer: Signer | None,
    earlier: Earlier | None,
    as_json: bool,
    stop_early: bool = False,
) -> int:
    """Carry out a plan, and conclude it; returns the exit code. All that the user wrote is checked before a boot."""
    console = Console(quiet=as_json)
    loaded = plan.load(path)
    chosen = checked(loaded, rehearsal, console)
    for sentence in plan.proves(loaded.plan, max(map(len, chosen.values()))):
        console.line(sentence)
    if why := plan.short(loaded.plan):
        raise UsageError(f"{path}: {why}")
    if dry:
        for place in plan.places(loaded.plan):
            console.line(f"  {place.title}: {len(chosen[place.driver])} scenarios")
        return ALL_PASS
    begun = Begun(
        plan_sha256=loaded.sha256,
        errata_sha256=sha256(loaded.errata_content).hexdigest() if loaded.errata_content is not None else None,
        rehearsal=rehearsal,
        begun=_now(),
        lab=ingredients.lab(),
        scenarios=conduct.digests(chosen),
    )
    folder = out or Path("wsklab-qualify") / loaded.plan.name
    begun = opened(folder, resume, loaded, begun, chosen)
    lease = janitor.Lease(folder, images.cache_folder())

    def same_lab() -> None:
        if ingredients.lab() != begun.lab:
            raise UsageError(f"{folder}: wsklab itself was changed while this went on; begin again with another --out.")

    def play(words: Sequence[str]) -> None:
        same_lab()
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            _play(words)

    def certain() -> Iterable[str]:
        now = _now()
        return rules.certain(loaded.plan, release.cells_in(folder, loaded, now), loaded.errata, now.date())

    course = conduct.Conduct(
        folder, loaded, begun, play, frozenset(options()), ingredients.of_run, console.line, certain, stop_early
    )
    try:
        course.run()
        same_lab()
        released = release.conclude(folder, _now(), signer, earlier)
    except UsageError:
        raise
    except BaseException:
        click.echo(f"wsklab: what was run is kept in {folder}; the same command with --resume goes on.", err=True)
        raise
    finally:
        lease.end()
    return told(released, signer, folder, console, as_json)


def checked(loaded: Loaded, rehearsal: bool, console: Console) -> dict[str, list[Scenario]]:
    """Return driver -> scenarios, all that the plan names having been looked at. Raises UsageError."""
    standin = find.STANDIN in loaded.plan.targets
    if standin and not rehearsal:
        raise UsageError(
            f"{loaded.path}: the target {find.STANDIN} is no Windows and qualifies nothing; name images of Windows, "
            "or try the plan out with --rehearsal."
        )
    for place in plan.places(loaded.plan):
        _check_options(loaded.path, place.options)
        with run_command.command.make_context("wsklab run", plan.words(place.options)):
            pass  # each value is of its option's kind
        verifier = place.options.get("verifier")
        find.check(place.target, None if verifier is None else str(verifier))
    chosen = {}
    for driver in loaded.plan.drivers:
        if ":" in driver and not rehearsal:
            raise UsageError(f"{loaded.path}: {driver} is wrong on purpose; only a --rehearsal may have it.")
        words = [loaded.word(word) for word in loaded.plan.scenarios]
        found = selection.select(
            words, [], loaded.plan.exclude, loaded.word(driver), None, standin, lambda text: console.line(text, "dim")
        )
        chosen[driver] = found.scenarios
    return chosen


def options() -> dict[str, click.Parameter]:
    """Return the options of `wsklab run`, by name without dashes."""
    return {word[2:]: param for param in run_command.command.params for word in param.opts if word.startswith("--")}


def _check_options(path: Path, chosen: plan.Options) -> None:
    for name, value in chosen.items():
        known = sorted(options().keys() - RESERVED)
        if name not in known:
            raise UsageError(f"{path}: `options` cannot have '{name}'; there are {', '.join(known)}.")
        if isinstance(value, bool) != bool(getattr(options()[name], "is_flag", False)):
            raise UsageError(f"{path}: the option '{name}' has {'no' if value is True else 'another'} value.")


def opened(folder: Path, resume: bool, loaded: Loaded, begun: Begun, chosen: dict[str, list[Scenario]]) -> Begun:
    """Return what was settled in the folder: now, or when it began. Raises UsageError."""
    if resume:
        before = conduct.begun_in(folder)
        conduct.unchanged(folder, before, begun)
        return before
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: holds something already; go on there with --resume, or name another --out.")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}; name another folder with --out.") from None
    conduct.begin(folder, loaded, begun, chosen)
    return begun


def _play(words: Sequence[str]) -> None:
    """`wsklab run`, in this process; its exit code says nothing that its rows do not say."""
    try:
        with run_command.command.make_context("wsklab run", list(words)) as context:
            run_command.command.invoke(context)
    except SystemExit:
        pass


def told(released: Released, signer: Signer | None, folder: Path, console: Console, as_json: bool) -> int:
    """Say what it came to; returns the exit code."""
    predicate = released.predicate
    if as_json:
        console.document(predicate.model_dump_json(indent=1) + "\n")
    show(predicate, console)
    if released.remark:
        console.line(released.remark, "yellow")
    for path in released.files:
        console.line(f"  {path}")
    if signer is None:
        console.line(f"It is not signed; `wsklab qualify sign {folder} --key FILE` does that.", "yellow")
    return ALL_PASS if predicate.decision.go else SOME_FAIL


def show(predicate: Predicate, console: Console) -> None:
    """Say the decision and its reasons."""
    go = predicate.decision.go
    for deviation in predicate.deviations[:SHOWN]:
        console.line(f"  since {predicate.previous.name if predicate.previous else ''}: {deviation}")
    for remark in predicate.decision.remarks[:SHOWN]:
        console.line(f"  {remark}", "yellow")
    for reason in predicate.decision.reasons[:SHOWN]:
        console.line(f"  {reason}", "red")
    console.line(f"{predicate.name}: {page.headline(predicate)}", "green" if go else "red")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@click.group("qualify", cls=PlanOrCommand)
def command() -> None:
    """Qualify a driver's release: run a plan, decide by its rules, sign; or check what was signed.

    `wsklab qualify PLAN.yaml` is short for `wsklab qualify run PLAN.yaml`.

    Exit codes: 0 go; 1 no go; 2 wrong usage; 3 not verified, or the lab could not go on; 130 interrupted.
    """


@command.command("run")
@click.argument("plan_file", type=FILE, metavar="PLAN.yaml")
@click.option("--out", type=FILE, metavar="DIR", help="The release's folder  [default: wsklab-qualify/NAME]")
@click.option("--resume", is_flag=True, help="Go on with what was stopped in that folder.")
@click.option("--rehearsal", is_flag=True, help="Allow the stand-in; all that is made says that it qualifies nothing.")
@click.option("--stop-early", is_flag=True, help="End as soon as a rule is broken that no further run can mend: no go.")
@click.option("--dry-run", "dry", is_flag=True, help="Check the plan, say what it proves, and run nothing.")
@signing
def run_plan(
    plan_file: Path,
    out: Path | None,
    resume: bool,
    rehearsal: bool,
    stop_early: bool,
    dry: bool,
    key: Path | None,
    certificate: Path | None,
    previous: Path | None,
    previous_key: Path | None,
    as_json: bool,
) -> None:
    """Run PLAN.yaml, decide, write the page, and sign with --key."""
    signer = signer_of(key, certificate)
    earlier = earlier_of(previous, previous_key, signer)
    code = run(
        plan_file,
        out=out,
        resume=resume,
        rehearsal=rehearsal,
        dry=dry,
        signer=signer,
        earlier=earlier,
        as_json=as_json,
        stop_early=stop_early,
    )
    sys.exit(code)


@command.command("sign")
@click.argument("folder", type=FILE, metavar="DIR")
@signing
def sign(
    folder: Path,
    key: Path | None,
    certificate: Path | None,
    previous: Path | None,
    previous_key: Path | None,
    as_json: bool,
) -> None:
    """Decide anew on the runs in DIR, as of now, and sign: on a machine where the key is."""
    signer = signer_of(key, certificate)
    if signer is None:
        raise UsageError("name the private key with --key.")
    console = Console(quiet=as_json)
    earlier = earlier_of(previous, previous_key, signer)
    conduct.begun_in(folder)
    lease = janitor.Lease(folder, images.cache_folder())
    try:
        released = release.conclude(folder, _now(), signer, earlier)
    finally:
        lease.end()
    sys.exit(told(released, signer, folder, console, as_json))


@command.command("verify")
@click.argument("file", type=FILE, metavar="FILE")
@click.option("--key", "keys", type=FILE, multiple=True, metavar="PUB.pem", help="A public key that you trust.")
@click.option("--root", "roots", type=FILE, multiple=True, metavar="CA.pem", help="A root of certificates you trust.")
@click.option("--driver", "drivers", type=FILE, multiple=True, metavar="FILE.sys", help="It must be about this driver.")
@click.option("--rehearsal", is_flag=True, help="Check a rehearsal, too.")
@click.option("--alone", is_flag=True, help="Check the statement alone, without the folder in which it was made.")
def verify_file(
    file: Path,
    keys: tuple[Path, ...],
    roots: tuple[Path, ...],
    drivers: tuple[Path, ...],
    rehearsal: bool,
    alone: bool,
) -> None:
    """Check signature, hashes and rules of a statement, offline; key or root come from you, not from its folder."""
    if not keys and not roots:
        raise UsageError("whom do you trust? Name the signer's public key with --key, or a root with --root.")
    console = Console()
    trust = verify.Trust(
        tuple(envelope.public_key(key) for key in keys),
        tuple(root for path in roots for root in certificates.load(path)),
    )
    try:
        found = verify.verify(file, trust, _now(), rehearsal=rehearsal, alone=alone, drivers=drivers)
    except Refused as error:
        console.line(f"{file}: NOT VERIFIED: {error}.", "red")
        sys.exit(NOT_PROVEN)
    predicate = found.predicate
    console.line(f"Signed by {found.signer}, {predicate.finished:%Y-%m-%d %H:%M} UTC by its own clock")
    for name, digest in subjects(predicate).items():
        console.line(f"  {name}  SHA-256 {digest}")
    if not drivers:
        console.line("  No driver's file was compared; name one with --driver.", "yellow")
    if alone:
        console.line("  The evidence was not looked at (--alone).", "yellow")
    elif found.pruned:
        console.line(f"  {found.pruned} files of evidence are not there any more; all rows are.", "yellow")
    show(predicate, console)
    sys.exit(ALL_PASS if predicate.decision.go else SOME_FAIL)


@command.command("schema")
def schema_command() -> None:
    """Print the JSON schema of the statement's predicate."""
    click.echo(schema(), nl=False)
