"""Driver Verifier in a Windows guest: told which driver to watch, read back after the restart that it needs.

Facts: Microsoft, "Driver Verifier Command Syntax"; reference/windows-images.md 2.11. Not yet run on Windows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from wsklab.orchestrator.errors import LabError, UsageError

Choice = Literal["standard", "memory", "irql", "io", "low-resources"]

STANDARD = 0x209BB
"""What `/standard` switches on in Windows 10 and later, as its own help says."""

LOW_RESOURCES = 0x4
FLAGS: dict[Choice, int] = {
    "standard": STANDARD,
    "memory": 0x9,  # special pool, pool tracking
    "irql": 0x22,  # force IRQL checking, deadlock detection
    "io": 0x20810,  # I/O verification, miscellaneous checks, DDI compliance
    "low-resources": STANDARD | LOW_RESOURCES,
}
FAULTS = 'verifier.exe /faults 599 "" "" 1'
"""One allocation in 17 fails, in every program and of every tag, from a minute after the start on."""

NO_VERIFIER = (
    "--verifier needs Windows as its target: the stand-in has no Driver Verifier; leave it out, or name a "
    "Windows image with --target."
)

Run = Callable[[str], str]
"""Runs a program in the guest whatever its exit status means, and returns what it printed."""


def chosen(word: str | None) -> Choice | None:
    """Return the user's word. Raises UsageError."""
    for choice in FLAGS:
        if word == choice:
            return choice
    if word is None:
        return None
    raise UsageError(f"--verifier {word}: there is only {', '.join(FLAGS)}.")


def enable(run: Run, choice: Choice, file: str) -> None:
    """Have the driver `file` (a name like `wsklab.sys`) watched from the next start on. Raises LabError.

    Its exit status differs between versions ("a restart is needed" is one), so the settings are read back.
    """
    # A driver that stops Windows while it boots would do so for ever otherwise.
    wanted = "/standard" if choice == "standard" else f"/flags {FLAGS[choice]:#x}"
    said = run("verifier.exe /bootmode resetonbootfail") + run(f"verifier.exe {wanted} /driver {file}")
    if FLAGS[choice] & LOW_RESOURCES:
        said += run(FAULTS)
    settings = run("verifier.exe /querysettings")
    if file.lower() not in settings.lower():
        raise LabError(f"Driver Verifier did not take {file}: {_words(said)}; its settings: {_words(settings)}")


def settings(run: Run, choice: Choice, file: str) -> dict[str, Any]:
    """Return what is in force now, for results.json. Raises LabError when the driver is not among it."""
    told, active = run("verifier.exe /querysettings"), run("verifier.exe /query")
    if file.lower() not in told.lower():
        raise LabError(
            f"Driver Verifier forgot {file} at the restart, which it does when Windows did not come up "
            "with it at first: see the target's kd.jsonl for a stop in between"
        )
    force = in_force(told)
    if choice != "standard" and force is not None and (missing := FLAGS[choice] & ~force):
        what = "low-resource simulation" if missing == LOW_RESOURCES else f"flags {missing:#x}"
        raise LabError(f"Driver Verifier watches {file} without {what}: its flags are {force:#x}; {_words(told)}")
    return {
        "choice": choice,
        "flags": f"{FLAGS[choice]:#x}",
        "driver": file,
        "settings": told.strip(),
        "active": active.strip(),
    }


def in_force(settings: str) -> int | None:
    """Return the flags in what `/querysettings` says: its first hexadecimal number, in any language.

    None without one.
    """
    found = re.search(r"\b0x([0-9a-fA-F]{1,8})\b", settings)
    return int(found[1], 16) if found else None


def _words(text: str) -> str:
    return " ".join(text.split())[:300] or "nothing"
