"""The verification boot: a finished disk is started cold, as a lab will start it, and must answer."""

import json
import secrets
import socket
import time
from dataclasses import asdict
from pathlib import Path

from wsklab.images.packages import Progress
from wsklab.images.windows.install.report import Check
from wsklab.images.windows.install.stages import NOTHING_TO_START
from wsklab.qemu.deadline import left, within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.kd.line import read_transcript
from wsklab.qemu.machine import Machine

AGENT_PATIENCE = 600.0
ANSWER_PATIENCE = 20.0
SSH_PATIENCE = 180.0
_RETRY = 1.0


def boot(machine: Machine, slowness: float, ssh: bool, progress: Progress) -> list[Check]:
    """Start the machine, ask what there is to ask, and stop it. Raises MachineError when it does not even start."""
    with machine:
        machine.start()
        progress("verification boot: waiting for the agent")
        checks = [_agent(machine, AGENT_PATIENCE * slowness)]
        if ssh:
            progress("verification boot: waiting for SSH")
            start_ssh(machine)
            checks.append(_ssh(machine.ssh_port, within(SSH_PATIENCE * slowness)))
    # The debugger's first packet comes long before the agent.
    return [*checks, _debugger(machine.folder / "kd.jsonl")]


def _debugger(transcript: Path) -> Check:
    """Whether the target has spoken KD; the firmware's text on the same line is no proof."""
    events = [event.get("event") for event in read_transcript(transcript)]
    return Check("kernel debugger on COM1", "Attached" in events, f"{len(events)} events")


def _agent(machine: Machine, patience: float) -> Check:
    """Its greeting, and an answer to a question that only a living agent can repeat."""
    token = secrets.token_hex(8)
    try:
        hello = machine.agent.expect(rf'\{{"hello":[^\n]{{0,500}}|{NOTHING_TO_START}', within(patience))[0]
        if not hello.startswith("{"):
            return Check("agent on COM2", False, "the firmware found nothing to start on the disk")
        with machine.agent.watch() as watch:
            machine.agent.write(json.dumps({"id": 1, "op": "ping", "token": token}).encode() + b"\n")
            watch.expect(rf'"id":1[^\n]{{0,200}}{token}', within(ANSWER_PATIENCE))
        return Check("agent on COM2", True, hello[:200])
    except MachineError as error:
        return Check("agent on COM2", False, str(error))


def start_ssh(machine: Machine) -> None:
    """Have the agent start the server, which Windows starts two minutes late; its banner tells whether it runs."""
    machine.agent.write(json.dumps({"id": 2, "op": "service", "action": "start", "name": "sshd"}).encode() + b"\n")


def _ssh(port: int, deadline: float) -> Check:
    """Wait for a banner. The forwarding accepts at once, whatever the guest does: only the banner is the guest's."""
    problem = "no banner"
    while left(deadline):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=min(10.0, left(deadline) or 1.0)) as line:
                banner = line.recv(256)
                if banner.startswith(b"SSH-"):
                    return Check("SSH", True, banner.decode("ascii", "replace").strip())
        except OSError as error:
            problem = str(error)
        time.sleep(min(_RETRY, left(deadline)))  # nothing tells when a guest begins to listen
    return Check("SSH", False, problem)


def save(checks: list[Check], target: Path) -> None:
    """Write what was seen, for people."""
    target.write_text(json.dumps([asdict(check) for check in checks], indent=1) + "\n")
