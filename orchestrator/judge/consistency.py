"""The driver's word against itself and against the wire: answers, calls, completions and ports that belong together.

What the lab's own driver answers to a command, what it prints of the call, and how the call's IRP completes are told at
three places of it. A driver whose accounts differ has not done what it says, or says what it has not done. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from wsklab.drivers import protocol
from wsklab.orchestrator.judge.integrity import Statement, function
from wsklab.orchestrator.judge.reading import FEW, PENDING, Facts, succeeded
from wsklab.orchestrator.judge.wording import conn_of, status_words
from wsklab.orchestrator.observe.driver_lines import (
    AcceptEvent,
    Addresses,
    Call,
    CommandRefused,
    Completion,
    DisconnectEvent,
    Load,
    OtherLine,
    OwnLine,
    ReceiveEvent,
    as_hex,
)
from wsklab.orchestrator.observe.lab_notes import Answer, Answered, MalformedSent
from wsklab.qemu.network import MACHINES

HEX_ADDRESSES = {
    who: {ipaddress.ip_address(address).packed.hex() for address in host.addresses.values()}
    for who, host in MACHINES.items()
}
"""The addresses of the two machines on the wire, as the driver prints them."""

AWAITED = frozenset({"socket", "bind"})
"""Calls whose IRP the driver waits for before it answers: it answers with the IRP's status."""

PARTS = {"open": ("socket", "bind", "local", "connect", "enable")}
"""Commands that make several calls, whose lines name these."""

CANCELLED, NOT_FOUND = 0xC0000120, 0xC0000225

UNNAMED = "unknown"
"""What the driver calls an operation that it has no name for."""

BRIEFLY = frozenset({"socket", "bind", "local"})
"""Calls of an open that are not told where many are opened at once, and succeed."""

ALONE = frozenset({"send", "receive", "disconnect", "close", "control", "disable", "addresses"})
"""Functions that never share an operation with another one; an open's parts, and what follows it, do."""

MADE = frozenset({"connect", "socket_connect", "accept"})
"""Operations whose completion tells the ports of a connection."""

TICKS = 10**7
"""Of the driver's clock in a second."""

STRAYS = 60.0
"""Seconds by which the driver's clock may differ: a line may be on its way for long, or a machine stand still."""


def accounts(facts: Facts) -> Iterator[Statement]:
    """Whether what the driver answers, prints and reports of one operation is the same."""
    calls = {(call.op, call.id): call for call in facts.everywhere(Call)}
    told = {key: call.ret for key, call in calls.items()}
    returns = dict(told)
    ended = {(done.op, done.id): done.status for done in facts.everywhere(Completion)}
    told |= {key: status for key, status in ended.items() if key[0] in AWAITED}
    told |= {("addresses", line.id): line.lst for line in facts.everywhere(Addresses) if line.lst is not None}
    told |= {(refused.op, refused.id): refused.status for refused in facts.refusals.values()}
    for answered in facts.of(Answered):
        for answer in answered.answers:
            parts = [(op, answer.id) for op in PARTS.get(answer.op, ())]
            heard = (answer.op, answer.id) in told
            heard |= any(answer.status in (told.get(part), ended.get(part)) for part in parts)
            if not (succeeded(answer.status) or heard or facts.scenario.connections > FEW):
                yield (
                    "fail",
                    f"the driver answers {_words(answer)} with {status_words(answer.status)}, and no line says so",
                )
            yield from _answer(answer, told.get((answer.op, answer.id + answer.count - 1)))
            yield from _arguments(answer, calls)
    for done in facts.of(Completion):
        returned = returns.get((done.op, done.id), PENDING)
        if returned not in (PENDING, done.status):
            yield (
                "fail",
                f"the driver says that {function(done.op)} returned {status_words(returned)}, and that its IRP "
                f"(operation {done.id}) completed with {status_words(done.status)}",
            )


