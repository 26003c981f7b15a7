"""What a driver's file tells of itself without being run: its devices, and words that may name its settings. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WIDE = re.compile(rb"(?:[ -~]\x00){3,120}")
_DEVICE = re.compile(r"\\(?:DosDevices|\?\?|GLOBAL\?\?)\\([A-Za-z0-9._-]{1,64})")
_SETTING = re.compile(r"[A-Z][A-Za-z0-9]{2,31}")
_NOT_SETTINGS = frozenset({"Parameters", "Device", "DosDevices"})


@dataclass(frozen=True)
class Told:
    """`device` is empty when there is none; `settings` are names that look like values of its Parameters key."""

    device: str
    settings: tuple[str, ...]


def read(data: bytes) -> Told:
    """Look through the wide strings of a driver's file."""
    texts = list(dict.fromkeys(match.group().decode("utf-16-le") for match in _WIDE.finditer(data)))
    devices = [found.group(1) for text in texts if (found := _DEVICE.search(text))]
    settings = [text for text in texts if _SETTING.fullmatch(text) and text not in _NOT_SETTINGS]
    return Told(rf"\\.\{devices[0]}" if devices else "", tuple(settings[:20]))
