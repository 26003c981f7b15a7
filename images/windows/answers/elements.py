"""The elements of an answer file, and the file made of them: ElementTree does all quoting."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

NAMESPACE = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
PASSES = ("windowsPE", "offlineServicing", "specialize", "oobeSystem")
IDENTITY = {
    "processorArchitecture": "amd64",
    "publicKeyToken": "31bf3856ad364e35",
    "language": "neutral",
    "versionScope": "nonSxS",
}
"""What every component carries."""
_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'


def leaf(tag: str, value: str | int | bool) -> ET.Element:
    """Return an element with a value."""
    element = ET.Element(_name(tag))
    element.text = str(value).lower() if isinstance(value, bool) else str(value)
    return element


def group(tag: str, *children: ET.Element) -> ET.Element:
    """Return an element of elements."""
    element = ET.Element(_name(tag))
    element.extend(children)
    return element


def item(tag: str, *children: ET.Element, key: str | int | None = None) -> ET.Element:
    """Return an element of a list; `key` tells it from its neighbours where the list wants that."""
    element = group(tag, *children)
    element.set(f"{{{WCM}}}action", "add")
    if key is not None:
        element.set(f"{{{WCM}}}keyValue", str(key))
    return element


def numbered(tag: str, field: str, commands: Iterable[str]) -> list[ET.Element]:
    """Return the commands in the order in which they run."""
    return [item(tag, leaf("Order", order), leaf(field, command)) for order, command in enumerate(commands, 1)]


def component(name: str, *children: ET.Element) -> ET.Element:
    """Return a component of Windows with its settings."""
    element = group("component", *children)
    element.attrib.update({"name": name, **IDENTITY})
    return element


def answer_file(passes: Sequence[tuple[str, Sequence[ET.Element]]]) -> bytes:
    """Return the file: ASCII, no byte order mark, CRLF. Anything else Setup may ignore without a word."""
    root = group("unattend")
    for name, components in passes:
        settings = group("settings", *components)
        settings.set("pass", name)
        root.append(settings)
    ET.register_namespace("", NAMESPACE)
    ET.register_namespace("wcm", WCM)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=False)
    return (_DECLARATION + body + b"\n").replace(b"\n", b"\r\n")


def _name(tag: str) -> str:
    return f"{{{NAMESPACE}}}{tag}"
