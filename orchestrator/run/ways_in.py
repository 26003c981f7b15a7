"""How a person gets into a lab that runs: screens, SSH, the debugger's port, QEMU's monitor; in lines to be pasted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from wsklab.images.keys import ADDRESS
from wsklab.images.store import Image
from wsklab.orchestrator.guest.guest import Guest
from wsklab.orchestrator.lab.lab import Lab
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine


def ways_in(lab: Lab, url: str, debugger: int | None) -> list[str]:
    """Return lines for people. `url` is the page with the screens, `debugger` the port for WinDbg, if any."""
    lines = [f"{'screens':9} {url}"]
    for name, image, user in (("target", lab.guest.image, lab.guest.user), ("peer", lab.peer.image, "root")):
        lines += _ways_into(name, partial(lab.machine, name), image, user)
    try:
        lines += _debugger(lab.machine("target"), debugger)
    except (KeyError, MachineError) as error:
        lines.append(f"{'debugger':9} none: {error}")
    return lines


def ways_into_machine(machine: Machine, guest: Guest, url: str) -> list[str]:
    """Return the same for a target that runs by itself, without lab and debugger."""
    return [f"{'screens':9} {url}", *_ways_into("target", lambda: machine, guest.image, guest.user)]


def _ways_into(name: str, machine: Callable[[], Machine], image: Image, user: str) -> list[str]:
    try:
        return list(_into(name, machine(), image, user))
    except (KeyError, MachineError) as error:
        return [f"{name:9} cannot be entered: {error if isinstance(error, MachineError) else 'not started'}"]


def _into(name: str, machine: Machine, image: Image, user: str) -> Iterator[str]:
    status = machine.status()
    if status != "running":
        yield f"{name:9} stands still ({status}); `cont` in its monitor lets it go on where that is possible"
    if image.known_hosts.read_text(encoding="ascii").strip():
        yield f"{name:9} {ssh_command(machine.ssh_port, image.ssh_key, image.known_hosts, user)}"
    else:
        yield f"{name:9} no SSH: its image has no SSH server"
    if not machine.monitor.exists():
        return
    shell = [str(Path(sys.prefix) / "bin" / "qmp-shell"), "-H", str(machine.monitor.resolve())]
    yield f"{'':9} its monitor: {shlex.join(shell)}"


def _debugger(target: Machine, port: int | None) -> Iterator[str]:
    if target.profile.debug != "kd":
        return
    yield (
        f"{'debugger':9} 127.0.0.1:{target.lend_debugger(port or 0)} has COM1, for one at a time; WinDbg: "
        f"windbg -k com:ipport={target.lend_debugger(port or 0)},port=127.0.0.1"
    )


def ssh_command(port: int, key: Path, known_hosts: Path, user: str) -> str:
    """Return a command line that logs in, whatever the user's own configuration of ssh says."""
    options = {
        "UserKnownHostsFile": f'"{_path(known_hosts)}"',  # a list, separated by spaces
        "HostKeyAlias": ADDRESS,
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return shlex.join(["ssh", "-F", "none", "-i", _path(key), *words, "-p", str(port), f"{user}@127.0.0.1"])


def _path(path: Path) -> str:
    """As ssh_config(5) reads it, to which a percent sign means something."""
    return str(path.resolve()).replace("%", "%%")
