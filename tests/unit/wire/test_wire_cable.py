"""The wire's process, between two plain sockets instead of machines."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest

from wsklab.qemu.deadline import within
from wsklab.qemu.errors import DeadlinePassed, WireError
from wsklab.qemu.wire import cable
from wsklab.qemu.wire.control import Wire, read_recording
from wsklab.qemu.wire.frames import (
    ACK,
    ADDRESSES,
    FIN,
    MACS,
    RST,
    WIRE_ADDRESS,
    WIRE_MAC,
    Endpoint,
    decode,
    ip_frame,
    tcp_frame,
)

TARGET = Endpoint(MACS["target"], ADDRESSES["target"], 5000)
PEER = Endpoint(MACS["peer"], ADDRESSES["peer"], 6000)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path / "wire") as cable:
        for end in (cable.target_end, cable.peer_end):
            end.settimeout(5)
        yield cable


def data(text: bytes, seq: int = 1) -> bytes:
    return tcp_frame(TARGET, PEER, seq, 1, ACK, 1000, text)


def answer_pings(side: str, end: socket.socket, times: int, deaf: int = 0) -> threading.Thread:
    """Answer the pings of the wire as a machine does, after ignoring some."""

    def answer() -> None:
        for number in range(deaf + times):
            while decode(ping := end.recv(2000)).kind == "tcp":
                pass  # what the other machine has sent may come before the ping or behind it
            if number >= deaf:
                end.send(ip_frame(WIRE_MAC, MACS[side], WIRE_ADDRESS, ADDRESSES[side], 1, b"\0" + ping[35:]))

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_frames_pass_both_ways_and_are_counted_and_recorded(wire: Wire, tmp_path: Path) -> None:
    wire.record(tmp_path / "a.pcapng")
    back = tcp_frame(PEER, TARGET, 1, 1, ACK, 1000)
    wire.target_end.send(data(b"hello"))
    assert wire.peer_end.recv(2000) == data(b"hello")
    wire.peer_end.send(back)
    assert wire.target_end.recv(2000) == back
    wire.mark("end")
    wire.stop_recording()
    frames = read_recording(tmp_path / "a.pcapng")
    assert [(frame.sender, frame.receiver) for frame in frames[:2]] == [("target", "peer"), ("peer", "target")]
    assert frames[0].data == data(b"hello")
    assert frames[2].comment == "mark end"
    counters = wire.counters()
    assert (counters["target"]["received"], counters["peer"]["sent"]) == (1, 1)


def test_a_fault_strikes_and_is_in_the_recording(wire: Wire, tmp_path: Path) -> None:
    wire.record(tmp_path / "a.pcapng")
    by = [{"segment": "rst", "as": "peer"}]
    fault = wire.fault({"action": "replace", "match": {"from": "target", "flags": ["fin"]}, "by": by})
    wire.target_end.send(data(b"x"))
    wire.target_end.send(tcp_frame(TARGET, PEER, 2, 1, FIN | ACK, 1000))
    assert decode(wire.target_end.recv(2000)).flags == RST
    assert wire.struck() == {fault: 1}
    assert wire.counters()["target"]["kept"] == 1
    wire.stop_recording()
    passed, kept, forged = read_recording(tmp_path / "a.pcapng")
    assert (passed.receiver, passed.comment) == ("peer", "")
    assert (kept.receiver, kept.comment) == ("", "kept by fault 1 (replace)")
    assert (forged.sender, forged.receiver) == ("wire", "target")


def test_a_held_frame_goes_out_in_its_time_without_other_traffic(wire: Wire) -> None:
    wire.fault({"action": "hold", "ms": 30})
    wire.target_end.send(data(b"late"))
    assert wire.peer_end.recv(2000) == data(b"late")
    held = wire.fault({"action": "hold"})
    wire.target_end.send(data(b"held"))
    wire.await_frame({"from": "target", "min_payload": 4}, within(5))
    wire.release(held)
    assert wire.peer_end.recv(2000) == data(b"held")


def test_a_wrong_fault_is_refused_with_its_reason(wire: Wire) -> None:
    with pytest.raises(WireError, match="explode"):
        wire.fault({"action": "explode"})
    assert wire.struck() == {}


def test_await_finds_earlier_frames_later_frames_and_none(wire: Wire) -> None:
    wire.target_end.send(data(b"early"))
    wire.peer_end.recv(2000)
    assert wire.await_frame({"min_payload": 5}, within(5)).payload == 5
    wire.mark("after which it is forgotten")
    with pytest.raises(DeadlinePassed, match="no frame"):
        wire.await_frame({"min_payload": 5}, within(0.05))
    sender = threading.Timer(0.02, wire.target_end.send, [data(b"later")])
    sender.start()
    assert wire.await_frame({"from": "target"}, within(5)).data == data(b"later")
    sender.join()


def test_a_barrier_waits_for_both_sides_and_pings_again(wire: Wire, tmp_path: Path) -> None:
    wire.record(tmp_path / "a.pcapng")
    wire.target_end.send(data(b"before"))
    threads = [answer_pings("target", wire.target_end, 1, deaf=1), answer_pings("peer", wire.peer_end, 1, deaf=1)]
    wire.barrier(within(5))
    for thread in threads:
        thread.join()
    recorded = read_recording(tmp_path / "a.pcapng")
    assert any(frame.payload == 6 for frame in recorded)


def test_a_barrier_names_the_silent_side(wire: Wire) -> None:
    thread = answer_pings("target", wire.target_end, 1)
    with pytest.raises(DeadlinePassed, match="from: peer"):
        wire.barrier(within(0.05))
    thread.join()


def test_nothing_is_lost_when_a_machine_reads_late(wire: Wire) -> None:
    count = 3000
    for number in range(count):
        wire.target_end.send(data(b"x" * 1000, number))
    wire.await_frame({"kind": "tcp"}, within(5))
    assert [decode(wire.peer_end.recv(2000)).seq for _ in range(count)] == list(range(count))
    assert wire.counters()["peer"]["lost"] == 0


def test_what_is_lost_is_counted(wire: Wire) -> None:
    wire.peer_end.close()
    wire.target_end.send(data(b"into the void"))
    wire.await_frame({"kind": "tcp"}, within(5))
    assert wire.counters()["peer"]["lost"] == 1


def test_a_killed_wire_says_so(wire: Wire) -> None:
    assert wire._child
    wire._child.kill()
    with pytest.raises(WireError, match="gone"):
        wire.barrier(within(5))


def test_the_end_of_the_process_is_told_at_once_and_ends_every_wait(tmp_path: Path) -> None:
    wire, told = Wire(tmp_path / "wire"), Queue[str]()
    wire.start(told.put)
    waiting = ThreadPoolExecutor(1).submit(wire.await_frame, {"flags": ["rst"]}, within(60))
    os.kill(wire.pid, signal.SIGKILL)
    assert told.get(timeout=30).startswith("code -9")
    with pytest.raises(WireError, match="the wire's process is gone"):
        waiting.result(timeout=30)
    with pytest.raises(WireError, match="not running"):
        _ = wire.pid
    wire.stop()


def test_an_end_that_was_asked_for_is_no_news(tmp_path: Path) -> None:
    wire, told = Wire(tmp_path / "wire"), list[str]()
    wire.start(told.append)
    wire.stop()
    assert told == []


def test_a_wire_that_is_given_up_is_not_asked_again(wire: Wire) -> None:
    os.kill(wire.pid, signal.SIGSTOP)
    answered = wire.ask()
    assert not answered()
    wire.give_up("the wire's process has been stopped")
    with pytest.raises(WireError, match="has been stopped"):
        wire.counters()
    os.kill(wire.pid, signal.SIGKILL)


def test_what_is_yet_to_be_delivered_counts_as_waiting(wire: Wire) -> None:
    fault = wire.fault({"action": "hold", "match": {"from": "target"}})
    wire.target_end.send(data(b"held"))
    wire.await_frame({"from": "target"}, within(30))
    assert wire.traffic() == (1, 1)
    wire.release(fault)
    wire.peer_end.recv(2000)
    assert wire.traffic() == (2, 0), "once from its sender, once to its receiver"


def test_a_recording_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cable, "MOST_RECORDED", 10_000)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    middle = cable.Cable(*(ours.detach() for ours, _ in pairs))
    for name in ("a", "b"):
        lost = middle.ports["target"].counters["lost"]
        middle._do_record({"path": str(tmp_path / name)})
        for seq in range(200):
            middle._record(decode(data(b"x" * 500, seq), 1, "target", "peer"))
        middle._do_stop_recording({})
        recorded = read_recording(tmp_path / name)
        frames = [frame for frame in recorded if frame.kind == "tcp"]
        assert (tmp_path / name).stat().st_size < 11_000
        assert middle.ports["target"].counters["lost"] - lost == 200 - len(frames)
        assert sum("not all frames are recorded" in frame.comment for frame in recorded) == 1
    for port in middle.ports.values():
        port.socket.close()
    for _, theirs in pairs:
        theirs.close()
