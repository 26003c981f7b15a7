"""The process in the middle of the wire: `python -m wsklab.qemu.wire.cable TARGET_FD PEER_FD`.

It forwards frames between two datagram sockets, records them, and applies faults. Control is one JSON object per line:
requests `{"id": n, "do": ...}` on stdin, replies `{"id": n, "ok": true, ...}` or `{"id": n, "ok": false, "error": ...}`
on stdout; at the end of stdin it exits. One thread, one loop; nothing in here may block, and nothing heavy is imported:
it has to start in a blink.
"""

import errno
import heapq
import json
import os
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from wsklab.qemu.wire import frames, pcapng
from wsklab.qemu.wire.faults import Delivery, Engine, Match
from wsklab.qemu.wire.flows import WrongSpec
from wsklab.qemu.wire.frames import Frame, decode

BATCH = 64  # frames read from one side before the other has its turn
QUEUE = 8192  # frames that wait for a machine which does not read, before frames are lost
HISTORY = 8192  # frames since the last mark, for those who ask late
BUFFER = 4 << 20  # bytes asked for in the kernel
MOST_RECORDED = 128 << 20  # bytes of one recording, which is read whole; frames beyond are counted as lost
PING_AGAIN = 100_000_000  # ns


class Port:
    """One end of the cable."""

    def __init__(self, side: str, fd: int) -> None:
        self.side = side
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.queue: deque[bytes] = deque()
        self.counters = {"received": 0, "sent": 0, "kept": 0, "made": 0, "lost": 0}

    def send(self, data: bytes) -> None:
        """Send now, or as soon as the machine reads; what cannot even wait is counted as lost."""
        if self.queue or not self._try(data):
            if len(self.queue) < QUEUE:
                self.queue.append(data)
            else:
                self.counters["lost"] += 1

    def flush(self) -> None:
        """Send what waits, as long as the machine takes it."""
        while self.queue and self._try(self.queue[0]):
            self.queue.popleft()

    def _try(self, data: bytes) -> bool:
        try:
            self.socket.send(data)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return False
            self.counters["lost"] += 1  # the other end is closed, or the frame is larger than the socket takes
            return True
        self.counters["sent"] += 1
        return True


