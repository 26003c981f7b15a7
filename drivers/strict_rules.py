"""The IRQL rules of kernel routines, drivers/strict/rules.yaml, and the tables in C and in the docs made of them.

`python -m wsklab.drivers.strict_rules` writes both anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

HOME = Path(__file__).parent
SOURCE = HOME / "strict/rules.yaml"
HEADER = HOME / "strict/rules.h"
PAGE = HOME.parent / "docs/strict.md"
BEGIN, END = "<!-- rules: made from drivers/strict/rules.yaml -->", "<!-- end of rules -->"


class IrqlRule(BaseModel):
    """Routines that may be called up to one IRQL, and the stop of a driver that calls them above it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: Literal["PASSIVE", "APC", "DISPATCH"]
    code: int
    detail: int
    rule: str
    page: str
    routines: tuple[str, ...] = Field(min_length=1)


@cache
def rules() -> tuple[IrqlRule, ...]:
    """All rules, in the order of the file."""
    return TypeAdapter(tuple[IrqlRule, ...]).validate_python(yaml.safe_load(SOURCE.read_text(encoding="utf-8")))


def header() -> str:
    """Return the rules as lines of C, for drivers/strict/routines.c."""
    lines = [
        f"RULE({routine}, {rule.most}_LEVEL, {rule.code:#x}, {rule.detail:#x})"
        for rule in rules()
        for routine in rule.routines
    ]
    head = "/* Made from rules.yaml by `python -m wsklab.drivers.strict_rules`: change that. */"
    return "\n".join([head, "// clang-format off", *sorted(lines), "// clang-format on"]) + "\n"


def table() -> str:
    """Return the rules as a table of the docs."""
    rows = [
        f"| {', '.join(f'`{routine}`' for routine in rule.routines)} | {rule.most}_LEVEL | {rule.rule} | "
        f"{rule.code:X}/{rule.detail:X} | {rule.page} |"
        for rule in rules()
    ]
    return "\n".join(["| routines | at most at | rule | stop | page |", "|---|---|---|---|---|", *rows])


def page(text: str) -> str:
    """Return the docs' page with the table as the rules are now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
