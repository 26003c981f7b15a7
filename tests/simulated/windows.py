"""What the agent and `sc.exe` would meet in Windows: files, services, programs. `Faults` is what is wrong there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pycdlib

from simulated.driver import OPEN, Driver

OLD = b"MZ of another time"
"""An agent that knows no checksums yet."""

ATTESTED = bytes.fromhex("060b2b060104018237 0a03 0501")
"""In the certificate of a signature that is taken without test signing, too: 1.3.6.1.4.1.311.10.3.5.1."""


def put_data(data: bytes) -> str:
    """Return bytes as drivers/agent/reply.h has them, without the shorter way to write zeros, which nobody must use."""
    plain = set(range(0x20, 0x7E)) - set(b'"\\%')
    return "".join(chr(byte) if byte in plain else f"%{byte:02x}" for byte in data)


def get_data(text: str) -> bytes:
    """Return the same, read: `%` and two digits are a byte, `~` and two digits so many zeros."""
    found = re.findall(r"%(..)|~(..)|(.)", text, re.DOTALL)
    return b"".join(
        bytes([int(byte, 16)]) if byte else bytes(int(zeros, 16)) if zeros else one.encode()
        for byte, zeros, one in found
    )


@dataclass
class Faults:
    """What a test has chosen to be wrong."""

    hello: bool = True
    debugger: bool = True
    code_integrity: int = 0x3
    errors: dict[str, int] = field(default_factory=dict)
    """Win32 errors by action of the service manager, for a driver."""
    lost: list[int] = field(default_factory=list)
    """Which lines of the agent's port (counted from 1) come with a piece missing, as when its buffer ran over."""
    savevm: str = ""
    """What QEMU says when a snapshot is wanted."""
    skew: int = 0
    """The disconnect flags are wrong by this."""
    bugcheck: list[int] = field(default_factory=list)
    """Code and four parameters of the stop that opening a connection ends in."""
    pnputil: int = 0
    """The exit status of `pnputil`."""
    no_section: bool = False
    """Windows takes no section of an INF that adds a service."""
    secure_boot: str = "confirmed False\r\nstate 0\r\n"
    """What PowerShell prints about it."""
    no_low_resources: bool = False
    """Driver Verifier takes everything but that."""
    keeps_old: bool = False
    """An upgrade leaves the file of the older version in place."""
    prompt: str = ""
    """What Driver Verifier says when a connection is opened, before it asks its debugger what to do."""


