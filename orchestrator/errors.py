"""What goes wrong in a lab; the tree that these belong to is that of common/errors.py."""

from wsklab.common.errors import TimedOut, UsageError, WsklabError

__all__ = ["LabError", "StepError", "TimedOut", "UsageError", "WsklabError"]

# Exit codes of the command line (a contract: scripts rely on them).
ALL_PASS, SOME_FAIL, WRONG_USAGE, NOT_PROVEN, INTERRUPTED = 0, 1, 2, 3, 130


class LabError(WsklabError):
    """The lab could not do what it was asked; the command ends with exit code 3."""


class StepError(LabError):
    """A step of a scenario could not be carried out; the scenario is judged on what was observed."""
