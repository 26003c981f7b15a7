"""The conftest of the users' folders in `test_plugin`: a session without a lab; `told.txt` gets what is asked of it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.observed import observed
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.live.conversation import LabLost, scenario_of, sentence
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.foreign_lines import ForeignDisconnect
from wsklab.orchestrator.observe.lab_notes import Opened
from wsklab.orchestrator.pytest_plugin import hooks, sharing
from wsklab.orchestrator.results.results import Met, ScenarioResult
from wsklab.orchestrator.run import capacity
from wsklab.orchestrator.run.capacity import Host
from wsklab.orchestrator.scenario.scenario import Action, Scenario

HERE = Path(__file__).parent


def tell(text: str) -> None:
    with (HERE / "told.txt").open("a") as file:
        file.write(text + "\n")


def row(folder: Path, name: str, verdict: Any, covers: Any = ("R5",)) -> ScenarioResult:
    place = folder / "evidence" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "wire.pcapng").write_bytes(b"")
    observation.write(place / "observations.jsonl", [])
    return ScenarioResult(
        name,
        name,
        1,
        verdict,
        () if verdict == "pass" else (f"the reason of {name}",),
        covers,
        {},
        observed(),
        {},
        f"evidence/{name}",
        known=Met("known", "see 4711") if name.endswith("known") else None,
    )


class Conversation:
    """A driver whose peer always resets; `peer.kill` loses the lab."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.folder, self._scenario = folder, scenario
        self.events: list[ForeignDisconnect] = []
        self.lab = SimpleNamespace(guest=SimpleNamespace(image=SimpleNamespace(name="standin"), qualifying=False))

    def do(self, actor: str, verb: str, arguments: Any, options: Any) -> None:
        try:
            Action.model_validate({actor: {verb: arguments, **options}})
        except ValidationError as error:
            raise TypeError(f"{actor}.{verb}: {sentence(error)}") from None
        if verb == "kill":
            raise LabLost("QEMU of the target ended", blamed=False)
        if verb == "await":
            self.events.append(ForeignDisconnect(t=2, conn=0, text="gone: flags 1", flags=1, abortive=True))

    @property
    def facts(self) -> Facts:
        return Facts(self._scenario, [Opened(t=1, conn=0, id=1, cookie=1), *self.events])


class Told:
    def __init__(self, session: Session, name: str, conversation: Conversation) -> None:
        self.session, self.name, self.conversation = session, name, conversation
        self.result: ScenarioResult | None = None

    def conclude(self, why: str | None = None, title: str = "") -> ScenarioResult:
        if self.result is None:
            tell("closed")
            verdict = "infra" if why and "QEMU" in why else "fail" if why else "pass"
            self.result = row(self.session.folder, self.name, verdict)
            tell(f"row {self.name} {verdict}")
        return self.result

    def drop(self) -> None:
        pass


class Session:
    def __init__(self, wanted: Any, console: Any) -> None:
        if (HERE / "unopened").exists():
            raise LabError("there is no QEMU")
        self.folder = wanted.out or HERE / "run"
        self.folder.mkdir(parents=True, exist_ok=True)
        unload = HERE / "unload"
        self.unloaded = SimpleNamespace(
            verdict=unload.read_text() if unload.exists() else "pass", reasons=["it hangs"] if unload.exists() else []
        )

    def lab(self, shared: bool = False) -> None:
        tell("lab")

    def misfit(self, scenario: Scenario) -> None:
        return None

    def play(self, scenario: Scenario, number: int = 1, shared: bool = False) -> ScenarioResult:
        return row(
            self.folder, scenario.name if number == 1 else f"{scenario.name}-{number}", scenario.name.split("-")[0]
        )

    def converse(self, name: str, title: str, words: Any, shared: bool = False) -> Told:
        scenario = scenario_of("x", "x", words)
        tell(f"{'shared' if shared else 'fresh'} {name}")
        return Told(self, name, Conversation(scenario, self.folder / "evidence" / name))

    def close(self) -> None:
        pass


@contextmanager
def paused() -> Any:
    tell("paused")
    yield
    tell("resumed")


setattr(sharing, "Session", Session)  # noqa: B010  # mypy knows that these are other classes
setattr(hooks, "paused", paused)  # noqa: B010
CORES = HERE / "host"
setattr(capacity, "host", lambda: Host(float(CORES.read_text()) if CORES.exists() else 8, 100_000))  # noqa: B010
