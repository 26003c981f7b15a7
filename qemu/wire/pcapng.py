"""pcapng, written block by block and read again (draft-ietf-opsawg-pcapng). Pure.

Interface 0 is the target's side of the cable, interface 1 the peer's. A frame from a machine is recorded once, inbound
on the side of its sender; a frame that the wire made, or sent later or again, is recorded outbound on the side of its
receiver. A comment names the fault. A mark is an empty frame with a comment.
"""

import struct
from collections.abc import Iterator

from wsklab.qemu.wire.frames import OTHER_SIDE, SIDES, Frame, decode

KEPT = "kept "  # how the comment begins on a frame that did not reach the other machine
MARK = "mark "
NOTES = ("driver: ", "verdict: ")  # how comments begin that are no fault's, but were added later (annotate.py)

_SECTION, _INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
_ORDER = 0x1A2B3C4D
_ETHERNET_LINK = 1
COMMENT, _NAME, _RESOLUTION, FLAGS = 1, 2, 9, 2  # option codes; 2 is if_name and epb_flags
_INBOUND, _OUTBOUND = 1, 2
_MAX_BLOCK = 1 << 20


def header() -> bytes:
    """Return the section header and the two interfaces."""
    return section() + b"".join(interface(name) for name in SIDES)


def section() -> bytes:
    """Return the head of a section, which interfaces must follow."""
    return block(_SECTION, struct.pack("<IHHq", _ORDER, 1, 0, -1))


def interface(name: str, link: int = _ETHERNET_LINK) -> bytes:
    """Return an interface whose times are nanoseconds."""
    told = (option(_NAME, name.encode()) if name else b"") + option(_RESOLUTION, b"\x09") + END
    return block(_INTERFACE, struct.pack("<HHI", link, 0, 0) + told)


def packet(frame: Frame) -> bytes:
    """One frame, or a mark."""
    made = frame.sender == "wire"
    side = SIDES.index(frame.receiver if made else frame.sender)
    size = len(frame.data)
    body = struct.pack("<IIIII", side, frame.time >> 32, frame.time & 0xFFFFFFFF, size, size) + frame.data
    told = option(FLAGS, struct.pack("<I", _OUTBOUND if made else _INBOUND))
    if frame.comment:
        told += option(COMMENT, frame.comment.encode()[:4096])
    return block(PACKET, body + b"\0" * (-size % 4) + told + END)


def mark(time: int, text: str) -> Frame:
    """Return a place in the recording."""
    return Frame(time, "target", "", "mark", b"", MARK + text)


def read(data: bytes) -> list[Frame]:
    """Return the frames of a recording. Garbage is skipped, and a last block that a killed run left unfinished."""
    return [frame for kind, body in blocks(data) if kind == PACKET and (frame := _frame(body))]


def _frame(body: bytes) -> Frame | None:
    if len(body) < 20:
        return None
    side, high, low, size, _ = struct.unpack_from("<IIIII", body)
    if side >= len(SIDES) or size > len(body) - 20:
        return None
    told = list(options(body[20 + size + -size % 4 :]))
    comments = (value.decode(errors="replace") for code, value in told if code == COMMENT)
    comment = next((text for text in comments if not text.startswith(NOTES)), "")
    direction = dict(told).get(FLAGS, b"\0")[:1]
    here, time, content = SIDES[side], high << 32 | low, body[20 : 20 + size]
    if not content and comment.startswith(MARK):
        return mark(time, comment.removeprefix(MARK))
    if direction == bytes([_OUTBOUND]):
        return decode(content, time, "wire", here, comment)
    return decode(content, time, here, "" if comment.startswith(KEPT) else OTHER_SIDE[here], comment)


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each whole block."""
    at = 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if size < 12 or size % 4 or size > _MAX_BLOCK or at + size > len(data):
            return
        yield kind, data[at + 8 : at + size - 4]
        at += size


def options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the code and the value of each option, without the end."""
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4


def option(code: int, value: bytes) -> bytes:
    """One option, padded."""
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


END = option(0, b"")


def block(kind: int, body: bytes) -> bytes:
    """One block."""
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size
