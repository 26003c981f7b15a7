"""wsklab.sys as the lab sees it: commands in, lines out (drivers/wsklab/protocol.h). One connection at a time."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

from simulated.nic import Connection, Nic

COMMAND = struct.Struct("<I H H 18I 28s 28s 32s")
CANARY, OPEN, ENABLE, STATIC, RECEIVE, SEND, CLOSE, CLOSE_ALL = 1, 6, 9, 11, 12, 13, 15, 16
RESET, PENDING = 0xC000020D, 0x103


class Driver:
    """Loaded from its construction to `unload`. `say` prints on the debug line; `skew` is what the flags lie by."""

    def __init__(self, nic: Nic, say: Callable[[str], None], skew: int = 0) -> None:
        self.lines: list[str] = []
        self._nic, self._say, self._skew = nic, say, skew
        self._lock = threading.RLock()
        self._open: dict[int, tuple[Connection, int]] = {}  # by number: its end and its cookie
        self._events: set[int] = set()
        self._receives: list[tuple[int, int]] = []
        self.print(0, "load ver=1 build=correct")

    def unload(self) -> None:
        self.print(0, "unload sockets=0 irps=0 indications=0 allocs=0")

    def print(self, conn: int, text: str) -> None:
        with self._lock:
            line = f"WSKLAB1 seq={len(self.lines) + 1:08x} t={time.monotonic_ns() // 100:016x} conn={conn} ev={text}"
            self.lines.append(line)
            self._say(line)

    def ioctl(self, code: int, data: bytes) -> bytes:
        with self._lock:
            if code == 0x222008:
                state = (COMMAND_STATE := struct.Struct("<I I Q 8I 32s")).size
                return COMMAND_STATE.pack(state, 1, len(self.lines) + 1, *[0] * 7, 4096, b"correct")
            if code == 0x222004:
                first, most, _ = struct.unpack("<QII", data)
                told = self.lines[first - 1 : first - 1 + most if most else None]
                text = "".join(f"{line}\n" for line in told).encode()
                return struct.pack("<QQII", first, first + len(told), len(told), 0) + text
            statuses = [self._command(*words) for words in COMMAND.iter_unpack(data)]
            return struct.pack(f"<{len(statuses)}I", *statuses)

    def _command(self, _size: int, _version: int, op: int, number: int, conn: int, *rest: object) -> int:
        """Carry one out; returns what the command is answered with: the status on the line of its last call."""
        flags, length, cookie, token, remote = rest[3], rest[5], rest[12], rest[13], rest[17]
        assert isinstance(remote, bytes)
        if op == CANARY:
            self.print(0, f"canary token={token:08x}")
        elif op == OPEN:
            self._connect(number, conn, int(str(cookie)), remote)
        elif op == ENABLE:
            self._events.add(conn)
            self.print(conn, f"call op=enable id={number} ret=00000000 mask=00000080")
        elif op == STATIC:
            self.print(0, f"call op=static_events id={number} ret=00000000 mask=00000280")
        elif op == RECEIVE:
            self._receives.append((conn, number))
            self.print(conn, f"call op=receive id={number} ret={PENDING:08x} flags={flags:08x} len={length}")
        elif op == SEND:
            status, done = (RESET, 0) if self._open[conn][0].state == "reset" else (0, length)
            self.print(conn, f"call op=send id={number} ret={PENDING:08x} flags={flags:08x} len={length}")
            self.print(conn, f"done op=send id={number} st={status:08x} len={done}")
        elif op in (CLOSE, CLOSE_ALL):
            for one in [conn] if op == CLOSE else list(self._open):
                self._close(one, number)
            if op == CLOSE_ALL:
                self.print(0, "clean sockets=0 irps=0 indications=0 allocs=0")
        return PENDING if op in (OPEN, RECEIVE, SEND, CLOSE) else 0

    def _connect(self, number: int, conn: int, cookie: int, remote: bytes) -> None:
        port, address = struct.unpack_from(">H4s", remote, 2)
        for step in ("socket", "bind", "local"):
            self.print(conn, f"call op={step} id={number} ret={PENDING:08x}")
            self.print(conn, f"done op={step} id={number} st=00000000 len=0")
        self.print(conn, f"call op=connect id={number} ret={PENDING:08x}")
        end = self._nic.connect(address, port, lambda what: self._heard(what, number, conn))
        self._open[conn] = (end, cookie)
        end.open()

    def _heard(self, what: str, number: int, conn: int) -> None:
        with self._lock:
            if conn not in self._open:  # closed while this was on its way
                return
            end, cookie = self._open[conn]
            if what == "open":
                self.print(
                    conn,
                    f"done op=connect id={number} st=00000000 len=0 lport={end.port} "
                    f"rport={end.remote_port} cookie={cookie:08x}",
                )
                return
            abortive = int(what == "rst")
            for _, receive in [one for one in self._receives if one[0] == conn]:
                self.print(conn, f"done op=receive id={receive} st={RESET * abortive:08x} len=0 sum=811c9dc5")
            self._receives = [one for one in self._receives if one[0] != conn]
            if conn in self._events:
                flags = abortive ^ self._skew
                self.print(
                    conn,
                    f"disc flags={flags:08x} ab={flags} disp=0 irql=0 cpu=0 n=1 depth=1 rdepth=0 cookie={cookie:08x}",
                )

    def _close(self, conn: int, number: int) -> None:
        end, _ = self._open.pop(conn)
        self.print(conn, f"call op=close id={number} ret={PENDING:08x}")
        end.close()
        self.print(conn, f"done op=close id={number} st=00000000 len=0")
