"""What build servers read in a log: groups that fold, and annotations; each as its documents say. Pure.

* GitHub Actions: `::group::`, `::error title=::`, and a summary in Markdown (docs.github.com, workflow commands)
* GitLab: `section_start:TIME:NAME[collapsed=true]` (docs.gitlab.com, job logs); it has no annotations in a log
* Azure Pipelines: `##[group]`, `##vso[task.logissue]`, `##vso[task.uploadsummary]` (learn.microsoft.com, logging
  commands)
* Jenkins: neither; what it shows is in junit.xml

A log that nobody obeys has none of it. Text of a target must not be obeyed either: `harmless` sees to that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Name = Literal["github", "gitlab", "azure", "jenkins"]

MOST = 9
"""Failures that are annotated one by one: GitHub shows ten of a kind in each step, and one is for the whole run."""

SUMMARY_BYTES = 900_000
"""GitHub drops a summary of more than 1 MiB altogether."""

_COMMANDS = re.compile(r"::(?=[a-zA-Z-]+[^\n]*::)|##(?=\[|vso\[)|section_(?=start:|end:)")
"""Where a server would begin to obey."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that did not pass, as an annotation shows it."""

    name: str
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Server:
    """The build server that runs this, where files are looked for, and where a summary goes."""

    name: Name
    workspace: Path | None = None
    summary: Path | None = None

    def begin(self, key: str, title: str, now: float) -> str:
        """Return the line that opens a group, folded where that can be said."""
        match self.name:
            case "github":
                return f"::group::{title}"
            case "azure":
                return f"##[group]{title}"
            case "gitlab":
                return f"\x1b[0Ksection_start:{now:.0f}:{key}[collapsed=true]\r\x1b[0K{title}"
        return ""

    def end(self, key: str, now: float) -> str:
        """Return the line that closes it."""
        match self.name:
            case "github":
                return "::endgroup::"
            case "azure":
                return "##[endgroup]"
            case "gitlab":
                return f"\x1b[0Ksection_end:{now:.0f}:{key}\r\x1b[0K"
        return ""

    def annotations(self, headline: str, failures: Sequence[Failure]) -> list[str]:
        """One line for the run, and one for each of the first failures; none where the server reads none."""
        if not failures or self.name in ("gitlab", "jenkins"):
            return []
        left = len(failures) - MOST
        whole = headline + (f"; {left} more are in the report" if left > 0 else "")
        lines = [self._annotation("error", "wsklab", whole)]
        for one in failures[:MOST]:
            level = "error" if one.verdict == "fail" else "warning"
            lines.append(self._annotation(level, f"{one.name}: {one.verdict}", one.text))
        return lines

    def _annotation(self, level: str, title: str, text: str) -> str:
        if self.name == "github":
            return f"::{level} title={_property(title)}::{_data(text)}"
        return f"##vso[task.logissue type={level}]{_azure(f'{title}: {text}')}"

    def attach_summary(self, path: Path) -> str:
        """Return the line that has a Markdown file shown with the job; empty where there is none such."""
        return f"##vso[task.uploadsummary]{path}" if self.name == "azure" else ""


def detect(environment: Mapping[str, str]) -> Server | None:
    """Return the build server, by the variables that each sets for its jobs."""

    def path(name: str) -> Path | None:
        return Path(environment[name]) if environment.get(name) else None

    if environment.get("GITHUB_ACTIONS") == "true":
        return Server("github", path("GITHUB_WORKSPACE"), path("GITHUB_STEP_SUMMARY"))
    if environment.get("GITLAB_CI") == "true":
        return Server("gitlab", path("CI_PROJECT_DIR"))
    if environment.get("TF_BUILD", "").lower() == "true":
        return Server("azure", path("SYSTEM_DEFAULTWORKINGDIRECTORY") or path("BUILD_SOURCESDIRECTORY"))
    if environment.get("JENKINS_URL"):
        return Server("jenkins", path("WORKSPACE"))
    return None


def harmless(text: str) -> str:
    """Return the text, with a word joiner where a build server would take it for a command."""
    return _COMMANDS.sub(lambda found: f"{found[0][0]}\u2060{found[0][1:]}", text)


def markdown(headline: str, failures: Sequence[Failure], totals: Mapping[str, int]) -> str:
    """Return the summary of a run."""
    counts = ", ".join(f"{count} {name}" for name, count in totals.items() if count and name != "all")
    lines = [f"### wsklab: {_cell(headline)}", "", counts or "nothing was run", ""]
    if failures:
        lines += ["| scenario | verdict | what happened |", "|---|---|---|"]
    size = 0
    for number, one in enumerate(failures):
        row = f"| {_cell(one.name)} | {one.verdict} | {_cell(one.text)} |"
        size += len(row.encode()) + 1
        if size > SUMMARY_BYTES:
            lines.append(f"\n{len(failures) - number} more are in the report.")
            break
        lines.append(row)
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text in a table: Markdown and HTML in it stay text."""
    return re.sub(r"([\\`*_{}\[\]<>|#&])", r"\\\1", " ".join(text.split()))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _azure(text: str) -> str:
    return text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