def addresses(facts: Facts) -> Iterator[Statement]:
    """Whether a socket's addresses are its machine's and the peer's, and told with the statuses of their questions.

    Its ports are those of its connection on the wire.
    """
    ended = {(done.op, done.id): done.status for done in facts.everywhere(Completion)}
    for line in facts.everywhere(Addresses):
        for op, who, said, text in (
            ("local", "target", line.lst, line.local),
            ("remote", "peer", line.rst, line.remote),
        ):
            if None not in (said, was := ended.get((op, line.id), said)) and said != was:
                yield (
                    "fail",
                    f"the driver tells the {op} address of its socket with {status_words(said)}, and that the IRP of "
                    f"the question (operation {line.id}) completed with {status_words(was)}",
                )
            elif text is not None and (line.lst, line.rst) == (0, 0) and as_hex(text) not in HEX_ADDRESSES[who]:
                yield (
                    "fail",
                    f"the driver tells {as_hex(text)} as the {op} address of its socket, no address of the {who}",
                )
        ports = facts.ports(line.conn) if line.conn is not None and (line.lst, line.rst) == (0, 0) else None
        for op, told, port in (
            ("local", line.lport, ports and ports.target_port),
            ("remote", line.rport, ports and ports.peer_port),
        ):
            if port and told != port:
                yield "fail", f"the driver tells {told} as the {op} port of its socket, whose connection has {port}"


def accepts(facts: Facts) -> Iterator[Statement]:
    """Whether WskAcceptEvent is told to have taken a connection exactly when it tells which."""
    for told in facts.everywhere(AcceptEvent):
        if told.took is not None and bool(told.took) != bool(told.new):
            yield (
                "fail",
                f"the driver tells that WskAcceptEvent took {'a' if told.took else 'no'} connection, "
                f"and {'number ' + str(told.new) if told.new else 'none'} as the new one",
            )


def depths(facts: Facts) -> Iterator[Statement]:
    """Whether the driver's lines of callbacks count the callback that they are of."""
    calls: list[ReceiveEvent | DisconnectEvent] = [
        *facts.everywhere(ReceiveEvent),
        *facts.everywhere(DisconnectEvent),
    ]
    for told in calls:
        if told.depth is not None and told.depth < 1:
            yield "fail", f"the driver's line of a callback ({told.kind}) counts {told.depth} of that kind as running"
            return


def takes(facts: Facts) -> Iterator[Statement]:
    """Whether WskReceiveEvent is told to have taken no more than was indicated, and nothing without a list (R51)."""
    for told in facts.everywhere(ReceiveEvent):
        if told.took > (0 if told.null else told.length):
            yield (
                "fail",
                f"the driver tells that WskReceiveEvent took {told.took} bytes of "
                f"{'a list that is NULL' if told.null else told.length}",
            )


def malformed(facts: Facts) -> Iterator[Statement]:
    """Whether the driver has answered malformed requests as its protocol has it, and carried none out."""
    for sent in facts.of(MalformedSent):
        if sent.answered != sent.wanted:
            yield "fail", f"the driver answers {sent.what} with {sent.answered}, and must with {sent.wanted}"
        elif sent.printed != sent.wanted_lines:
            yield (
                "fail",
                f"at {sent.what} the driver's lines refuse {sent.printed} (command, operation, status, connection), "
                f"and must refuse {sent.wanted_lines}",
            )


def refusals(facts: Facts) -> Iterator[Statement]:
    """Whether what the driver refuses was asked for; what malformed requests ask for is nobody's operation."""
    if facts.everywhere(MalformedSent):
        return
    answers = [answer for answered in facts.everywhere(Answered) for answer in answered.answers]
    asked = {number for answer in answers for number in _operations(answer)}
    for refused in facts.everywhere(CommandRefused):
        if asked and (refused.id not in asked or refused.op == UNNAMED):
            yield "fail", f"the driver refuses operation {refused.id} ({refused.op}), which nobody has asked for"
            return


def cancels(facts: Facts) -> Iterator[Statement]:
    """Whether the driver has found what it was to cancel, where that ended as cancelled and nothing else ended it."""
    ended = {done.id: done for done in facts.everywhere(Completion) if done.status == CANCELLED}
    calls = facts.everywhere(Call)
    for cancel in calls:
        if cancel.op != "cancel" or cancel.ret != NOT_FOUND or (done := ended.get(cancel.target or 0)) is None:
            continue
        if done.conn not in {o.conn for o in calls if o.op in ("close", "disconnect") and o.seq < cancel.seq}:
            yield (
                "fail",
                f"the driver says that there is no operation {done.id} to cancel (operation {cancel.id}), and that was "
                "cancelled",
            )


