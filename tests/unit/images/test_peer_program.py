"""The peer program, driven for real over loopback; a second socket says what was on the wire."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import native
from support.own_network import in_own_network

from wsklab.images.builder import compile_program
from wsklab.images.recipe import HERE, SHARED_C

SOURCES = HERE / "guest/peer"


@pytest.fixture(scope="session", params=["static", "sanitized"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "static":
        path = tmp_path_factory.mktemp("peer") / "peer"
        compile_program(SOURCES, path)
        return path
    flags = ["-std=c11", "-D_GNU_SOURCE", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return native.program("peer", [*SOURCES.glob("*.c"), *SHARED_C.glob("*.c")], [*flags, f"-I{SHARED_C}"])


class Peer:
    """A running peer program."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.read()["hello"] == 1

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, do: str, **fields: object) -> dict[str, Any]:
        self.write(json.dumps({"id": 7, "do": do, **fields}).encode() + b"\n")
        answer = self.read()
        assert answer["id"] == 7
        return answer

    def do(self, do: str, **fields: object) -> dict[str, Any]:
        answer = self.ask(do, **fields)
        assert answer["ok"], answer
        return answer


@pytest.fixture
def peer(program: Path) -> Iterator[Peer]:
    with ending_well(Peer(program)) as peer:
        yield peer


@contextlib.contextmanager
def ending_well(peer: Peer) -> Iterator[Peer]:
    """Yield the peer, whose end tells what the sanitizers found."""
    yield peer
    with contextlib.suppress(BrokenPipeError):
        peer.process.stdin.close()  # type: ignore[union-attr]
    peer.process.stdout.close()  # type: ignore[union-attr]
    assert peer.process.wait(10) in (0, -9), "the sanitizer found a fault"


def connected(peer: Peer, family: str = "ipv4") -> socket.socket:
    """Return a connection from here to the peer, accepted as its socket 0."""
    port = peer.do("listen", family=family)["port"]
    client = socket.create_connection(("127.0.0.1" if family == "ipv4" else "::1", port), timeout=5)
    assert peer.do("accept")["port"] == client.getsockname()[1]
    return client


