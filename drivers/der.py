"""DER, as much of it as security catalogs need: what is written, and a bounded reader. Pure. Format: ITU-T X.690."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTEGER, OCTETS, NULL, OID, UTC_TIME, BMP = 0x02, 0x04, 0x05, 0x06, 0x17, 0x1E
SEQUENCE, SET = 0x30, 0x31
DEEPEST = 32
"""Levels that `Node.find` goes down."""


def tagged(tag: int, *contents: bytes) -> bytes:
    """One element."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def sequence(*contents: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tagged(SEQUENCE, *contents)


def set_of(*contents: bytes) -> bytes:
    """Return a SET OF, in the order that DER asks for."""
    return tagged(SET, *sorted(contents))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return tagged(OID, *map(_base128, (40 * first + second, *rest)))


def _base128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def integer(number: int) -> bytes:
    """Return an INTEGER that is not negative."""
    return tagged(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def octets(content: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tagged(OCTETS, content)


def null() -> bytes:
    """NULL."""
    return tagged(NULL)


def bmp(text: str) -> bytes:
    """Return a BMPString."""
    return tagged(BMP, text.encode("utf-16-be"))


@dataclass(frozen=True, slots=True)
class Node:
    """One element of a file."""

    tag: int
    content: bytes

    def children(self) -> list[Node]:
        """Return what is in it. Raises ValueError."""
        return list(_elements(self.content))

    def find(self, wanted: bytes, depth: int = DEEPEST) -> Iterator[Node]:
        """Every element that holds the OID `wanted` as a direct child. Raises ValueError."""
        if not self.tag & 0x20 or not depth or wanted not in self.content:
            return
        inside = self.children()
        if any(tagged(child.tag, child.content) == wanted for child in inside):
            yield self
        for child in inside:
            yield from child.find(wanted, depth - 1)


def parse(data: bytes) -> Node:
    """Return the element that a file is; what follows it is padding. Raises ValueError."""
    for element in _elements(data):
        return element
    raise ValueError("it is empty")


def _elements(data: bytes) -> Iterator[Node]:
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("an element is cut short")
        tag, length, at = data[at], data[at + 1], at + 2
        if length == 0x80 or tag & 0x1F == 0x1F:
            raise ValueError("it is not DER")
        if length > 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("an element is cut short")
        yield Node(tag, data[at : at + length])
        at += length
