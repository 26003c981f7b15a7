"""What a scenario made from a capture consists of, before it is written down. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Plan:
    """The steps, each with its comment, and what must be seen."""

    steps: list[tuple[str, str]] = field(default_factory=list)
    peer: list[str] = field(default_factory=list)
    driver: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    undocumented: bool = False  # what the driver's side does is not said by any document, so that it is not judged
    faulty: bool = False  # the wire spoils what the peer sends, so that it is not judged by it

    def add(self, step: str, why: str = "") -> None:
        """Append a step."""
        self.steps.append((step, why))
