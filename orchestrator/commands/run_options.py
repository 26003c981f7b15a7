"""What a user may ask of `wsklab run`, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wsklab.orchestrator.errors import UsageError

if TYPE_CHECKING:  # the words of the command need no lab
    from wsklab.drivers.build import Toolchain
    from wsklab.orchestrator.run.hold import When


@dataclass(frozen=True)
class Options:
    """What the user has asked for, under the names that the options of the command have."""

    scenarios: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    target: str = "standin"
    driver_name: str = "wsklab"
    provoke: str | None = None
    driver_file: Path | None = None
    twin_names: tuple[str, ...] = ()
    toolchain: Toolchain = "mingw"
    twins: bool = False
    quick: bool = False
    verify: str | None = None
    strict: bool = False
    scarcity: bool = False
    concurrent: bool = False
    variant_names: tuple[str, ...] = ()
    variants: Literal["all"] | None = None
    repeat: int = 1
    until_fail: int | None = None
    vary: bool | None = None
    jobs: int | None = 1
    isolate: bool = True
    cold: bool = False
    seed: int = 1
    out: Path | None = None
    known_file: Path | None = None
    history: str | None = None
    view: bool = False
    hold: When = "never"
    debugger: int | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    resume: Path | None = None
    fleet: str | None = None
    lean: bool = False
    record: bool = False


def require_consistent(options: Options) -> None:
    """Refuse what does not go together in a run of scenarios. Raises UsageError."""
    if options.variants and options.variant_names:
        raise UsageError("--variants all has every variant in it; leave out --variant.")
    if options.as_json and (options.view or options.hold != "never"):
        raise UsageError("--view and --hold say where to look on standard output, which --json has for itself.")
    if options.debugger is not None and options.jobs != 1:
        raise UsageError("--debugger is one port for one lab: leave out --jobs.")
    if options.quick:
        raise UsageError("--quick goes with --twins.")
    if len(options.twin_names) > 1:
        raise UsageError("a run has one driver; several twins, one after another, are `wsklab run --twins`.")
    if options.vary is not None and not options.until_fail:
        raise UsageError("--vary goes with --until-fail N.")
    if options.lean and options.fleet is None:
        raise UsageError("--lean goes with --fleet.")
    if options.fleet is not None and options.until_fail:
        raise UsageError("--until-fail N, with a number, is a search on one host: leave out --fleet.")


def require_only_twins(options: Options) -> None:
    """Refuse what the matrix of twins does not take. Raises UsageError."""
    if options.fleet is not None:
        raise UsageError("--twins is played on one host, as each twin ends when it is caught: leave out --fleet.")
    if options.variants or options.variant_names:
        raise UsageError("--twins goes without variants of the machine.")
    taken = Options(
        scenarios=options.scenarios,
        tags=options.tags,
        exclude=options.exclude,
        twin_names=options.twin_names,
        twins=True,
        quick=options.quick,
        jobs=options.jobs,
        seed=options.seed,
        out=options.out,
        as_json=options.as_json,
    )
    if options != taken:
        raise UsageError(
            "--twins goes with scenarios, --tag, --exclude, --twin, --quick, --jobs, --seed, --out and --json only."
        )