class Frames:
    """The lines of the agent's port, as drivers/agent/frame.h says."""

    def __init__(self, lost: list[int]) -> None:
        self._lost = lost
        self._count = 0
        self._pieces = b""
        self._last: tuple[bytes, bytes] = b"", b""
        self._checks = False

    def take(self, line: bytes, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> bytes:
        """Return what is said to a line: b"" for nothing. `answer` does a request that is whole and new."""
        line = line.rstrip(b"\n")
        if not line:
            return b""
        self._count += 1
        if self._count in self._lost:
            line = line[: len(line) // 2] + line[len(line) // 2 + 3 :]
        if found := re.fullmatch(rb"\+(\d+) (.*)", line):
            self._pieces = (self._pieces if int(found[1]) else b"") + found[2]
            return b'{"more":%d}\n' % len(self._pieces)
        if found := re.fullmatch(rb"#([0-9a-f]{8}) (.*)", line):
            whole, self._pieces = self._pieces + found[2], b""
            if zlib.crc32(whole) == int(found[1], 16):
                if whole != self._last[0]:
                    self._checks, said = True, answer(json.loads(whole))
                    self._last = whole, b"" if said is None else json.dumps(said).encode() + b"\n"
                return self._last[1]
        self._pieces = b""
        if line.startswith(b"{") and not self._checks:
            return json.dumps(answer(json.loads(line))).encode() + b"\n"
        return b'{"damaged":1}\n'


@dataclass
class Windows:
    """One booted system; `state` is what a snapshot keeps."""

    load: Callable[[], Driver]
    restart: Callable[[], None]
    renew: Callable[[], None]
    faults: Faults
    disc: Path | None = None
    driver: Driver | None = None
    crashed: bool = False
    asks: bool = False
    state: dict[str, Any] = field(
        default_factory=lambda: {
            "files": {},
            "services": {"sshd": {"path": "", "state": "stopped"}},
            "verified": "",
            "clock_ms": 0,
        }
    )

    # --- the service manager

    def service(self, action: str, name: str, path: str = "") -> tuple[int, str]:
        """(Win32 error, state)."""
        services = self.state["services"]
        if name != "sshd" and (error := self.faults.errors.get(action)):
            return error, ""
        if action == "create":
            if name in services:
                return 1073, ""
            services[name] = {"path": path, "state": "stopped"}
            return 0, ""
        if name not in services:
            return 1060, ""
        one = services[name]
        if action == "start":
            if one["state"] == "running":
                return 1056, ""
            if name != "sshd" and (wrong := self._start(one["path"])):
                return wrong, ""
            one["state"] = "running"
        elif action == "stop":
            if one["state"] != "running":
                return 1062, ""
            if self.driver:
                self.driver.unload()
            self.driver, one["state"] = None, "stopped"
        elif action == "delete":
            del services[name]
        return 0, one["state"]

    def _start(self, path: str) -> int:
        """As strict as Windows: a file that is there, is a driver, and carries a signature that is taken."""
        content = self.state["files"].get(path.lower().replace("\\systemroot\\", "c:\\windows\\"))
        if content is None:
            return 2
        data = base64.b64decode(content)
        pe = int.from_bytes(data[0x3C:0x40], "little")
        signature = int.from_bytes(data[pe + 24 + 112 + 4 * 8 + 4 : pe + 24 + 112 + 4 * 8 + 8], "little")
        if not signature or not (self.faults.code_integrity & 2 or ATTESTED in data):
            return 577
        self.driver = self.load()
        return 0

    def sc(self, command: str) -> tuple[int, str]:
        """`sc.exe` as its documentation shows it, in English."""
        words = command.split()
        action, name = words[1], words[2]
        if action == "qc":
            return 0, f"[SC] QueryServiceConfig SUCCESS\r\n  BINARY_PATH_NAME   : {self._services[name]['path']}\r\n"
        code, state = self.service(action, name, words[words.index("binPath=") + 1] if action == "create" else "")
        call = {
            "create": "CreateService",
            "start": "StartService",
            "stop": "ControlService",
            "query": "EnumQueryServicesStatus:OpenService",
            "delete": "OpenService",
        }[action]
        if code:
            return code, f"[SC] {call} FAILED {code}:\r\n\r\nSome words, in any language.\r\n\r\n"
        if action in ("create", "delete"):
            return 0, f"[SC] {call} SUCCESS\r\n"
        number = {"stopped": 1, "running": 4}[state]
        return 0, (
            f"\r\nSERVICE_NAME: {name} \r\n        TYPE               : 1  KERNEL_DRIVER  \r\n"
            f"        STATE              : {number}  {state.upper()} \r\n"
            "                                (STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)\r\n"
            "        WIN32_EXIT_CODE    : 0  (0x0)\r\n        SERVICE_EXIT_CODE  : 0  (0x0)\r\n"
            "        CHECKPOINT         : 0x0\r\n        WAIT_HINT          : 0x0\r\n"
        )

    # --- programs

    def program(self, command: str) -> tuple[int, str]:
        """(exit status, output)."""
        if command.startswith("sc.exe "):
            return self.sc(command)
        if command.startswith("powershell.exe "):
            script = base64.b64decode(command.split()[-1]).decode("utf-16-le")
            if "setupact.log" in script:
                return 0, "2026-01-01 00:00:00, Info  Made up\r\n"
            if "Win32_DeviceGuard" in script:
                return 0, "2\r\n3\r\n" if self.faults.code_integrity & 0x400 else "0\r\n"
            if "Confirm-SecureBootUEFI" in script:
                return 0, self.faults.secure_boot
            if script.startswith("$ErrorActionPreference"):
                self.state.setdefault("scripts", []).append(script)
                return 0, ""
            assert "NtQuerySystemInformation" in script
            return 0, f"{self.faults.code_integrity}\r\n"
        if command.startswith(("pnputil.exe /add-driver", "rundll32.exe setupapi.dll,InstallHinfSection")):
            return self._install(next(word for word in command.split() if word.lower().endswith(".inf")))
        if command.startswith("wevtutil.exe"):
            return 0, "Event[0]:\r\n  Event ID: 3077\r\n  ... wsklab.sys did not meet ... signing level ...\r\n"
        if command.startswith("regedit.exe /S "):
            return 0, ""
        if command == "whoami.exe /groups":
            return 0, "BUILTIN\\Administrators  Alias  S-1-5-32-544\r\n"
        if command.startswith("bcdedit.exe"):
            return 0, "testsigning             Yes\r\ndebug                   Yes\r\n"
        if found := re.fullmatch(r"certutil\.exe -hashfile \"?(\S+?)\"? SHA256", command):
            content = base64.b64decode(self.state["files"].get(found[1].lower(), ""))
            return 0, f"SHA256 hash of {found[1]}:\r\n{hashlib.sha256(content).hexdigest()}\r\nCertUtil: done\r\n"
        if command.startswith("cmd.exe /d /c"):
            return self._copy(command)
        if command.startswith("verifier.exe"):
            return self._verifier(command)
        if command.startswith("schtasks.exe /create "):
            script = base64.b64decode(self.state["files"][command.split()[-1].lower()]).decode()
            self.state["task"] = re.search(r"copy /y (\S+) (\S+) ", script).groups()  # type: ignore[union-attr]
            return 0, "SUCCESS: The scheduled task has successfully been created.\r\n"
        if command == "schtasks.exe /run /tn wsklab-renew":
            source, target = self.state["task"]
            self.state["files"][target.lower()] = self.state["files"][source.lower()]
            self.renew()
            return 0, "SUCCESS: Attempted to run the scheduled task.\r\n"
        if command.startswith("shutdown.exe /r"):
            self.restart()
            return 0, ""
        return 9009, f"'{command}' is not recognized as an internal or external command\r\n"

    def _install(self, inf: str) -> tuple[int, str]:
        """Do what `pnputil` does with a package: its files are copied, its service is made or gets another file."""
        status = self.faults.pnputil
        if status in (0, 3010) and not self.faults.no_section:
            files, folder = self.state["files"], inf.rpartition("\\")[0]
            text = base64.b64decode(files[inf.lower()]).decode("utf-16")
            name = re.search(r"AddService *= *(\w+)", text)[1]  # type: ignore[index]
            start = re.search(r"StartType *= *(\d)", text)[1]  # type: ignore[index]
            path = rf"C:\Windows\System32\drivers\{name}.sys"
            if name not in self._services or not self.faults.keeps_old:
                files[path.lower()] = files[rf"{folder}\{name}.sys".lower()]
            self._services[name] = {
                "path": rf"\SystemRoot\System32\drivers\{name}.sys",
                "state": "stopped",
                "start": start,
            }
        return status, "some words\r\n"

    def started_anew(self) -> None:
        """Note that what is to start by itself has started."""
        for service in self._services.values():
            service["state"] = "running" if service.get("start", "3") in "012" else "stopped"

    @property
    def _services(self) -> dict[str, dict[str, str]]:
        services: dict[str, dict[str, str]] = self.state["services"]
        return services

    def _copy(self, command: str) -> tuple[int, str]:
        """`for %d in (...) do @if exist %d:\\TAG (copy ...)`, with the disc as drive D."""
        tag = re.search(r"if exist %d:\\(\S+) \(", command)
        if tag is None or self.disc is None:
            return 0, ""
        iso = pycdlib.PyCdlib()
        iso.open(str(self.disc))
        names = {
            record.file_identifier().decode("utf-16-be"): record
            for record in iso.list_children(joliet_path="/")
            if record is not None and record.is_file()
        }
        said = ""
        if tag[1] in names:
            for source, target in re.findall(r"copy /y %d:\\(\S+) (\S+?)(?= |\))", command):
                with iso.open_file_from_iso(joliet_path=f"/{source}") as file:
                    self.state["files"][target.lower()] = base64.b64encode(file.read()).decode()
                said += "        1 file(s) copied.\r\n"
        iso.close()
        return 0, said

    def _verifier(self, command: str) -> tuple[int, str]:
        if found := re.search(r"(/standard|/flags 0x[0-9a-f]+) /driver (\S+)", command):
            self.state["verified"] = found[2]
            flags = 0x209BB if found[1] == "/standard" else int(found[1].split()[1], 16)
            self.state["verifier_flags"] = flags & ~(4 if self.faults.no_low_resources else 0)
            return 2, "The system needs to be rebooted.\r\n"
        flags = self.state.get("verifier_flags", 0)
        return 0, f"Verifier Flags: 0x{flags:08x}\r\nVerified Drivers: {self.state['verified']}\r\n"

    # --- the agent

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of the agent's line (drivers/agent/agent.h)."""
        said = {"id": request["id"], "ok": True}
        match request["op"]:
            case "ping":
                return said | {"token": request.get("token", ""), "time_ms": self.state["clock_ms"]}
            case "set_time":
                self.state["clock_ms"] = request["unix_ms"]
                return said | {"time_ms": self.state["clock_ms"]}
            case "service":
                code, state = self.service(request["action"], request["name"], request.get("path", ""))
                return {**said, "ok": False, "error": "words", "code": code} if code else said | {"state": state}
            case "run":
                status, text = self.program(request["command"])
                return said | {"exit": status, "output": put_data(text.encode())}
            case "put":
                files, path = self.state["files"], request["path"].lower()
                old = base64.b64decode(files.get(path, "")) if request["offset"] else b""
                files[path] = base64.b64encode(old + get_data(request["data"])).decode()
                return said | {"size": len(old)}
            case "ioctl" if self.driver:
                if int.from_bytes(get_data(request["in"])[6:8], "little") == OPEN:
                    self.crashed, self.asks = bool(self.faults.bugcheck), bool(self.faults.prompt)
                return said | {"out": put_data(self.driver.ioctl(request["code"], get_data(request["in"])))}
            case "close_device":
                return said
        return {**said, "ok": False, "error": "words", "code": 2}
