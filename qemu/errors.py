"""What can go wrong with a machine or the wire; `MachineError` is the base of all (see common/errors.py)."""

from collections.abc import Sequence

from wsklab.common.errors import TimedOut, WsklabError


class MachineError(WsklabError):
    """A machine, one of its lines, or the wire did not do what it was asked."""


class LaunchError(MachineError):
    """A child process ended before it was of use."""

    def __init__(self, command: Sequence[str], exit_code: int | None, stderr_tail: str) -> None:
        self.command = list(command)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        reason = "; ".join(stderr_tail.split("\n")).strip("; ") or "it said nothing on stderr"
        hint = " (KVM is used; WSKLAB_ACCEL=tcg does without)" if "kvm" in self.command else ""
        super().__init__(f"{self.command[0]} ended at once with code {exit_code}: {reason}{hint}")


class GuestDied(MachineError):
    """The machine ended while somebody was waiting for it."""


class DeadlinePassed(MachineError, TimedOut):
    """What was awaited of a machine or the wire did not come in time; the message names it."""


class QmpError(MachineError):
    """QEMU refused a command."""


class WireError(MachineError):
    """The wire refused a command, or its process is gone."""
