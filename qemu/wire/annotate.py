"""A recording with what others know of its frames: further comments, and names for addresses. Pure.

Frames and their numbers stay as they are. Wireshark shows all comments of a frame, and the names where it resolves
network addresses (draft-ietf-opsawg-pcapng, sections 4.5 and 3.5).
"""

import socket
import struct
from collections.abc import Mapping, Sequence

from wsklab.qemu.wire import pcapng

_RESOLUTION_BLOCK, _IPV4_RECORD, _IPV6_RECORD = 4, 1, 2
_LONGEST = 4096


def annotated(data: bytes, comments: Mapping[int, Sequence[str]], names: Mapping[str, str]) -> bytes:
    """Return the recording with `comments` by the number of their frame (from 1), and with `names` by address.

    What is behind the last whole block is left out, as a killed run leaves it.
    """
    blocks, number, named = [], 0, not names
    for kind, body in pcapng.blocks(data):
        if kind == pcapng.PACKET:
            if not named:
                blocks.append(_names(names))
                named = True
            number += 1
            if told := comments.get(number):
                body = _with(body, told)
        blocks.append(pcapng.block(kind, body))
    return b"".join(blocks)


def _with(body: bytes, told: Sequence[str]) -> bytes:
    """Return the packet with further comments behind its own options."""
    size = struct.unpack_from("<I", body, 12)[0]
    end = 20 + size + -size % 4
    kept = b"".join(pcapng.option(code, value) for code, value in pcapng.options(body[end:]))
    added = b"".join(pcapng.option(pcapng.COMMENT, text.encode()[:_LONGEST]) for text in told)
    return body[:end] + kept + added + pcapng.END


def _names(names: Mapping[str, str]) -> bytes:
    """Return the Name Resolution Block."""
    records = b""
    for address, name in names.items():
        six = ":" in address
        packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
        value = packed + name.encode() + b"\0"
        kind = _IPV6_RECORD if six else _IPV4_RECORD
        records += struct.pack("<HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)
    return pcapng.block(_RESOLUTION_BLOCK, records + struct.pack("<HH", 0, 0))
