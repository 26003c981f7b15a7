"""Windows' service control manager: what `sc.exe` is told and says, and what its errors mean for a driver. Pure.

The texts of `sc.exe` are translated, its numbers and the order of its fields are not: only those are read.
Codes: Microsoft, "System Error Codes"; causes: reference/windows-images.md 3.3. Not yet run on Windows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "start", "stop", "delete", "query"]

STATES = (
    "stopped",
    "stopped",
    "start_pending",
    "stop_pending",
    "running",
    "continue_pending",
    "pause_pending",
    "paused",
)
"""SERVICE_STATUS.dwCurrentState in words, the same that the agent uses."""

FILE_NOT_FOUND, ACCESS_DENIED, TIMED_OUT = 2, 5, 1460
ALREADY_RUNNING, DOES_NOT_EXIST, CANNOT_ACCEPT_CONTROL, NOT_ACTIVE = 1056, 1060, 1061, 1062
MARKED_FOR_DELETE, EXISTS = 1072, 1073
INVALID_IMAGE_HASH, DRIVER_BLOCKED = 577, 1275

_DRIVER_LOG = "read the driver's own lines before it in debug.log, and have DriverEntry print the NTSTATUS it returns"
_SIGNING = (
    "`wsklab doctor --target IMAGE` says whether test signing is in force; sign the file with `wsklab driver "
    "sign`, and look at the log Microsoft-Windows-CodeIntegrity/Operational in the guest"
)
_IMPORTS = "`wsklab driver check FILE` lists what it imports; build for the Windows version of this image"
_FRESH = "nothing but a fresh machine helps, and the lab takes one"

# code: (name, what it means for a driver, what to do next)
_MEANINGS: dict[int, tuple[str, str, str]] = {
    1: ("INVALID_FUNCTION", "DriverEntry returned STATUS_NOT_IMPLEMENTED or the like", _DRIVER_LOG),
    2: (
        "FILE_NOT_FOUND",
        "the file of the service is not there, or one that the driver itself opens",
        "compare the service's path with what was deployed",
    ),
    3: (
        "PATH_NOT_FOUND",
        "the folder of the service's file is not there",
        "compare the service's path with what was deployed",
    ),
    5: (
        "ACCESS_DENIED",
        "the caller is no administrator, a policy or virus scanner holds the file, or DriverEntry "
        "returned STATUS_ACCESS_DENIED",
        "see that the agent runs as SYSTEM, then the driver's own lines in debug.log",
    ),
    21: ("NOT_READY", "DriverEntry returned STATUS_DEVICE_NOT_READY", _DRIVER_LOG),
    22: ("BAD_COMMAND", "DriverEntry returned STATUS_INVALID_DEVICE_STATE", _DRIVER_LOG),
    31: (
        "GEN_FAILURE",
        "DriverEntry failed, most likely with STATUS_UNSUCCESSFUL (many codes end up here)",
        _DRIVER_LOG,
    ),
    32: (
        "SHARING_VIOLATION",
        "the file is in use: an older copy of the driver is still loaded",
        "unload it first, or deploy under another name",
    ),
    50: ("NOT_SUPPORTED", "DriverEntry returned STATUS_NOT_SUPPORTED", _DRIVER_LOG),
    87: (
        "INVALID_PARAMETER",
        "a word of the request is wrong (`type= kernel` needs its blank), or DriverEntry "
        "returned STATUS_INVALID_PARAMETER",
        _DRIVER_LOG,
    ),
    121: ("SEM_TIMEOUT", "DriverEntry returned STATUS_IO_TIMEOUT", _DRIVER_LOG),
    123: (
        "INVALID_NAME",
        "the name of the service or of its file has characters that Windows does not allow",
        "use letters and digits",
    ),
    126: ("MOD_NOT_FOUND", "a module that the driver imports from is missing", _IMPORTS),
    127: ("PROC_NOT_FOUND", "the driver imports a function that this Windows does not export", _IMPORTS),
    161: ("BAD_PATHNAME", "the path of the service's file is not one", "give a full Windows path on drive C"),
    182: ("INVALID_ORDINAL", "the driver imports a function by a number that this Windows does not export", _IMPORTS),
    183: (
        "ALREADY_EXISTS",
        "a name that the driver wants (its device, perhaps) is taken",
        "an earlier instance is still there: stop and delete its service",
    ),
    193: (
        "BAD_EXE_FORMAT",
        "the file is damaged, 32-bit, or no driver",
        "`wsklab driver check FILE` says which; deploy it again",
    ),
    216: ("EXE_MACHINE_TYPE_MISMATCH", "the file was built for another processor", "build it for x64"),
    225: (
        "VIRUS_INFECTED",
        "Windows Defender has taken the file away",
        r"exclude C:\wsklab from its scans, or build the image again",
    ),
    433: ("NO_SUCH_DEVICE", "DriverEntry returned STATUS_NO_SUCH_DEVICE", _DRIVER_LOG),
    577: (
        "INVALID_IMAGE_HASH",
        "Windows does not accept the driver's signature: none, a damaged one, or test signing "
        "is not in force in this boot (Secure Boot and Memory Integrity keep it off)",
        _SIGNING,
    ),
    647: ("FAILED_DRIVER_ENTRY", "DriverEntry failed", _DRIVER_LOG),
    654: (
        "DRIVER_FAILED_PRIOR_UNLOAD",
        "an earlier instance is still in memory, because references to it leaked",
        _FRESH,
    ),
    995: ("OPERATION_ABORTED", "DriverEntry returned STATUS_CANCELLED", _DRIVER_LOG),
    998: ("NOACCESS", "DriverEntry ran into a bad pointer", _DRIVER_LOG),
    1051: ("DEPENDENT_SERVICES_RUNNING", "other running services depend on this one", "stop those first"),
    1052: (
        "INVALID_SERVICE_CONTROL",
        "the driver cannot be stopped: it has no DriverUnload",
        "give it one; a driver without is only gone with its machine",
    ),
    1053: (
        "SERVICE_REQUEST_TIMEOUT",
        "the service manager got no answer in time; with a driver, the manager itself is "
        "stuck in an earlier start or stop",
        _FRESH,
    ),
    1056: (
        "SERVICE_ALREADY_RUNNING",
        "it runs already, or its image is already loaded under another service",
        "stop that one first",
    ),
    1058: (
        "SERVICE_DISABLED",
        "the service is disabled, which Windows also does to a driver that failed at boot",
        "`sc.exe config NAME start= demand`, or delete and create it",
    ),
    1060: ("SERVICE_DOES_NOT_EXIST", "there is no such service", "create it first"),
    1061: (
        "SERVICE_CANNOT_ACCEPT_CTRL",
        "a start or a stop is still going on",
        "wait; when it stays, the driver hangs in DriverEntry or DriverUnload",
    ),
    1062: (
        "SERVICE_NOT_ACTIVE",
        "it is not running: never started, or its start failed",
        "look at the start, and at WIN32_EXIT_CODE of `sc.exe query NAME`",
    ),
    1068: ("SERVICE_DEPENDENCY_FAIL", "a service that it depends on did not start", "start that one, and see why not"),
    1072: (
        "SERVICE_MARKED_FOR_DELETE",
        "it was deleted while it runs or while somebody has it open",
        "stop it, close services.msc and other `sc.exe`, or take a fresh machine",
    ),
    1073: ("SERVICE_EXISTS", "a service of this name was left behind", "stop and delete it, then create it anew"),
    1075: ("SERVICE_DEPENDENCY_DELETED", "a service that it depends on does not exist", "create that one first"),
    1077: ("SERVICE_NEVER_STARTED", "nobody has started it since the machine booted", "start it"),
    1078: ("DUPLICATE_SERVICE_NAME", "another service has this name or display name", "choose another"),
    1084: ("NOT_SAFEBOOT_SERVICE", "Windows is in safe mode", "boot normally: build the image again"),
    1168: (
        "NOT_FOUND",
        "DriverEntry returned STATUS_NOT_FOUND; for a WSK client, the provider was not ready",
        _DRIVER_LOG,
    ),
    1275: (
        "DRIVER_BLOCKED",
        "a policy blocks this driver: the vulnerable-driver list, Smart App Control, or an application control policy",
        "see event 3077 or 3023 of CodeIntegrity in the guest; build the image again if Smart App Control is on",
    ),
    1306: ("REVISION_MISMATCH", "DriverEntry returned STATUS_REVISION_MISMATCH", _DRIVER_LOG),
    1314: ("PRIVILEGE_NOT_HELD", "the caller lacks a privilege", "the agent must run as SYSTEM, with all of them"),
    1450: ("NO_SYSTEM_RESOURCES", "DriverEntry got no memory (STATUS_INSUFFICIENT_RESOURCES)", _DRIVER_LOG),
    1455: ("COMMITMENT_LIMIT", "the guest has no memory left", "give the machine's profile more `memory_mib`"),
    1460: ("TIMEOUT", "it did not return in time: the driver hangs in DriverEntry or DriverUnload", _DRIVER_LOG),
    2001: ("BAD_DRIVER", "the file is no driver that Windows takes", "`wsklab driver check FILE` says more"),
}

_OTHERWISE: dict[tuple[Action, int], tuple[str, str]] = {
    ("delete", 5): ("the caller may not delete it", "the agent must run as SYSTEM"),
    ("stop", 1061): ("a start or a stop is still going on", "DriverUnload does not return: see where the driver waits"),
    ("stop", 1460): ("DriverUnload does not return", "see which socket or IRP the driver still waits for"),
    ("start", 1460): ("DriverEntry does not return", "see what the driver waits for there"),
}
"""Where a code means something else for one action."""


def explain(code: int, action: Action, said: str = "") -> str:
    """One sentence for a failed action: the code, its name, what it means, what to do next.

    `said` are the system's own words, for a code that is not known here.
    """
    if code not in _MEANINGS:
        words = f" ({said})" if said else ""
        return f"Win32 error {code}{words}, unknown here; `net helpmsg {code}` in the guest says what Windows calls it"
    name, meaning, do = _MEANINGS[code]
    meaning, do = _OTHERWISE.get((action, code), (meaning, do))
    return f"Win32 error {code} ERROR_{name}: {meaning}; {do}"


def command(action: Action, name: str, path: str = "") -> str:
    """Return the command line, for cmd.exe as for PowerShell, in which `sc` alone is something else."""
    words = f" type= kernel start= demand error= normal binPath= {path}" if action == "create" else ""
    return f"sc.exe {action} {name}{words}"


def create(
    name: str,
    path: str,
    start: str,
    depends: Sequence[str] = (),
    *,
    group: str = "",
    kind: str = "kernel",
    error: str = "normal",
) -> str:
    """Return the command line that makes a driver's service with everything that an INF file can say of it."""
    words = f"sc.exe create {name} type= {kind} start= {start} error= {error} binPath= {_quoted(path)}"
    if group:
        words += f" group= {_quoted(group)}"
    if depends:
        words += f" depend= {_quoted('/'.join(depends))}"
    return words


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def binary_path(output: str, file: str) -> str | None:
    """Where a service's file is, from what `sc.exe qc` says: the value that ends with `file`, as a path on drive C."""
    for line in output.replace("\r", "").splitlines():
        value = line.partition(":")[2].strip().strip('"')
        if value.lower().endswith("\\" + file.lower()):
            path = value.removeprefix("\\??\\")
            if path.lower().startswith("\\systemroot\\"):
                return "C:\\Windows" + path[len("\\systemroot") :]
            return path if path[1:2] == ":" else "C:\\Windows\\" + path
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What `sc.exe` came to: a Win32 error (0: none), and the state of the service where it tells one."""

    code: int
    state: str = ""
    win32_exit: int = 0


_FAILED = re.compile(r"^\[SC\] [^\n\d]* (\d{1,5})\s*:", re.MULTILINE)
_NUMBER = re.compile(r"[ \t]*(\d{1,9})\b")


def read(output: str, status: int) -> Answer:
    """Return the output and the exit status, which OpenSSH's own client cuts to eight bits: the text is asked first."""
    text = output.replace("\r", "")
    if failed := _FAILED.search(text):
        return Answer(int(failed[1]))
    if status:
        return Answer(status)
    kind, state, win32_exit = (*_numbers(_fields(text))[:3], 0, 0, 0)[:3]
    return Answer(0, STATES[state] if kind and state < len(STATES) else "", win32_exit)


def _numbers(text: str) -> list[int]:
    """Return the numbers behind a name and a colon, line by line: the text is the target's, and may be long and odd."""
    pairs = (line.partition(":") for line in text.splitlines())
    found = (_NUMBER.match(value) for name, colon, value in pairs if name.strip() and colon)
    return [int(match[1]) for match in found if match]


def _fields(text: str) -> str:
    """Return what follows the line with the service's name, which may itself be a number."""
    return text.strip().partition("\n")[2]
