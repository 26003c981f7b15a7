"""What a command loads: only what it needs, so that it begins at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOT_FOR_A_RUN = {
    "wsklab.images.builder",
    "wsklab.images.packages",
    "wsklab.images.windows.install",
    "wsklab.images.windows.media",
    "wsklab.drivers.check",
    "wsklab.drivers.pdb",
    "wsklab.drivers.profile",
    "wsklab.drivers.sign",
    "wsklab.orchestrator.lab.foreign_driver",
    "wsklab.qemu.kd.line",
    "paramiko",
    "jinja2",
    "cryptography",
    "pycdlib",
}
"""Loaded where it is used: by a build, a Windows guest, a foreign driver, the first SSH connection, the report."""


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("run", NOT_FOR_A_RUN),
        ("judge", {*NOT_FOR_A_RUN, "wsklab.images", "wsklab.drivers.build", "wsklab.orchestrator.lab", "qemu.qmp"}),
    ],
)
def test_a_command_loads_only_what_it_needs(command: str, without: set[str]) -> None:
    assert loaded(f"wsklab.orchestrator.commands.{command}") & without == set()
