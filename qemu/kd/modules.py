"""Which modules the kernel has loaded, as KD tells it, and where in them an address lies. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

KERNEL = re.compile(r"(?:^nt(?:oskrnl|krnl\w*|krpamp)|^hal)(?:\.|$)", re.IGNORECASE)
"""Names of the kernel itself and of its hardware layer: every stack leads through them."""


@dataclass(frozen=True, slots=True)
class Module:
    """A driver, or the kernel."""

    name: str
    base: int
    size: int


class Modules:
    """Load and unload reports in, names out."""

    def __init__(self) -> None:
        self._by_base: dict[int, Module] = {}

    def loaded(self, path: str, base: int, size: int) -> None:
        self._by_base[base] = Module(re.split(r"[\\/]", path)[-1], base, size)

    def unloaded(self, base: int) -> None:
        self._by_base.pop(base, None)

    def find(self, address: int) -> Module | None:
        """Return the module that `address` lies in."""
        return next((one for one in self._by_base.values() if one.base <= address < one.base + one.size), None)

    def name(self, address: int) -> str:
        """`wsklab.sys+0x1234`; the number alone for an address in no module that is known."""
        module = self.find(address)
        return f"{module.name}+{address - module.base:#x}" if module else f"{address:#x}"

    def drivers_of(self, words: tuple[int, ...], most: int = 4) -> tuple[str, ...]:
        """Return the first places in drivers among the words of a stack: candidates for who has called, no more."""
        found: dict[str, None] = {}
        for word in words:
            module = self.find(word)
            if module and not KERNEL.search(module.name):
                found.setdefault(self.name(word))
        return tuple(found)[:most]
