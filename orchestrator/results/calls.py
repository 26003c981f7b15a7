"""The driver's lines as people say them: `WskReceive: STATUS_CONNECTION_RESET`. Pure."""

from __future__ import annotations

from wsklab.orchestrator.judge.integrity import function
from wsklab.orchestrator.observe.driver_lines import (
    AcceptEvent,
    Call,
    Completion,
    DisconnectTold,
    DriverLine,
    LateCallback,
    ProviderLine,
    ReceiveEvent,
    SendBacklogEvent,
)

STATUSES = {
    0x00000000: "STATUS_SUCCESS",
    0x00000103: "STATUS_PENDING",
    0xC000000D: "STATUS_INVALID_PARAMETER",
    0xC00000B5: "STATUS_IO_TIMEOUT",
    0xC0000120: "STATUS_CANCELLED",
    0xC0000184: "STATUS_INVALID_DEVICE_STATE",
    0xC000020C: "STATUS_CONNECTION_DISCONNECTED",
    0xC000020D: "STATUS_CONNECTION_RESET",
    0xC0000236: "STATUS_CONNECTION_REFUSED",
    0xC0000237: "STATUS_GRACEFUL_DISCONNECT",
    0xC000023C: "STATUS_NETWORK_UNREACHABLE",
    0xC000023D: "STATUS_HOST_UNREACHABLE",
    0xC0000240: "STATUS_REQUEST_ABORTED",
    0xC0000241: "STATUS_CONNECTION_ABORTED",
}


def status(code: int) -> str:
    """Return an NTSTATUS by name where it is one that ends connections, else its number."""
    return STATUSES.get(code, f"{code:08x}")


def flags(call: DisconnectTold) -> str:
    """Return what WskDisconnectEvent told, as far as the driver passes it on."""
    if call.flags is not None:
        return f"flags {call.flags:#x}"
    return {True: "the driver's word: abortive", False: "the driver's word: graceful", None: "flags not told"}[
        call.abortive
    ]


def words(line: DriverLine) -> str:
    """Return what a line tells, in the words of WSK where it is about a call or a callback."""
    match line:
        case Call():
            size = f" {line.length} B" if line.length else ""
            return f"{function(line.op)}{size} → {status(line.ret)}"
        case Completion():
            size = f", {line.length} B" if line.length else ""
            return f"{function(line.op)} completed: {status(line.status)}{size}"
        case DisconnectTold():
            return f"WskDisconnectEvent, {flags(line)}"
        case ReceiveEvent():
            return f"WskReceiveEvent, {line.length} B, took {line.took}"
        case AcceptEvent():
            return f"WskAcceptEvent from port {line.rport}"
        case SendBacklogEvent():
            return f"WskSendBacklogEvent, {line.size} B"
        case LateCallback():
            return f"{line.cb} after the close had completed"
        case ProviderLine():
            return f"{line.kind} {line.rule}: {line.text}"
    text = line.text or line.kind
    return text.partition(" conn=")[2].partition(" ")[2] or text


def is_callback(line: DriverLine) -> bool:
    """Whether WSK called the driver, rather than the driver WSK."""
    return isinstance(line, (DisconnectTold, ReceiveEvent, AcceptEvent, SendBacklogEvent, LateCallback))