def fnv(data: bytes) -> str:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def ending(client: socket.socket) -> str:
    """Return what the other side did: `fin` or `rst`; data before it is skipped."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        return "rst"
    return "fin"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_close_is_a_fin(peer: Peer, family: str) -> None:
    client = connected(peer, family)
    peer.do("close")
    assert ending(client) == "fin"


@pytest.mark.parametrize(("linger", "expected"), [(0, "rst"), (5, "fin"), (None, "fin")])
def test_linger_decides_the_ending(peer: Peer, linger: int | None, expected: str) -> None:
    client = connected(peer)
    peer.do("close", linger=linger)
    assert ending(client) == expected


@pytest.mark.parametrize(("unread", "expected"), [(b"", "fin"), (b"unread", "rst")])
@pytest.mark.parametrize("how", ["close", "kill", "exit"])
def test_unread_data_turns_an_ending_into_a_reset(peer: Peer, how: str, unread: bytes, expected: str) -> None:
    client = connected(peer)
    if unread:
        client.sendall(unread)
        peer.do("await", **{"for": "readable"})
    peer.do(how)
    assert ending(client) == expected


def test_half_close_leaves_the_other_direction_open(peer: Peer) -> None:
    client = connected(peer)
    peer.do("shutdown", how="write")
    assert client.recv(1) == b""
    client.sendall(b"still here")
    assert peer.do("receive", bytes=10)["hex"] == b"still here".hex()


def test_shutdown_of_reading_shows_nothing(peer: Peer) -> None:
    client = connected(peer)
    peer.do("shutdown", how="read")
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)


@pytest.mark.parametrize("size", [0, 1, 300, 1_000_000])
def test_send_and_receive_keep_the_pattern(peer: Peer, size: int) -> None:
    client = connected(peer)
    pattern = bytes((3 + i) & 0xFF for i in range(size))
    if size < 100_000:  # what the buffers hold while nobody reads
        sent = peer.do("send", bytes=size, seed=3)
        assert (sent["bytes"], sent["sum"]) == (size, fnv(pattern))
        assert client.recv(size, socket.MSG_WAITALL) == pattern if size else True
    peer.write(b'{"id":7,"do":"receive","until":"eof"}\n')
    client.sendall(pattern)
    client.shutdown(socket.SHUT_WR)
    got = peer.read()
    assert got["ok"] and got["eof"]
    assert (got["bytes"], got["sum"]) == (size, fnv(pattern))


def test_hex_is_sent_as_it_is(peer: Peer) -> None:
    client = connected(peer)
    peer.do("send", hex="00ffDe")
    assert client.recv(3, socket.MSG_WAITALL) == b"\x00\xff\xde"
    assert not peer.ask("send", hex="0")["ok"]


def test_receive_tells_of_an_early_end_and_of_a_reset(peer: Peer) -> None:
    client = connected(peer)
    client.sendall(b"abcd")
    client.shutdown(socket.SHUT_WR)
    early = peer.ask("receive", bytes=9)
    assert (early["ok"], early["bytes"], early["eof"]) == (False, 4, True)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    reset = peer.ask("receive", bytes=1)
    assert not reset["ok"]


def test_await_tells_an_eof_from_a_reset(peer: Peer) -> None:
    client = connected(peer)
    client.sendall(b"unread")
    client.shutdown(socket.SHUT_WR)
    peer.do("await", **{"for": "eof"})
    assert peer.do("state")["state"] == "CLOSE_WAIT"
    assert peer.do("state")["unread"] in (6, 7)  # Linux counts the FIN behind unread data
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert peer.do("await", **{"for": "reset"})["reset"] > 0


def test_a_full_window_stops_the_sending(peer: Peer) -> None:
    """Not a socket that is full for a moment: what is acknowledged makes room, and a FIN behind the data goes out."""
    client = connected(peer)
    sent = peer.do("send", bytes=1 << 30, full=True)["bytes"]
    assert 0 < sent < 1 << 30
    assert peer.do("state")["probes"] > 0, "the window is not known to be shut"
    assert peer.do("state")["unsent"] > 0
    peer.do("close", linger=0)
    assert ending(client) == "rst"


def test_connect_from_a_chosen_port_and_again_from_the_same(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        own = peer.do("connect", host="127.0.0.1", port=port)["port"]
        server.accept()[0].close()
        peer.do("await", **{"for": "eof"})
        peer.do("close")
        assert peer.do("connect", host="127.0.0.1", port=port, local_port=own)["port"] == own
    refused = peer.ask("connect", sock="x", host="127.0.0.1", port=port)
    assert refused["errno"] == 111


def test_lines_sent_ahead_are_done_in_order(peer: Peer) -> None:
    port = peer.do("listen")["port"]
    peer.write(b'{"id":7,"do":"accept"}\n{"id":8,"do":"close"}\n')
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    assert (peer.read()["id"], peer.read()["id"]) == (7, 8)
    assert ending(client) == "fin"


def test_listener_closed_with_a_connection_in_its_queue(peer: Peer) -> None:
    port = peer.do("listen")["port"]
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    peer.do("await", sock="listener", **{"for": "readable"})
    peer.do("close", sock="listener")
    assert ending(client) == "rst"


def test_many_are_closed_in_a_seeded_order_as_it_says(peer: Peer) -> None:
    port = peer.do("listen", backlog=200)["port"]
    clients = {c.getsockname()[1]: c for c in (socket.create_connection(("127.0.0.1", port), 5) for _ in range(100))}
    assert set(peer.do("accept_many", count=100)["ports"]) == set(clients)
    ended = peer.do("close_many", count=100, how="mixed", seed=5)
    assert ended["ports"] != list(clients) and set(ended["ports"]) == set(clients)
    assert sum(ended["resets"]) == 50 and sorted(ended["order"]) == list(range(100)) != ended["order"]
    assert ended["resets"] not in ([0, 1] * 50, sorted(ended["resets"])), "the order of the endings is drawn, too"
    for ended_port, reset in zip(ended["ports"], ended["resets"], strict=True):
        assert ending(clients[ended_port]) == ("rst" if reset else "fin")
        clients[ended_port].close()


def test_options_and_their_refusal(peer: Peer) -> None:
    connected(peer)
    peer.do("option", nodelay=1, keepalive=1, keepidle=1, keepintvl=1, keepcnt=1, user_timeout_ms=900, linger=0)
    assert peer.ask("option", keepcnt=100000)["errno"] == 22


def test_timeout_is_an_error_of_its_own(peer: Peer) -> None:
    client = connected(peer)
    assert peer.ask("receive", bytes=1, timeout_ms=10)["errno"] == 110
    assert peer.ask("await", timeout_ms=10, **{"for": "eof"})["errno"] == 110
    client.close()


def test_a_wait_in_vain_can_be_ended_from_outside_and_takes_what_is_there(peer: Peer) -> None:
    client = connected(peer)
    client.send(b"abc")
    peer.write(b'{"id":7,"do":"receive","bytes":4,"timeout_ms":600000}\n')
    ask_until_answered = threading.Event()

    def hurry() -> None:  # whenever it comes: before the request is read it is forgotten, so it is said again
        while not ask_until_answered.wait(0.02):
            peer.process.send_signal(signal.SIGUSR1)

    hurrying = threading.Thread(target=hurry)
    hurrying.start()
    answer = peer.read()
    ask_until_answered.set()
    hurrying.join()
    assert (answer["ok"], answer["bytes"], answer["errno"]) == (False, 3, 110)
    client.send(b"defg")
    assert peer.ask("receive", bytes=4, timeout_ms=600000)["ok"], "the signal was of the request before"
    client.close()


@pytest.mark.parametrize(
    ("do", "fields", "word"),
    [
        ("dance", {}, "do must be"),
        ("close", {"lingr": 0}, "does not belong"),
        ("close", {"linger": "0"}, "linger"),
        ("close", {"sock": "nobody"}, "no socket"),
        ("listen", {"port": 70000}, "port"),
        ("receive", {}, "give either"),
        ("shutdown", {"how": "gently"}, "read, write or both"),
        ("sysctl", {"name": "../etc/passwd"}, "kernel setting"),
        ("connect", {"host": "localhost", "port": 1}, "IPv4 or IPv6"),
    ],
)
def test_wrong_requests_are_refused_by_name(peer: Peer, do: str, fields: dict[str, object], word: str) -> None:
    answer = peer.ask(do, **fields)
    assert not answer["ok"]
    assert word in answer["error"]


def test_sysctl_is_read_with_either_spelling(program: Path) -> None:
    with ending_well(Peer(*in_own_network(program))) as peer:
        for name in ("net.ipv4.tcp_fin_timeout", "net/ipv4/tcp_fin_timeout"):
            assert int(peer.do("sysctl", name=name)["was"]) > 0


garbage = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet='{}[]",:\\u0019-truefalsn idowk', max_size=80).map(str.encode),
    st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=9), st.booleans(), st.none())).map(
        lambda fields: json.dumps(fields).encode()
    ),
)


def test_no_line_crashes_it_and_each_is_answered(program: Path) -> None:
    peer = Peer(program)

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(garbage)
    def check(line: bytes) -> None:
        peer.write(line.replace(b"\n", b" ") + b"\n")
        assert peer.read()["ok"] is False

    check()
    peer.do("exit", code=3)
    assert peer.process.wait(10) == 3
