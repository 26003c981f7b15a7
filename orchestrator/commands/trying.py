"""What `minimise`, the search and the repetition of a bundle share: the lab's options, and trials from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from wsklab.drivers.build import Toolchain
from wsklab.orchestrator.commands.options import jobs_of, toolchain_option
from wsklab.orchestrator.field.search import trying
from wsklab.orchestrator.field.search.trying import Asker, Trials
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results
from wsklab.orchestrator.run import runner, selection
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.selection import Selection

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Lab:
    """Which lab the trials are made in, as the options of `wsklab run` say it."""

    target: str = find.STANDIN
    driver_name: str = selection.OWN
    driver_file: Path | None = None
    twin: str | None = None
    toolchain: Toolchain = "mingw"
    verify: str | None = None
    strict: bool = False
    jobs: int | None = 1
    isolate: bool = True
    seed: int = 1

    def select(self, words: Sequence[str], console: Console) -> Selection:
        """Choose and check everything that the user has named. Raises UsageError, DriverError."""
        find.check(self.target, self.verify, self.seed if self.strict else None)
        standin = self.target == find.STANDIN
        chosen = selection.select(
            words, (), (), self.driver_name, self.twin, standin, console.progress, self.driver_file
        )
        return selection.without_strict(chosen, self.strict, console.progress)

    def play(self, chosen: Selection, asker: Asker, folder: Path, console: Console) -> Results:
        """Make trials until the asker has no more; their rows and evidence are in `folder`."""

        with console.step("driver", makes=True):
            made = chosen.build(console.progress, self.toolchain)
        strict = self.seed if self.strict else None
        preparation = Preparation.prepare(
            folder, console, False, self.target, self.verify, chosen.foreign, strict=strict
        )
        driver = preparation.guest.prepare(made)
        results = preparation.results(driver, self.seed)
        trials = Trials(folder, results, Console(quiet=True), preparation.stop, preparation.damage, asker=asker)
        trying.play(preparation, trials, driver, self.isolate, self.jobs)
        return results


def lab_options(command: Command) -> Command:
    """Return the options of `wsklab run` that say which lab is meant; `lab_of` reads them."""
    options = (
        click.option("--target", default="standin", show_default=True, metavar="standin|IMAGE", help="What runs it."),
        click.option(
            "--driver", "driver_name", default="wsklab", show_default=True, metavar="PROFILE", help="The driver."
        ),
        click.option(
            "--driver-file", type=click.Path(path_type=Path), metavar="FILE.sys", help="This build of the driver."
        ),
        click.option("--twin", metavar="NAME", help="A deliberately wrong build of the lab's own driver."),
        toolchain_option,
        click.option("--verifier", "verify", metavar="SET", help="Windows: Driver Verifier, as in `wsklab run`."),
        click.option("--strict", is_flag=True, help="Stand-in: the strict mode, as in `wsklab run`."),
        click.option(
            "--jobs", default="1", show_default=True, metavar="N|auto", callback=jobs_of, help="Labs side by side."
        ),
        click.option(
            "--isolate/--shared",
            default=True,
            show_default=True,
            help="Take the target back to its snapshot before each trial, or make all on one state of it.",
        ),
        click.option("--seed", default=1, show_default=True, type=int, help="Seed of everything random."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def folder_of(out: Path | None) -> Path:
    """Return the folder of trials: `out`, or one here. Raises UsageError, LabError."""
    return runner.new_folder(out)