def alone(facts: Facts) -> Iterator[Statement]:
    """Whether an operation is one call: a callback that is to send must not disconnect as well."""
    first: dict[int, str] = {}
    for call in facts.everywhere(Call):
        if call.id and call.op in ALONE and first.setdefault(call.id, call.op) != call.op:
            yield (
                "fail",
                f"the driver calls {function(first[call.id])} and {function(call.op)} for one operation ({call.id})",
            )
            return


def lines(facts: Facts) -> Iterator[Statement]:
    """Whether each line has a word of the protocol, and none is of what was not to be told.

    With many connections the success of an open is told by its result alone.
    """
    for line in facts.everywhere(OtherLine):
        yield "fail", f"the driver prints a line that the protocol does not have: {line.text}"
        return
    briefly = {op for step in facts.steps() if step.actor == "driver" and len(step.ops) > FEW for op in step.ops}
    for done in facts.everywhere(Completion):
        if done.id in briefly and done.op in BRIEFLY and succeeded(done.status):
            yield "fail", f"the driver tells of {done.op} (operation {done.id}), whose success was not to be told"
            return


def clock(facts: Facts) -> Iterator[Statement]:
    """Whether the times in the driver's lines pass as the host's do, or more slowly: its machine may have stood still.

    They are counted from the start of the machine, which may have been started anew before a load.
    """
    before: tuple[float, float] | None = None
    for line in facts.everywhere(OwnLine):
        record = protocol.parse_line(line.text)
        if record is None:
            continue
        now = record.t / TICKS, line.t / 1e9
        if before is not None and not isinstance(line, Load):
            passed, really = now[0] - before[0], now[1] - before[1]
            if not -STRAYS <= passed <= really + STRAYS:
                yield (
                    "fail",
                    f"the driver's line {line.seq} is {passed:.0f} s after the one before it by the driver's clock, "
                    f"and came {really:.1f} s after it",
                )
                return
        before = now


def _operations(answer: Answer) -> range:
    """Return all operations that may come of a command."""
    last = answer.id + max(1, answer.count) - 1 if answer.last is None else answer.last
    return range(answer.id, last + 1)


def _answer(answer: Answer, told: int | None) -> Iterator[Statement]:
    """One answer, beside the status on the line of its last operation."""
    if told is not None and told != answer.status:
        yield (
            "fail",
            f"the driver answers {_words(answer)} with {status_words(answer.status)}, its own line says "
            f"{status_words(told)}",
        )


def _arguments(answer: Answer, calls: Mapping[tuple[str, int], Call]) -> Iterator[Statement]:
    """Whether the calls that one command made are told with what it asked for.

    Each of several sends goes on with the pattern where the one before it ended.
    """
    for nth in range(answer.count):
        call = calls.get((answer.op, answer.id + nth))
        if call is None:
            return
        goes_on = None if answer.seed is None or answer.length is None else answer.seed + nth * answer.length
        for what, said, asked in (
            ("flags", call.flags, answer.flags),
            ("a length of", call.length, answer.length),
            ("the pattern from", call.seed, goes_on),
            ("the target", call.target, answer.target),
            ("the mask", call.mask, answer.mask),
        ):
            if None not in (said, asked) and said != asked:
                yield (
                    "fail",
                    f"the driver tells of {function(answer.op)} (operation {answer.id + nth}) with {what} {said}, "
                    f"the command was for {asked}",
                )
                return


def _words(answer: Answer) -> str:
    """Return a command, as a sentence names it."""
    return f"the command {answer.op} (operation {answer.id})"


def ports(facts: Facts) -> Iterator[Statement]:
    """Whether the ports that the driver tells of a connection are those of one on the wire.

    Its own port is 0 where it has not asked for the address of its socket.
    """
    if facts.scenario.connections > FEW:
        return
    seen = {(frame.sport, frame.dport) for frame in facts.frames if frame.sender == "target"}
    seen |= {(frame.dport, frame.sport) for frame in facts.frames if frame.sender == "peer"}
    for conn in facts.connections:
        completions = facts.of(Completion, conn)
        asked = False
        for done in completions:
            asked = asked or (done.op == "local" and succeeded(done.status))
            if done.op not in MADE or not succeeded(done.status):
                continue
            fits = any(done.rport == peer and (done.lport == own or not (done.lport or asked)) for own, peer in seen)
            if seen and not fits:
                yield (
                    "fail",
                    f"{conn_of(facts, conn)}the driver tells of a connection between its port {done.lport} and port "
                    f"{done.rport}, the wire shows no such",
                )
