"""Lines of text out of pieces: what processors print piece by piece, and what comes on the line outside of packets."""

from __future__ import annotations

import re
from collections.abc import Callable

from wsklab.qemu.kd.events import TextLine
from wsklab.qemu.kd.packet import HEADER, PAYLOAD_MAX

LINE_MAX = 4096
"""Bytes; a longer line is given out in pieces."""
_STREAMS_MAX = 64
_JOINTS_MAX = 16
_PACKET_MAX = HEADER.size + PAYLOAD_MAX + 1

# In every damaged packet there are such bytes, in text there are none: its header and its payload have zeros.
_BINARY = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f\xaa]")


def _cut(pending: bytearray, data: bytes) -> list[bytes]:
    """Add `data` to `pending`, and take out the lines that are whole."""
    pending += data
    if b"\n" not in data and len(pending) <= LINE_MAX:
        return []
    *whole, rest = bytes(pending).split(b"\n")
    lines = [line[at : at + LINE_MAX] for line in whole for at in range(0, max(len(line), 1), LINE_MAX)]
    while len(rest) > LINE_MAX:
        lines.append(rest[:LINE_MAX])
        rest = rest[LINE_MAX:]
    pending[:] = rest
    return lines


def _line(data: bytes, processor: int | None = None) -> TextLine:
    return TextLine(data.removesuffix(b"\r").decode(errors="replace"), processor)


class PrintedText:
    """The prints of each processor, as lines. One DbgPrint is a piece of text, no line (docs/reference/kd.md 2.1)."""

    def __init__(self, known: Callable[[str], bool] = lambda _text: False) -> None:
        self._known = known
        self._pending: dict[int, bytearray] = {}
        self._joints: dict[int, list[int]] = {}  # where a print began in the pending text of a processor

    def feed(self, processor: int, text: bytes) -> list[TextLine]:
        pending = self._pending.setdefault(processor, bytearray())
        joints = self._joints.setdefault(processor, [])
        if pending:
            joints.append(len(pending))
        cut = _cut(pending, text)
        lines = [_line(line, processor) for line in cut]
        if cut:
            lines[:1] = self._apart(cut[0], joints, processor)
            joints.clear()
        if not pending:
            del self._pending[processor], self._joints[processor]
        elif len(self._pending) > _STREAMS_MAX:
            lines += self.flush()
        return lines

    def _apart(self, line: bytes, joints: list[int], processor: int) -> list[TextLine]:
        """One line, or two where another driver has left its own without an end.

        Prints are pieces of a line as a rule. But where the whole means nothing to anybody, and what began with one of
        its prints does, that print began a line.
        """
        whole = _line(line, processor)
        if not self._known(whole.text):
            for joint in joints[-_JOINTS_MAX:]:
                if joint < len(line) and self._known((own := _line(line[joint:], processor)).text):
                    return [_line(line[:joint], processor), own]
        return [whole]

    def flush(self) -> list[TextLine]:
        """Return the unfinished lines: nothing more will come for them."""
        self._joints.clear()
        lines = [_line(bytes(pending), processor) for processor, pending in self._pending.items()]
        self._pending.clear()
        return lines


class PlainText:
    """What comes between packets: text, or what damage left of a packet.

    Until the line is known to speak KD, all of it is text. After that, a byte that no text has makes it damage, from
    the line that it stands in to the next packet, to a silence, or to the end of the longest packet that it may be. (A
    newline in the place of a damaged leader's byte can still show as a line of up to three characters.)
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._since_binary = 0
        self.damaged = 0
        """Bytes of damage in this run, not yet told."""
        self._bad = False

    @property
    def open(self) -> bool:
        """A run of damage goes on."""
        return self._bad

    def broken(self) -> None:
        """Note that what follows is the rest of a damaged packet."""
        if not self._bad:
            self._bad = True
            self._since_binary = 0
            self.damaged += len(self._pending)
            self._pending.clear()

    def feed(self, data: bytes, strict: bool) -> list[TextLine]:
        """`strict`: the line is known to speak KD."""
        lines: list[bytes] = []
        if not self._bad:
            binary = _BINARY.search(data) if strict else None
            text = data[: binary.start()] if binary else data
            lines = _cut(self._pending, text)
            if not binary:
                return [_line(line) for line in lines]
            self.broken()
            data = data[len(text) :]
        self.damaged += len(data)
        self._since_binary = 0 if _BINARY.search(data) else self._since_binary + len(data)
        if self._since_binary > _PACKET_MAX:
            self._bad = False
        return [_line(line) for line in lines]

    def end(self) -> list[TextLine]:
        """End the run of text: a packet came, or silence."""
        lines = [_line(bytes(self._pending))] if self._pending else []
        self._pending.clear()
        self._bad = False
        return lines
