"""What goes wrong, as one tree; every message is one sentence for people, which says what to do next.

    WsklabError
    ├── UsageError      the user's words, files or settings are wrong       exit code 2
    ├── TimedOut        what was awaited did not come; a TimeoutError, too  exit code 3
    ├── LabError        the lab could not do what it was asked              exit code 3
    ├── MachineError    a machine, its lines or the wire could not          exit code 3
    ├── ImageError      an image could not be made or used                  exit code 3
    └── DriverError     a driver could not be built or read                 exit code 3

Each of the last four is defined in the layer that raises it.
"""


class WsklabError(Exception):
    """Anything that goes wrong and is no mistake of wsklab's own."""


class UsageError(WsklabError):
    """The user's words, files or settings are wrong; nothing was booted."""


class TimedOut(WsklabError, TimeoutError):
    """A deadline passed; the message names what was awaited."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
