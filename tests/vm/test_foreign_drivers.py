"""Drivers that know nothing of this lab, on the stand-in: a server and a client, each with its own style and text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from wsklab import images
from wsklab.drivers.build import build_driver, build_standin
from wsklab.drivers.patterns import read
from wsklab.drivers.profile import DriverProfile, load_profile, registry_file
from wsklab.orchestrator import targets
from wsklab.orchestrator.ending import Flow, ending
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.peer import PeerProcess
from wsklab.qemu import accel
from wsklab.qemu.wire.control import read_recording
from wsklab.qemu.wire.frames import FIN, RST, Frame

pytestmark = pytest.mark.vm

TARGET = "10.77.0.10"
WAIT_MS = 10_000


def quiet(_: str) -> None:
    """Progress that nobody reads."""


@dataclass
class Foreign:
    """A lab with somebody else's driver: its debug text becomes observations by the patterns of its profile."""

    lab: Lab
    profile: DriverProfile
    began: int

    def wait(self, kind: str, conn: int | None = None) -> Observation:
        """The first line of this kind since the driver was prepared."""
        def matches(o: Observation) -> bool:
            return o.source == "driver" and o.kind == kind and (conn is None or o.conn == conn)
        return self.lab.journal.wait(matches, self.deadline, self.began)[0]

    def seen(self, kind: str, conn: int | None = None) -> list[Observation]:
        """All lines of this kind since the driver was prepared."""
        return [o for o in self.lab.journal.since(self.began)
                if o.source == "driver" and o.kind == kind and (conn is None or o.conn == conn)]

    @property
    def deadline(self) -> float:
        return time.monotonic() + 10 * self.lab.slowness

    def start(self) -> None:
        self.lab.target.agent.service("start", self.profile.service)

    def stop(self) -> None:
        """Stop and delete the service; the driver must have said its last word."""
        self.lab.target.agent.service("stop", self.profile.service)
        self.wait("unload")
        self.lab.target.agent.service("delete", self.profile.service)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cache = images.cache_folder()
    own, files = build_driver(None, cache), build_standin(cache)
    inputs = {"driver:netio.sys": files.netio.path, "driver:wskagent.exe": files.agent.path}
    peer = images.ensure("peer", inputs, quiet)
    accelerator, _ = accel.choose(peer.kernel, peer.initrd, cache)
    guest = targets.find("standin", accelerator, inputs, quiet)
    booted = Lab(tmp_path_factory.mktemp("lab"), accelerator, guest, peer).boot(own, quiet)
    yield booted
    booted.stop()


@pytest.fixture
def load(lab: Lab) -> Iterator[Callable[[str], Foreign]]:
    """Puts a driver into the target as its profile says, with our own driver loaded beside it; does not start it."""
    recordings = lab.folder / "recordings"
    recordings.mkdir(exist_ok=True)

    def prepare(name: str) -> Foreign:
        profile = load_profile(name)
        foreign = Foreign(lab, profile, lab.journal.mark)

        def on_line(t: int, text: str) -> None:
            if reading := read(profile.patterns, text):
                lab.journal.add(Observation(t, "driver", reading.kind, reading.conn, {**reading.data, "text": text}))

        lab.machine("target").debug.on_line(on_line)
        agent = lab.target.agent
        agent.put(profile.target_path, profile.resolve(images.cache_folder()).read_bytes())
        agent.put(r"C:\wsklab\parameters.reg", registry_file(profile).encode("ascii"))
        agent.service("create", profile.service, profile.target_path)
        assert agent.ask("run", 60, command=r"regedit.exe /S C:\wsklab\parameters.reg")["exit"] == 0
        lab.wire.record(recordings / f"{name}.pcapng")
        return foreign

    yield prepare
    lab.wire.stop_recording()


@pytest.fixture
def peer(lab: Lab) -> Iterator[PeerProcess]:
    process = lab.peer.process()
    yield process
    process.end()


def recorded(foreign: Foreign) -> list[Frame]:
    """Every TCP frame that has been sent so far."""
    foreign.lab.wire.barrier(foreign.deadline)
    frames = read_recording(foreign.lab.folder / "recordings" / f"{foreign.profile.name}.pcapng")
    return [frame for frame in frames if frame.kind == "tcp"]


