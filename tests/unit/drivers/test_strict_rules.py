"""The IRQL rules: one file of data, and what is made of it is what it says."""

from __future__ import annotations

from collections import Counter

from wsklab.drivers import strict_rules


def test_the_c_table_is_made_from_the_rules() -> None:
    assert strict_rules.HEADER.read_text() == strict_rules.header()
    assert "RULE(ZwClose, PASSIVE_LEVEL, 0xc4, 0x2001f)" in strict_rules.header().splitlines()


def test_the_page_has_the_table() -> None:
    text = strict_rules.PAGE.read_text()
    assert text == strict_rules.page(text)
    assert "| `MmGetSystemRoutineAddress` | PASSIVE_LEVEL | IrqlIoRtlZwPassive | C4/20023 |" in text


def test_a_routine_has_one_rule() -> None:
    count = Counter(routine for rule in strict_rules.rules() for routine in rule.routines)
    assert [routine for routine, times in count.items() if times > 1] == []


def test_every_rule_names_its_page() -> None:
    assert [rule for rule in strict_rules.rules() if not rule.page or not rule.rule] == []
