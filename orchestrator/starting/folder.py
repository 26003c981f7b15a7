"""The files of a new user's folder. Pure, but for `write`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.starting.course import Course
from wsklab.orchestrator.starting.proposals import Proposal
from wsklab.qemu.network import MACHINES

TEMPLATES = Path(__file__).with_name("templates")

PLACES = {
    "pytest.ini": "pytest.ini",
    "close.yaml": "scenarios/close.yaml",
    "test_reset.py.in": "tests/test_reset.py",
    "driver-tests.yml": ".github/workflows/driver-tests.yml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}
"""Template -> where it goes."""


@dataclass(frozen=True)
class Project:
    """What the files are about; without `course` and `file` it is the lab's own driver."""

    name: str
    driver: str
    """What `--wsklab-driver` is to say."""
    profile: str = ""
    missing: Sequence[str] = ()
    """What is still to be filled in, a sentence each."""


def profile_text(
    name: str,
    file: str,
    device: str,
    settings: Sequence[str],
    parameters: Mapping[str, int | str],
    course: Course,
    found: Sequence[Proposal],
) -> str:
    """Return a driver profile, with what nobody could know as comments."""
    head: dict[str, Any] = {
        "name": name,
        "path": file,
        "service": "".join(c if c.isalnum() else "_" for c in name)[:64],
        "target_path": rf"C:\wsklab\{name}.sys",
    }
    if device:
        head["device"] = device
    if parameters:
        head["parameters"] = dict(parameters)
    lines = [f"# The driver under test; docs/drivers.md of wsklab explains every key.\n{_yaml(head)}"]
    others = [one for one in settings if one not in parameters]
    if others:
        lines.append(f"# Words of the file that may be values of its Parameters key: {', '.join(others)}\n")
    if course.by == "none":
        lines.append(f"# FILL IN how it comes to connect. In the trial run {course.why}.\n")
        lines += [f"# {line}\n" for line in _ways(device)]
    else:
        provoke: dict[str, Any] = {"by": course.by, "port": course.port}
        if course.greeting:
            provoke["greeting"] = course.greeting
        if course.replies:
            provoke["replies"] = True
        lines.append(f"provoke: {yaml.safe_dump(provoke, default_flow_style=True, sort_keys=False, width=200)}")
    lines.append(_patterns(found))
    heard = [*course.fin.load, *course.fin.open, *course.fin.end, *course.rst.end, *course.fin.unload]
    if heard:
        lines.append("\n# All that it printed in the trial run:\n" + "".join(f"#   {line}\n" for line in unique(heard)))
    return "".join(lines)


def _ways(device: str) -> list[str]:
    """Return the ways in which a driver may come to connect; with a device, by a program comes first."""
    by = f"a program of yours, in the target, asks it to{f' by {device}' if device else ''}"
    command = r"'C:\wsklab\mytool.exe connect ADDRESS 7007'".replace("ADDRESS", MACHINES["peer"].addresses["ipv4"])
    program = [
        f"provoke: {{by: command, port: 7007, command: {command}}}  # {by}",
        r"files: {'C:\wsklab\mytool.exe': mytool.exe}  # and this puts it there",
    ]
    others = [
        "provoke: {by: peer, port: 7007}  # it listens there",
        "provoke: {by: start, port: 7007}  # it connects to the peer's port when its service starts",
    ]
    return [*program, *others] if device else [*others, *program]


EXAMPLE = r"""#   - kind: disc
#     line: 'disconnected, flags (?P<flags>\d+)'
#     samples: {'disconnected, flags 1': {flags: 1}}
"""


def unique(lines: Sequence[str]) -> list[str]:
    """Return the lines, each once."""
    return list(dict.fromkeys(lines))


def _patterns(found: Sequence[Proposal]) -> str:
    lines = ["# What its debug text means, proposed from the trial run; the first that matches wins.\n"]
    if not any(one.kind == "disc" for one in found):
        lines.append("# FILL IN a pattern of kind disc: the line that it prints in WskDisconnectEvent, for example\n")
        lines.append(EXAMPLE)
    if found:
        lines.append("patterns:\n")
    for one in found:
        if one.doubt:
            lines.append(f"  # {one.doubt}\n")
        text = _yaml([one.document()])
        lines.append("".join(f"  {line}\n" for line in text.splitlines()))
    return "".join(lines)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=200, allow_unicode=True)


def files(project: Project) -> dict[str, str]:
    """Path in the folder -> text."""
    missing = "".join(f"* {one}\n" for one in project.missing)
    words = {
        "name": project.name,
        "driver": project.driver,
        "missing": f"\n## Still to be filled in\n\n{missing}" if missing else "",
    }
    found = {
        place: Template((TEMPLATES / name).read_text(encoding="utf-8")).substitute(words)
        for name, place in PLACES.items()
    }
    if project.profile:
        found[project.driver] = project.profile
    return found


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write them all, or none: nothing of a user's is overwritten. Raises UsageError."""
    if there := [name for name in texts if (folder / name).exists()]:
        raise UsageError(f"{folder / there[0]}: it is there already; name another folder with --out.")
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
