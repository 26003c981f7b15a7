"""docs/reference: what the code, the scenarios, the twins and the documents cite is there, once, with its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
NUMBER = re.compile(r"\b(?:R\d{1,2}|C\d{2}|BF\d{1,2})\b")
#: Cited as "kd.md 1.3 to 1.6", "wsk.md section 5"; the pages for users have no numbered sections.
SECTION = re.compile(r"\b(kd|wsk)\.md,? (?:\(|section )?(\d(?:\.\d)?)(?: to (\d(?:\.\d)?))?")
FOLDERS = ("drivers", "orchestrator", "qemu", "images", "docs")
SUFFIXES = {".py", ".c", ".h", ".yaml", ".md"}
FILES = [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))
                               if path.suffix in SUFFIXES and path.is_file())]  # fmt: skip


def rows() -> list[list[str]]:
    """Return the tables of numbered statements: the cells of each row."""
    lines = (REFERENCE / "wsk.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in cells if NUMBER.fullmatch(row[0])]


def requirements() -> tuple[list[str], set[str]]:
    """Return the numbers that the coverage table knows, and those that were never given."""
    data = yaml.safe_load((ROOT / "orchestrator" / "trials" / "requirements.yaml").read_text())
    return list(data["entries"]), set(data["unassigned"])


def headings(name: str) -> set[str]:
    text = (REFERENCE / f"{name}.md").read_text()
    return set(re.findall(r"^##+ (\d(?:\.\d)?)\.? ", text, re.MULTILINE))


def test_every_number_stands_there_once_in_order() -> None:
    assert [row[0] for row in rows()] == requirements()[0]


def test_every_number_that_is_cited_is_there() -> None:
    known = {row[0] for row in rows()} | requirements()[1]
    cited = {(path.relative_to(ROOT), number) for path in FILES for number in NUMBER.findall(path.read_text())}
    assert len({number for _, number in cited}) > 200
    assert sorted(f"{path}: {number}" for path, number in cited if number not in known) == []


def test_every_row_has_a_statement_and_says_how_sure_it_is() -> None:
    for row in rows():
        assert all(row), f"{row[0]} has an empty cell"
        if not row[0].startswith("BF"):
            marks = {mark for mark in row[-1].split(", ") if not NUMBER.fullmatch(mark)}
            assert marks and marks <= set("DSIXM"), f"{row[0]}: {row[-1]}"


def test_every_source_has_its_page() -> None:
    text = (REFERENCE / "wsk.md").read_text()
    sources, tables = text.split("## 1. Requirements")
    names = [line.split(" | ")[0] for line in sources.splitlines() if line.startswith("| *") and "**" not in line]
    named = {name for cell in names for name in re.findall(r"\*([^*]+)\*", cell)}
    used = set(re.findall(r"\*([a-z][^*|]+)\*", tables.split("## 2.")[0])) - {"initiated"}
    assert used <= named
    assert named - used == {"RFC 9293", "RFC 5961", "RFC 1122"}


@pytest.mark.parametrize("name", ["kd", "wsk"])
def test_every_section_that_is_cited_is_there(name: str) -> None:
    there, cited = headings(name), set()
    for path in [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]:
        for match in SECTION.finditer(path.read_text()):
            if match[1] == name:
                cited |= {match[2], match[3]} - {None}
    assert len(cited) >= {"kd": 8, "wsk": 1}[name]
    assert cited <= there


def test_the_reference_is_written_for_users() -> None:
    """Nothing of how it was made, no forgotten letters, every link to a file leads somewhere."""
    for path in REFERENCE.glob("*.md"):
        text = path.read_text()
        assert not re.search(r"/tmp/|\[\?\]|\bTODO\b", text)
        for link in re.findall(r"\]\((?!https:)([^)#]+)", text):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
