"""What a WIM or ESD file says it holds: pure, without decompressing anything.

The header is 208 bytes; at 44 the number of images (u32), at 72 the place of the XML: size in the file (56 bits) with
flags (8 bits), offset (u64), original size (u64). The XML is UTF-16LE and never compressed. Source: the WIM format as
documented by Microsoft and wimlib; windows-images.md section 6.
"""

import struct
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"MSWIM\0\0\0"
HEADER_BYTES = 208
MOST_XML = 16 << 20
"""Bytes of XML that are read at most; real media have some 50 KB."""
_COMPRESSED = 0x04
_ARCHITECTURES = {"0": "x86", "9": "x64", "12": "ARM64"}


class WimError(ValueError):
    """It is no WIM file, or a damaged one; the message completes `install.wim ...`."""


@dataclass(frozen=True)
class WimImage:
    """One installable system."""

    index: int
    name: str
    title: str
    edition: str
    installation: str
    """`Client`, `Server` or `Server Core`."""
    architecture: str
    build: int
    language: str

    @property
    def kind(self) -> str:
        """`client` or `server`."""
        return "server" if self.installation.startswith("Server") else "client"


def read_images(wim: BinaryIO) -> list[WimImage]:
    """Return the images of a WIM file, in its order. Raises WimError."""
    header = wim.read(HEADER_BYTES)
    if header[:8] != MAGIC:
        raise WimError("is not a WIM file")
    if len(header) < HEADER_BYTES:
        raise WimError("ends within its header")
    sized, offset, size = struct.unpack_from("<QQQ", header, 72)
    stored, flags = sized & (1 << 56) - 1, sized >> 56
    if flags & _COMPRESSED or stored != size:
        raise WimError("keeps its description compressed, which no Windows medium does")
    if size > MOST_XML or offset > 1 << 50:
        raise WimError("has an impossible description: it is damaged")
    wim.seek(offset)
    text = wim.read(size)
    if len(text) < size:
        raise WimError("ends before its description: the file is cut off")
    return parse_xml(text)


def parse_xml(text: bytes) -> list[WimImage]:
    """Return the images that the XML of a WIM describes. Raises WimError."""
    try:
        decoded = text.decode("utf-16")
        if "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:
            raise WimError("has a description with declarations of its own, which no Windows medium has")
        root = ET.fromstring(decoded)
    except (UnicodeDecodeError, ET.ParseError, ValueError) as error:
        raise WimError(f"has a damaged description ({error})") from None
    return [_image(element) for element in root.iter("IMAGE")]


def _image(element: ET.Element) -> WimImage:
    windows = element.find("WINDOWS")
    system = ET.Element("WINDOWS") if windows is None else windows
    name = element.findtext("NAME", "")
    return WimImage(
        index=_number(element.get("INDEX")),
        name=name,
        title=element.findtext("DISPLAYNAME") or name,
        edition=system.findtext("EDITIONID", ""),
        installation=system.findtext("INSTALLATIONTYPE", ""),
        architecture=_ARCHITECTURES.get(system.findtext("ARCH", ""), "?"),
        build=_number(system.findtext("VERSION/BUILD")),
        language=system.findtext("LANGUAGES/DEFAULT", "") or "en-US",
    )


def _number(text: str | None) -> int:
    if text and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    return 0
