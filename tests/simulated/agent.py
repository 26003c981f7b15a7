"""The agent's requests, answered at once by a simulated Windows: for what asks it without a line between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from simulated.windows import Faults, Windows, put_data
from wsklab.orchestrator.guest.agent import AgentError


class Agent:
    """What `guest.agent.Agent` offers; `commands` are the programs that were run and the services that were asked."""

    def __init__(self, build: int = 20348, **faults: Any) -> None:
        driver = SimpleNamespace(unload=lambda: None)
        self.windows = Windows(lambda: driver, lambda: None, lambda: None, Faults(**faults))  # type: ignore[arg-type,return-value]
        self.hello = {"system": f"windows 10.0.{build}"}
        self.commands: list[str] = []

    def ask(self, op: str, timeout: float, **words: Any) -> dict[str, Any]:
        self.commands += [words["command"]] if op == "run" else []
        answer = self.windows.answer({"id": 1, "op": op, **words})
        if not answer["ok"]:
            raise AgentError(answer["error"], answer["code"])
        return answer

    def put(self, path: str, content: bytes) -> None:
        self.ask("put", 1, path=path, offset=0, data=put_data(content))

    def service(self, action: str, name: str, path: str = "", timeout: float = 1) -> dict[str, Any]:
        self.commands.append(f"{action} {name}")
        return self.ask("service", timeout, action=action, name=name, path=path)
