"""What can be mutated: the lab's own driver, and the stand-in's WSK provider. How a mutant of each gets into a lab."""

from __future__ import annotations

from collections.abc import Callable

from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.mutation.results import Row
from wsklab.orchestrator.mutation.runs import Built


class Client:
    """Mutants of the lab's own driver: only the lab can catch them, that is what it is for."""

    def before(self, built: Built) -> Row | None:
        """Nothing."""
        return None

    def put(self, lab: Lab, driver: BuiltDriver) -> None:
        """As any other build of the driver."""
        lab.load(driver)


PROVIDER_PATH = r"C:\windows\system32\drivers\netio.sys"


class Provider:
    """Mutants of the stand-in's WSK provider: its own tests come first, then the lab with the correct driver."""

    def __init__(self, correct: BuiltDriver, tests: Callable[[Built], str | None]) -> None:
        self._correct = correct
        self._tests = tests

    def before(self, built: Built) -> Row | None:
        """Run its tests as a Linux program, under sanitizers."""
        failed = self._tests(built)
        return Row("native tests", "fail", failed) if failed else Row("native tests", "pass")

    def put(self, lab: Lab, driver: BuiltDriver) -> None:
        """Replace the file of the guest; loading the driver loads it anew."""
        lab.target.agent.put(PROVIDER_PATH, driver.path.read_bytes())
        lab.load(self._correct)
