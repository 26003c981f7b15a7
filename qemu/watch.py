"""pexpect over lines of text, which never holds up the thread that brings them."""

import codecs
import re
import socket

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from wsklab.qemu.deadline import left
from wsklab.qemu.errors import DeadlinePassed, GuestDied, MachineError

MAX_WATCHED = 1 << 20
"""Bytes that a watch holds: pexpect keeps, and searches anew, all that has not matched yet."""


class _TextSpawn(SocketSpawn):  # type: ignore[type-arg]  # generic in its stubs alone
    """pexpect's SocketSpawn hands on the bytes it received even when asked for text; this one decodes them."""

    def __init__(self, reader: socket.socket) -> None:
        super().__init__(reader, encoding="utf-8")
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:
        return self._decode(super().read_nonblocking(size, timeout))


class Watch:
    """pexpect over the text lines of one serial line, from the moment the watch began."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._overflow = False
        self._interrupted = ""
        self._room = MAX_WATCHED
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._spawn = _TextSpawn(self._reader)

    def expect(self, pattern: str, deadline: float) -> re.Match[str]:
        """Return the first match of a regular expression in the lines since the last match.

        Raises DeadlinePassed, or GuestDied when the line ended.
        """
        try:
            self._spawn.expect(pattern, timeout=left(deadline))
            if self._overflow:
                raise pexpect.EOF("overflow")
        except pexpect.TIMEOUT:
            said = str(self._spawn.buffer or "")[-500:]
            raise DeadlinePassed(f"no {pattern!r} on the {self._name} line; its last words: {said!r}") from None
        except pexpect.EOF:
            if self._overflow:
                raise MachineError(f"the {self._name} line said more than a watch holds: expect sooner") from None
            why = f": {self._interrupted}" if self._interrupted else ""
            raise GuestDied(f"the machine ended before {pattern!r} came on its {self._name} line{why}") from None
        match = self._spawn.match
        assert isinstance(match, re.Match)
        return match

    def hear(self, _t_ns: int, text: str) -> None:
        """Take in text from the drain thread, which must not block; too much is an error of the one who watches."""
        data = f"{text}\n".encode()
        self._room -= len(data)
        self._overflow |= self._room < 0
        if not self._overflow:
            try:
                self._overflow = self._writer.send(data) < len(data)
            except BlockingIOError:
                self._overflow = True
            except OSError:  # closed a moment ago
                return
        if self._overflow:
            self.end()  # wakes who expects something

    def end(self, why: str = "") -> None:
        """End every `expect`: nothing more comes, for the reason given."""
        self._interrupted = why or self._interrupted
        self._writer.close()

    def close(self) -> None:
        """Free what it holds."""
        self.end()
        self._reader.close()
