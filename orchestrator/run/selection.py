"""Who is under test and what is played: what `--driver`, `--twin` and the scenarios' words come to, before any boot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab import images
from wsklab.drivers.build import BuiltDriver, Toolchain, build_driver
from wsklab.drivers.twins import twins
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.families import over_ipv6
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.profile import Profile

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.orchestrator.lab.foreign_driver import Foreign

OWN = "wsklab"
"""The profile of the lab's own driver."""


@dataclass(frozen=True)
class Selection:
    """The lab's own driver is in every lab: alone as the driver under test, or beside a `foreign` one."""

    scenarios: list[Scenario]
    twin: str | None
    foreign: Foreign | None
    file: Path | None = None
    """The build of the lab's own driver that the user has named instead of making it."""

    def build(self, progress: Callable[[str], None], toolchain: Toolchain = "mingw") -> BuiltDriver:
        """Return the lab's own driver, made unless the user has named its file. Raises UsageError, DriverError."""
        if self.file is not None:
            from wsklab.orchestrator.lab import foreign_driver

            return foreign_driver.own(self.file)
        return build_driver(self.twin, images.cache_folder(), progress, toolchain)


def concurrently(selection: Selection) -> Selection:
    """Return the selection with WSK calling from several threads; not where an order is expected, or on record."""
    return replace(
        selection,
        scenarios=[
            s
            if s.expect.order or s.expect.characterise
            else s.model_copy(update={"socket": s.socket.model_copy(update={"concurrent": True})})
            for s in selection.scenarios
        ],
    )


def without_strict(selection: Selection, strict: bool, progress: Callable[[str], None]) -> Selection:
    """Return the selection without what needs `--strict`, when that is off. Raises UsageError when nothing is left."""
    wants = [s.name for s in selection.scenarios if s.socket.needs_strict]
    if strict or not wants:
        return selection
    left = [s for s in selection.scenarios if s.name not in wants]
    if not left:
        raise UsageError(f"{', '.join(wants)}: this is simulated with --strict only.")
    progress(f"left out, as only --strict simulates it: {', '.join(wants)}")
    return replace(selection, scenarios=left)


def on_variants(
    selected: Selection, names: Sequence[str], machine: Profile
) -> tuple[dict[str, list[Scenario]], list[str]]:
    """Return (the scenarios as each variant of the machine plays them, why some are left out). Raises UsageError."""
    played, left_out = dict[str, list[Scenario]](), list[str]()
    for name in names:
        played[name] = selected.scenarios
        if name and not machine.variants[name].ipv4:
            foreign = selected.foreign.profile if selected.foreign else None
            played[name], reasons = over_ipv6(selected.scenarios, foreign, name)
            left_out += reasons
    return played, left_out


def select(
    words: Sequence[str],
    tags: Sequence[str],
    exclude: Sequence[str],
    driver: str,
    twin: str | None,
    standin: bool,
    progress: Callable[[str], None],
    file: Path | None = None,
    witnessed: bool = False,
    provoke: str | None = None,
) -> Selection:
    """Choose and check everything that the user has named. Raises UsageError, or DriverError from building a sample.

    `file` is a build of the driver that takes the place of the profile's; `witnessed`: the stand-in tells every call of
    it; `provoke` is how a driver without a profile comes to connect.
    """
    if driver == OWN and file is None and provoke is None:
        return _own(words, tags, exclude, twin)
    from wsklab.orchestrator.lab import foreign_driver
    from wsklab.orchestrator.scenario import any_driver

    profile = foreign_driver.profile_of(driver, provoke)
    if profile.build == OWN:
        own = _own(words, tags, exclude, twin or profile.twin)
        if file is None:
            return own
        if own.twin is not None:
            raise UsageError("--driver-file names a build, and --twin another; leave one of them out.")
        foreign_driver.loadable(file, standin, progress)
        return replace(own, file=file)
    if file is not None:
        profile = profile.model_copy(update={"path": file, "build": None, "twin": None})
    foreign_driver.usable(profile, twin, witnessed)
    scenarios = catalogue.select(words, tags, exclude, catalogue.any_driver)
    named = set(words) - catalogue.tags_of(scenarios)
    scenarios, left_out = any_driver.playable(scenarios, profile, named, witnessed)
    found = foreign_driver.find(driver, profile, standin, images.cache_folder(), progress, witnessed)
    for sentence in left_out:
        progress(sentence)
    return Selection(scenarios, None, found)


def _own(words: Sequence[str], tags: Sequence[str], exclude: Sequence[str], twin: str | None) -> Selection:
    if twin is not None and twin not in twins():
        raise UsageError(f"there is no twin '{twin}'; there are {', '.join(twins())}.")
    return Selection(catalogue.select(words, tags, exclude), twin, None)
