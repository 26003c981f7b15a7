"""The program in QEMU's place: for a machine with UEFI it plays Windows, every other command goes to the real QEMU.

SIMULATED_WINDOWS is a JSON object: `image` (the folder with `host_key`), `qemu` (the real one), and `faults`.
What a snapshot holds is written into the machine's variables.qcow2, so that one that is not kept is missed.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from support.kd_target import Run, Target, serve

from simulated import ssh
from simulated.driver import Driver
from simulated.nic import Nic
from simulated.windows import OLD, Faults, Frames, Windows

PNG = bytes.fromhex("89504e470d0a1a0a")


class Machine:
    """The played machine, from the command line that QEMU would have been given."""

    def __init__(self, words: list[str], wanted: dict[str, Any]) -> None:
        text = " ".join(words)
        fds = dict(re.findall(r"socket,id=(\w+),fd=(\d+)", text))
        self.qmp, self.debug, self.agent = (socket.socket(fileno=int(fds[name])) for name in ("qmp", "debug", "agent"))
        self.nic = Nic(socket.socket(fileno=int(re.search(r"local\.str=(\d+)", text)[1])))  # type: ignore[index]
        sets = {f"/dev/fdset/{number}": fd for fd, number in re.findall(r"-add-fd fd=(\d+),set=(\d+)", text)}
        disc = re.search(r"media=cdrom,file=(\S+)", text)
        self.variables = Path(re.search(r"unit=1,format=qcow2,file=(\S+)", text)[1])  # type: ignore[index]
        self.resumed = "-loadvm" in words
        self.printed: queue.Queue[str] = queue.Queue()
        self.running = threading.Event()
        self.booted = False
        self.kd = Target(self.debug.sendall, endless=True)
        self.kd.debugger_data()
        faults = Faults(**wanted["faults"])
        self.windows = Windows(
            lambda: Driver(self.nic, self.printed.put, faults.skew),
            self.restart,
            self.greet,
            faults,
            Path(f"/proc/self/fd/{sets[disc[1]]}") if disc else None,
        )
        folder = Path(wanted["image"])
        agent = (folder / "wskagent.exe").read_bytes()
        self.windows.state["files"][r"c:\wsklab\wskagent.exe"] = base64.b64encode(agent).decode()
        self.port = ssh.serve(
            self.windows,
            paramiko.Ed25519Key.from_private_key_file(str(folder / "host_key")),
            paramiko.Ed25519Key.from_private_key_file(str(folder / "ssh_key")),
        )
        self.saved: dict[str, Any] = {}
        if self.resumed:
            self._revive(json.loads(self.variables.read_text()))

    # --- life

    def boot(self) -> None:
        self.booted = True
        for line in (self.debug, self.agent):  # OVMF writes to both
            line.sendall(b'BdsDxe: starting Boot0002 "Windows Boot Manager" from HD(1,GPT)\r\n')
        if self.windows.faults.debugger:
            threading.Thread(
                target=lambda: serve(self.kd, self.debug, self._kernel(), self.running.wait), daemon=True
            ).start()
        threading.Thread(target=self._serve_agent, daemon=True).start()
        if not self.resumed and self.windows.faults.hello:
            self._say_hello()

    def _kernel(self) -> Iterator[Run]:
        if not self.resumed:
            yield self.kd.load("\\SystemRoot\\system32\\ntoskrnl.exe")
        while not self.windows.crashed:
            if self.windows.asks:
                self.windows.asks = False
                yield self.kd.print(self.windows.faults.prompt.encode() + b"\n\n")
                yield self.kd.prompt(b"(B)reak, (I)gnore, (W)arn only, (R)emove assert? ")
            try:
                yield self.kd.print(self.printed.get_nowait().encode() + b"\n")
            except queue.Empty:
                yield self.kd.idle(0.003)
        code, first, second, third, fourth = self.windows.faults.bugcheck
        yield self.kd.bugcheck(code, (first, second, third, fourth))
        yield self.kd.bugcheck_end()

    def restart(self) -> None:
        """Start Windows anew: services stop or start, the debugger's link begins from its start, the agent greets."""

        def later() -> None:
            time.sleep(0.1)  # its answer to whoever asked comes first
            self.event("RESET", guest=True, reason="guest-reset")
            self.windows.started_anew()
            self.greet(0.0)

        threading.Thread(target=later, daemon=True).start()

    def greet(self, after: float = 0.1) -> None:
        """Say the agent's first words, when its predecessor has given its last answer."""
        threading.Timer(after, self._say_hello).start()

    def _say_hello(self) -> None:
        is_old = base64.b64decode(self.windows.state["files"][r"c:\wsklab\wskagent.exe"]) == OLD
        hello = {"hello": {"agent": 1 if is_old else 2, "system": "windows 10.0.20348", "pid": 1234}}
        self.agent.sendall(json.dumps(hello).encode() + b"\n")

    def _serve_agent(self) -> None:
        frames = Frames(self.windows.faults.lost)
        for line in self.agent.makefile("rb"):
            said = frames.take(line, self.windows.answer)
            if self.windows.crashed:
                return  # and never says anything again
            self.agent.sendall(said)

    # --- snapshots

    def save(self) -> None:
        lines = self.windows.driver.lines if self.windows.driver else None
        self.saved = copy.deepcopy({"state": self.windows.state, "lines": lines})
        self.variables.write_text(json.dumps(self.saved))

    def _revive(self, saved: dict[str, Any]) -> None:
        self.saved = saved
        self.windows.state = copy.deepcopy(saved["state"])
        self.windows.state["clock_ms"] = 0  # as late as can be
        self.windows.driver = None
        if saved["lines"] is not None:
            self.windows.driver = Driver(self.nic, self.printed.put, self.windows.faults.skew)
            while not self.printed.empty():  # it was loaded long ago
                self.printed.get_nowait()
            self.windows.driver.lines[:] = saved["lines"]

    # --- QMP

    def event(self, name: str, **data: object) -> None:
        now = time.time_ns()
        stamp = {"seconds": now // 10**9, "microseconds": now // 1000 % 10**6}
        self._tell({"event": name, "data": data, "timestamp": stamp})

    def _tell(self, message: object) -> None:
        self.qmp.sendall(json.dumps(message).encode() + b"\r\n")

    def _requests(self) -> Iterator[dict[str, Any]]:
        """Yield objects one after another, with nothing between them."""
        text, decoder = "", json.JSONDecoder()
        while data := self.qmp.recv(65536):
            text += data.decode()
            while text := text.lstrip():
                try:
                    asked, end = decoder.raw_decode(text)
                except ValueError:
                    break  # half of it
                text = text[end:]
                yield asked

    def serve(self) -> None:
        self._tell(
            {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}
        )
        for asked in self._requests():
            try:
                said = {"return": self.do(asked["execute"], asked.get("arguments", {}))}
            except ValueError as error:
                said = {"error": {"class": "GenericError", "desc": str(error)}}
            self._tell({**said, **({"id": asked["id"]} if "id" in asked else {})})
            if asked["execute"] == "quit":
                return

    def do(self, command: str, words: dict[str, Any]) -> object:
        match command:
            case "cont":
                self.running.set()
                if not self.booted:
                    self.boot()
            case "stop":
                self.running.clear()
            case "query-status":
                runs = self.running.is_set()
                return {"status": "running" if runs else "paused", "running": runs}
            case "screendump":
                Path(words["filename"]).write_bytes(PNG)
            case "dump-guest-memory":
                raise ValueError("win-dump: invalid vmcoreinfo note size")
            case "human-monitor-command":
                return self.hmp(words["command-line"])
        return {}

    def hmp(self, command: str) -> str:
        if command == "info usernet":
            return f"  TCP[HOST_FORWARD]  12  127.0.0.1 {self.port}       10.0.2.15    22     0     0\r\n"
        if command.startswith("savevm"):
            if self.windows.faults.savevm:
                return self.windows.faults.savevm
            self.save()
        elif command.startswith("loadvm"):
            self._revive(self.saved)
        return ""


def main() -> None:
    wanted = json.loads(os.environ["SIMULATED_WINDOWS"])
    words = sys.argv[1:]
    if not any("if=pflash" in word for word in words):
        os.execv(wanted["qemu"], ["qemu-system-x86_64", *words])
    Machine(words, wanted).serve()


main()