class Cable:
    """The loop, and what it keeps."""

    def __init__(self, target_fd: int, peer_fd: int) -> None:
        self.ports = {"target": Port("target", target_fd), "peer": Port("peer", peer_fd)}
        self.engine = Engine()
        self._selector = selectors.DefaultSelector()
        self._control = b""
        self._file: int | None = None
        self._unwritten: list[bytes] = []
        self._room, self._full = 0, False  # bytes that may still be recorded; whether some were not
        self._history: deque[Frame] = deque(maxlen=HISTORY)
        self._awaited: list[tuple[int, Match]] = []
        self._barriers: dict[int, set[str]] = {}  # request -> sides that have not answered
        self._ipv6: set[str] = set()  # sides that have no IPv4 address
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._segments = 0
        self._open = True

    def run(self) -> None:
        """Until the end of stdin."""
        self._selector.register(0, selectors.EVENT_READ, self._read_control)
        for port in self.ports.values():
            self._selector.register(port.socket, selectors.EVENT_READ, port)
        while self._open:
            for key, events in self._selector.select(self._patience()):
                if not isinstance(key.data, Port):
                    key.data()
                    continue
                if events & selectors.EVENT_WRITE:
                    key.data.flush()
                if events & selectors.EVENT_READ:
                    self._read_frames(key.data)
            self._on_time()
            self._write_record()
            for port in self.ports.values():
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.queue else 0)
                if self._selector.get_key(port.socket).events != wanted:
                    self._selector.modify(port.socket, wanted, port)

    # -- frames -------------------------------------------------------------------------------------------------

    def _read_frames(self, port: Port) -> None:
        for _ in range(BATCH):
            try:
                data = port.socket.recv(frames.MAX_FRAME)
            except BlockingIOError:
                return
            now = time.time_ns()
            port.counters["received"] += 1
            self._receive(now, decode(data, now, port.side, frames.OTHER_SIDE[port.side]))

    def _receive(self, now: int, frame: Frame) -> None:
        if answer := frames.arp_reply(frame.data) or frames.neighbour_reply(frame):
            self._deliver(now, [Delivery(frame.sender, answer, "the wire's own address")])
        if frames.for_the_wire(frame.data):
            self._record(frame._replace(receiver="", comment=pcapng.KEPT + "by the wire: it is the addressee"))
            if answered := frames.echo_reply_ident(frame):
                self._answered(answered[0], frame.sender)
            return
        comment, deliveries = self.engine.receive(now, frame)
        if comment:
            kept = comment.startswith(pcapng.KEPT)
            self.ports[frame.sender].counters["kept"] += kept
            frame = frame._replace(receiver="" if kept else frame.receiver, comment=comment)
        self._record(frame)
        self._deliver(now, deliveries)

    def _deliver(self, now: int, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            port = self.ports[delivery.to]
            if delivery.comment:
                port.counters["made"] += 1
                comment = delivery.comment if delivery.sender == "wire" else ""
                self._record(decode(delivery.data, now, delivery.sender, delivery.to, comment))
            port.send(delivery.data)

    def _record(self, frame: Frame) -> None:
        self._history.append(frame)
        self._segments += frame.kind == "tcp"
        if self._file is not None:
            self._keep(frame)
        if self._awaited:
            for request, match in self._awaited[:]:
                if match(frame):
                    self._awaited.remove((request, match))
                    self._reply(request, frame=_told(frame))

    def _keep(self, frame: Frame) -> None:
        packet = pcapng.packet(frame)
        if len(packet) <= self._room:
            self._room -= len(packet)
            self._unwritten.append(packet)
            return
        if not self._full:
            self._unwritten.append(
                pcapng.packet(
                    pcapng.mark(
                        time.time_ns(), f"more than {MOST_RECORDED >> 20} MiB: from here on not all frames are recorded"
                    )
                )
            )
        self._full = True
        self.ports["target"].counters["lost"] += 1  # so that nothing is proven by this recording

    def _write_record(self) -> None:
        if self._file is None or not self._unwritten:
            return
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        while data:
            data = data[os.write(self._file, data) :]

    # -- time ---------------------------------------------------------------------------------------------------

    def _patience(self) -> float | None:
        due = [at for at in (self.engine.next_due, self._timers[0][0] if self._timers else None) if at is not None]
        return max(0, min(due) - time.time_ns()) / 1e9 if due else None

    def _on_time(self) -> None:
        now = time.time_ns()
        self._deliver(now, self.engine.due(now))
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _after(self, ns: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._timers, (time.time_ns() + ns, self._order, action))

    # -- control ------------------------------------------------------------------------------------------------

    def _read_control(self) -> None:
        data = os.read(0, 65536)
        self._open = bool(data)
        *lines, self._control = (self._control + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                answer = getattr(self, "_do_" + request["do"])(request)
                if answer is not None:
                    self._reply(request["id"], **answer)
            except (WrongSpec, OSError) as error:
                self._reply(request["id"], ok=False, error=str(error))

    def _reply(self, request: int, ok: bool = True, **answer: object) -> None:
        self._write_record()  # whoever hears of a frame may read it in the recording
        reply = json.dumps({"id": request, "ok": ok, **answer}).encode() + b"\n"
        while reply:
            reply = reply[os.write(1, reply) :]

    def _do_record(self, request: Mapping[str, Any]) -> dict[str, object]:
        self._do_stop_recording(request)
        self._file = os.open(request["path"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._unwritten.append(pcapng.header())
        self._room, self._full = MOST_RECORDED, False
        return {}

    def _do_stop_recording(self, request: Mapping[str, Any]) -> dict[str, object]:
        self._write_record()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        return {}

    def _do_mark(self, request: Mapping[str, Any]) -> dict[str, object]:
        self._history.clear()
        if self._file is not None:
            self._unwritten.append(pcapng.packet(pcapng.mark(time.time_ns(), request["text"])))
        return {}

    def _do_fault(self, request: Mapping[str, Any]) -> dict[str, object]:
        return {"fault": self.engine.add(request["spec"])}

    def _do_play(self, request: Mapping[str, Any]) -> dict[str, object]:
        self.engine.play(request["spec"])
        if self._file is not None:
            text = "from here on the wire plays the peer's TCP on one connection"
            self._unwritten.append(pcapng.packet(pcapng.mark(time.time_ns(), text)))
        return {}

    def _do_release(self, request: Mapping[str, Any]) -> dict[str, object]:
        self._deliver(time.time_ns(), self.engine.release(request["fault"]))
        return {}

    def _do_clear(self, request: Mapping[str, Any]) -> dict[str, object]:
        self.engine.clear()
        return {}

    def _do_forge(self, request: Mapping[str, Any]) -> dict[str, object]:
        self._deliver(time.time_ns(), self.engine.forge(request["port"], request["by"], request["other"]))
        return {}

    def _do_counters(self, request: Mapping[str, Any]) -> dict[str, object]:
        counters = {side: {**port.counters, "queued": len(port.queue)} for side, port in self.ports.items()}
        return {"counters": counters, "struck": self.engine.struck()}

    def _do_traffic(self, request: Mapping[str, Any]) -> dict[str, object]:
        queued = sum(len(port.queue) for port in self.ports.values())
        return {"segments": self._segments, "waiting": self.engine.waiting + queued}

    def _do_await(self, request: Mapping[str, Any]) -> dict[str, object] | None:
        match = Match.parse(request["match"])
        for frame in self._history:
            if match(frame):
                return {"frame": _told(frame)}
        self._awaited.append((request["id"], match))
        return None

    def _do_forget(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Nobody waits any more for the answer of request `of`; `missing` are the sides which a barrier still lacks."""
        self._awaited = [awaited for awaited in self._awaited if awaited[0] != request["of"]]
        return {"missing": sorted(self._barriers.pop(request["of"], ()))}

    def _do_ping_by_ipv6(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Ping these sides by IPv6: they have no IPv4 address."""
        self._ipv6 = set(request["sides"])
        return {}

    def _do_barrier(self, request: Mapping[str, Any]) -> None:
        self._barriers[request["id"]] = set(request["sides"])
        self._ping(request["id"], 1)

    def _ping(self, request: int, sequence: int) -> None:
        """Ask who has not answered yet, and again a little later: a machine may lose a ping."""
        missing = self._barriers.get(request, ())
        for side in missing:
            self._deliver(
                time.time_ns(),
                [
                    Delivery(
                        side,
                        frames.echo_request(side, request & 0xFFFF, sequence, side in self._ipv6),
                        "barrier of the wire",
                    )
                ],
            )
        if missing:
            self._after(PING_AGAIN, lambda: self._ping(request, sequence + 1))

    def _answered(self, ident: int, side: str) -> None:
        for request, missing in list(self._barriers.items()):
            if request & 0xFFFF == ident:
                missing.discard(side)
                if not missing:
                    del self._barriers[request]
                    self._reply(request)


def _told(frame: Frame) -> dict[str, object]:
    return {
        "time": frame.time,
        "sender": frame.sender,
        "receiver": frame.receiver,
        "comment": frame.comment,
        "data": frame.data.hex(),
    }


if __name__ == "__main__":
    Cable(int(sys.argv[1]), int(sys.argv[2])).run()
