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


def not_opened(plan: Plan, number: str, frame: int) -> None:
    """Plan a connection that was never established."""
    why = f"frame {frame}: SYN"
    if number == "C21":
        plan.add("driver: {connect: closed-port, expect: failure}", f"{why}, answered by RST")
        plan.peer = ["rst"]
    elif number == "C23":
        plan.add("wire: {icmp: {code: host, to: driver, answer: syn}}", "ICMP unreachable")
        plan.add("driver: {connect: {to: peer, accept: false}, expect: failure, within: 60}", why)
    else:
        plan.add("wire: {drop: {from: driver, segment: syn, count: every}}", f"{why}, sent again and again")
        plan.add("driver: {connect: {to: peer, accept: false, wait: false}}", why)
        plan.add("wire: {await: {from: driver, segment: syn}}")
        plan.add("driver: {close: {}, expect: success}", "not in the capture: the driver gives up")
