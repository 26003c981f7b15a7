"""Security catalogs (.cat): the hashes of a package's files, for Windows to check before it installs them. Pure.

A catalog is a PKCS #7 message around a list of hashes. This writes one of version 2 (SHA-256), which Windows knows
from 8 on and osslsigncode signs; the members' names and the systems they are for are told as Microsoft's tool does.
Formats: Microsoft, "Catalog Files and Digital Signatures", "Windows Authenticode Portable Executable Signature Format".
Not yet taken by Windows.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from . import der
from .errors import DriverError

LARGEST = 16 << 20
"""Bytes of a catalog."""

_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_TRUST_LIST = der.oid("1.3.6.1.4.1.311.10.1")
_CATALOG, _MEMBERS = der.oid("1.3.6.1.4.1.311.12.1.1"), der.oid("1.3.6.1.4.1.311.12.1.3")
_NAME_VALUE, _MEMBER_INFO = der.oid("1.3.6.1.4.1.311.12.2.1"), der.oid("1.3.6.1.4.1.311.12.2.3")
_INDIRECT_DATA = der.oid("1.3.6.1.4.1.311.2.1.4")
_PE_IMAGE, _FLAT_FILE = der.oid("1.3.6.1.4.1.311.2.1.15"), der.oid("1.3.6.1.4.1.311.2.1.25")
_SHA256 = der.oid("2.16.840.1.101.3.4.2.1")

_NAME_FLAGS = 0x10010001
"""Authenticated, the name as text, replacing another: what Microsoft's own tool says of each value."""

_NO_LINK = der.tagged(0xA2, der.tagged(0x80, "<<<Obsolete>>>".encode("utf-16-be")))
_PE_DATA = der.sequence(b"\x03\x02\x05\xa0", der.tagged(0xA0, _NO_LINK))
SYSTEMS = "2:10.0"
"""OSAttr: Windows NT (2), version 10.0 and later."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the package: its name and its SHA-256, of a driver the one that its signature does not change."""

    name: str
    digest: bytes
    image: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a catalog says: the hashes of its members, and whether somebody has signed it."""

    digests: frozenset[bytes]
    signed: bool

    def holds(self, content: bytes) -> bool:
        """Whether it has a hash of this file, by whichever algorithm."""
        return any(hash_of(content, name)[0] in self.digests for name in ("sha256", "sha1"))


def member(name: str, content: bytes) -> Member:
    """Return the entry of a file."""
    digest, image = hash_of(content, "sha256")
    return Member(name, digest, image)


def hash_of(content: bytes, algorithm: str) -> tuple[bytes, bool]:
    """(hash, whether it is a program's). A program is hashed without its checksum and its signatures."""
    parts = _hashed_parts(content)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for part in parts or (content,):
        digest.update(part)
    return digest.digest(), parts is not None


def _hashed_parts(content: bytes) -> tuple[bytes, ...] | None:
    """Return the parts of a program that Authenticode hashes; None for any other file."""
    if content[:2] != b"MZ" or len(content) < 0x40:
        return None
    (header,) = struct.unpack_from("<I", content, 0x3C)
    if header + 24 + 168 > len(content) or content[header : header + 4] != b"PE\0\0":
        return None
    optional = header + 24
    (magic,) = struct.unpack_from("<H", content, optional)
    directory = optional + (144 if magic == 0x20B else 128)
    start, size = struct.unpack_from("<II", content, directory)
    end = start if size and directory + 8 <= start <= len(content) else len(content)
    padding = b"" if size else b"\0" * (-end % 8)  # a signature begins at a multiple of eight
    checksum = optional + 64
    return (content[:checksum], content[checksum + 4 : directory], content[directory + 8 : end], padding)


def write(members: Sequence[Member], now: datetime) -> bytes:
    """Return an unsigned catalog, the same for the same files and time."""
    identifier = hashlib.sha256(b"".join(sorted(m.digest for m in members))).digest()[:16]
    listed = der.sequence(
        der.sequence(_CATALOG),
        der.octets(identifier),
        der.tagged(der.UTC_TIME, now.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode("ascii")),
        der.sequence(_MEMBERS, der.null()),
        der.sequence(*(_member(one) for one in sorted(members, key=lambda m: (m.digest, m.name)))),
        der.tagged(0xA0, der.sequence(_extension("OS", "_v100_X64"))),
    )
    content = der.sequence(_TRUST_LIST, der.tagged(0xA0, listed))
    signed = der.sequence(der.integer(1), der.set_of(), content, der.set_of())
    return der.sequence(_SIGNED_DATA, der.tagged(0xA0, signed))


def _member(one: Member) -> bytes:
    kind = der.sequence(_PE_IMAGE, _PE_DATA) if one.image else der.sequence(_FLAT_FILE, _NO_LINK)
    digest = der.sequence(der.sequence(_SHA256, der.null()), der.octets(one.digest))
    return der.sequence(
        der.octets(one.digest),
        der.set_of(
            der.sequence(_NAME_VALUE, der.set_of(_named("File", one.name))),
            der.sequence(_NAME_VALUE, der.set_of(_named("OSAttr", SYSTEMS))),
            der.sequence(_INDIRECT_DATA, der.set_of(der.sequence(kind, digest))),
            der.sequence(_MEMBER_INFO, der.set_of(der.tagged(0x82))),
        ),
    )


def _named(name: str, value: str) -> bytes:
    return der.sequence(der.bmp(name), der.integer(_NAME_FLAGS), der.octets((value + "\0").encode("utf-16-le")))


def _extension(name: str, value: str) -> bytes:
    return der.sequence(_NAME_VALUE, der.octets(_named(name, value)))


def read(data: bytes) -> Catalog:
    """Return what a catalog says. Raises DriverError for what is none."""
    try:
        kind, content = der.parse(data).children()[:2]
        if der.tagged(kind.tag, kind.content) != _SIGNED_DATA:
            raise ValueError("it is no signed message")
        (message,) = content.children()
        parts = message.children()
        lists = list(parts[2].find(_TRUST_LIST))
        if not lists:
            raise ValueError("it has no list of hashes")
        digests = [_digest(found) for found in lists[0].find(_INDIRECT_DATA)]
        return Catalog(frozenset(digests), parts[-1].tag == der.SET and bool(parts[-1].content))
    except (ValueError, IndexError) as error:
        raise DriverError(f"it is no security catalog ({error})") from None


def _digest(attribute: der.Node) -> bytes:
    """Return the digest of SPC_INDIRECT_DATA: {OID, SET {SEQUENCE {kind, SEQUENCE {algorithm, digest}}}}."""
    _, values = attribute.children()
    (indirect,) = values.children()
    _, info = indirect.children()
    _, digest = info.children()
    return digest.content
