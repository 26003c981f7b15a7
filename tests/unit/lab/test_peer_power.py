"""The peer's power: what it knew is gone without a word, so nothing may tell its programs before."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab.orchestrator.lab import peer as module
from wsklab.orchestrator.lab.peer import Peer


class Rig:
    """A peer without a machine; `did` is what happened to it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.ssh = SimpleNamespace(hung_up=False, close=lambda: self.did.append("hang up"), run=None)
        machine = SimpleNamespace(
            console=SimpleNamespace(watch=self.watch),
            reset=lambda: self.did.append(f"reset, expected: {self.ssh.hung_up}"),
            cut_power=lambda: self.did.append(f"cut, expected: {self.ssh.hung_up}"),
        )
        machines: Any = {"peer": machine}
        unused: Any = None
        self.peer = Peer(machines, unused, unused, 1.0)
        monkeypatch.setattr(self.peer, "_ssh", self.ssh)
        monkeypatch.setattr(self.peer, "_connect", lambda: self.did.append("connect"))
        monkeypatch.setattr(module, "check_pace", lambda *_: None)

    @contextmanager
    def watch(self) -> Any:
        yield SimpleNamespace(expect=lambda *_: self.did.append("booted"))


def test_the_reset_button_comes_before_the_end_of_the_ssh_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer program whose SSH ends closes its sockets: the driver would see a FIN that C32 does not have."""
    rig = Rig(monkeypatch)
    rig.peer.reset()
    assert rig.did == ["reset, expected: True", "hang up", "booted", "connect"]


def test_so_does_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.peer.cut_power()
    assert rig.did == ["cut, expected: True", "hang up"]
