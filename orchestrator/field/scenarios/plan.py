"""What a scenario made from a capture consists of, before it is written down. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsklab.orchestrator.field.endings.story import Half, History

MOST_BYTES = 16 << 20
MOST_RECEIVES = 64


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


def before_opening(plan: Plan, number: str) -> None:
    """Plan what the peer's kernel must be told before the connection is made."""
    if number == "C18":
        plan.add("peer: {sysctl: {name: net.ipv4.tcp_fin_timeout, value: 1}}", "FIN_WAIT_2 is over sooner")
    elif number == "C43":
        plan.add("peer: {sysctl: {name: net.ipv4.tcp_orphan_retries, value: 1}}", "the peer gives up sooner")


def opening(plan: Plan, story: History, number: str, by_driver: bool, lengths: Sequence[int]) -> None:
    """Plan the handshake and the receives that are pending; `lengths`: of what the peer sends."""
    why = f"frame {story.first_frame}: the handshake" if story.opened[0] else "the handshake is not in the capture"
    if by_driver:
        to = "{to: peer, accept: false}" if number == "C24" else "peer"
        plan.add(f"driver: {{connect: {to}}}", why)
    else:
        plan.add("driver: listen")
        plan.add("peer: connect", why)
        plan.add("driver: accept")
    plan.add("driver: {enable: [disconnect]}")
    if number in ("C47", "C48"):
        return
    pieces = sum(-(-length // 1400) for length in lengths)
    if pieces >= MOST_RECEIVES:
        whole = min(sum(lengths), MOST_BYTES)
        plan.add(f"driver: {{receive: {{length: {whole}, flags: [waitall]}}}}", "all that the peer sends")
        pieces = 0
    plan.add(f"driver: {{receive: {1 + pieces}}}", "pending receives: a capture does not show them")


def after_opening(plan: Plan, number: str, driver: Half, peer: Half, silent: bool) -> None:
    """Plan the options that the ending needs; `silent`: the driver's side sent nothing."""
    if number == "C14":
        plan.add("peer: {option: {linger: 0}}")
    elif number == "C44":
        plan.add(f"peer: {{option: {{keepalive: {_probes(peer)}}}}}", "keepalive probes")
    elif number == "C45":
        plan.add("peer: {option: {user-timeout-ms: 1000}}", "the peer gives up sooner")
    elif number == "C31":
        plan.add(f"driver: {{keepalive: {_probes(driver)}}}", "keepalive probes")
    elif number == "C46" and silent:
        plan.add("driver: silent", "the driver's side answers nothing")


def _probes(half: Half) -> str:
    """As many probes as were captured, a second apart."""
    return f"{{idle: 1, interval: 1, count: {max(2, min(half.keepalives, 9))}}}"