def wire(foreign: Foreign, flow: Flow) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How the peer and the driver ended a connection on the wire."""
    observed = [
        Observation(f.time, "wire", "frame", None, {
            "proto": f.kind, "sender": f.sender, "sport": f.src_port, "dport": f.dst_port, "seq": f.seq,
            "length": f.payload, "flags": ("F" if f.flags & FIN else "") + ("R" if f.flags & RST else "")})
        for f in recorded(foreign)]
    return ending(observed, flow, "peer").sent, ending(observed, flow, "driver").sent


def no_complaints(foreign: Foreign) -> None:
    """The provider saw no rule of WSK broken, and nothing in the target crashed."""
    assert foreign.seen("rule") == []
    assert foreign.lab.journal.lost is None


def test_a_foreign_server(lab: Lab, load: Callable[[str], Foreign], peer: PeerProcess) -> None:
    echo = load("echo")
    assert echo.profile.provoke is not None
    echo.start()
    port = echo.wait("load").data["port"]
    assert port == echo.profile.provoke.port

    def connect(sock: str) -> int:
        reply = peer.ask("connect", echo.deadline, sock=sock, host=TARGET, port=port, timeout_ms=WAIT_MS)
        local: int = reply["port"]
        return local

    # Everything comes back, more than it can keep at a time; its FIN comes behind the last byte.
    local = connect("polite")
    size = 300_000
    peer.ask("send", echo.deadline, sock="polite", bytes=size, seed=1, timeout_ms=WAIT_MS)
    peer.ask("shutdown", echo.deadline, sock="polite", how="write")
    back = peer.ask("receive", echo.deadline, sock="polite", until="eof", timeout_ms=WAIT_MS)
    assert back["bytes"] == size
    peer.ask("close", echo.deadline, sock="polite")
    closed = echo.wait("close", 1)
    assert (closed.data["sent"], closed.data["status"]) == (size, 0)
    assert [o.data["abortive"] for o in echo.seen("disc", 1)] == [False]
    assert echo.seen("open", 1)[0].data["port"] == local
    assert wire(echo, Flow(port, local)) == (("fin",), ("fin",))

    # A reset is an abort, and nothing is sent in answer.
    local = connect("rude")
    peer.ask("send", echo.deadline, sock="rude", bytes=20, timeout_ms=WAIT_MS)
    assert peer.ask("receive", echo.deadline, sock="rude", bytes=20, timeout_ms=WAIT_MS)["bytes"] == 20
    peer.ask("close", echo.deadline, sock="rude", linger=0)
    assert echo.wait("disc", 2).data["abortive"] is True
    echo.wait("close", 2)
    assert wire(echo, Flow(port, local)) == (("rst",), ())

    # Unloaded under two open connections: it aborts them, gives everything back, and says so.
    connect("idle"), connect("also idle")
    peer.ask("send", echo.deadline, sock="idle", bytes=20, timeout_ms=WAIT_MS)
    peer.ask("receive", echo.deadline, sock="idle", bytes=20, timeout_ms=WAIT_MS)
    echo.wait("open", 4)
    echo.stop()
    for sock in ("idle", "also idle"):
        reset: dict[str, Any] = {"sock": sock, "for": "reset", "timeout_ms": WAIT_MS}
        peer.ask("await", echo.deadline, **reset)
    assert len(echo.seen("close")) == 4
    assert echo.wait("unload").data["connections"] == 4
    no_complaints(echo)


def test_a_foreign_client(lab: Lab, load: Callable[[str], Foreign], peer: PeerProcess) -> None:
    pinger = load("pinger")
    assert pinger.profile.provoke is not None
    peer.ask("listen", pinger.deadline, sock="listener", family="ipv4", port=pinger.profile.provoke.port)
    pinger.start()

    def accept(sock: str) -> None:
        words: dict[str, Any] = {"from": "listener", "sock": sock, "timeout_ms": WAIT_MS}
        peer.ask("accept", pinger.deadline, **words)
        two_lines = peer.ask("receive", pinger.deadline, sock=sock, bytes=18, timeout_ms=WAIT_MS)
        assert two_lines["bytes"] == 18

    accept("polite")
    peer.ask("send", pinger.deadline, sock="polite", bytes=40, timeout_ms=WAIT_MS)
    peer.ask("close", pinger.deadline, sock="polite")
    accept("rude")
    peer.ask("close", pinger.deadline, sock="rude", linger=0)

    graceful, abortive = pinger.wait("disc", 1).data, pinger.wait("disc", 2).data
    assert (graceful["abortive"], graceful["status"]) == (False, 0)
    assert (abortive["abortive"], abortive["status"]) == (True, 0xC000020D)
    pinger.wait("close", 2)
    assert [o.data["length"] for o in pinger.seen("recv")] == [40, 0]
    pinger.wait("note")
    pinger.stop()
    assert "done: 2 of 2 rounds, 0x00000000" in pinger.seen("note")[-1].data["text"]

    port = pinger.profile.provoke.port
    first, second = dict.fromkeys(f.src_port for f in recorded(pinger) if f.sender == "target" and f.dst_port == port)
    assert wire(pinger, Flow(first, port)) == (("fin",), ("fin",))
    assert wire(pinger, Flow(second, port)) == (("rst",), ())
    no_complaints(pinger)
