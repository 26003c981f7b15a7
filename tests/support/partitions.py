"""Partition tables of disks that tests make."""

from __future__ import annotations

import struct


def gpt(*entries: tuple[bytes, int, int]) -> bytes:
    head = bytearray(34 * 512)
    head[510:512] = b"\x55\xaa"
    head[512:520] = b"EFI PART"
    for number, (kind, first, last) in enumerate(entries):
        head[1024 + 128 * number :][:16] = kind
        struct.pack_into("<16s16sQQ", head, 1024 + 128 * number, kind, b"u" * 16, first, last)
    return bytes(head)


BASIC = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7")
