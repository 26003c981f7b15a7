"""Every rule of the strict mode is broken by a driver that shares no code with ours (tests/support/breaker)."""

from __future__ import annotations

import re

import pytest
from support import breaker

from wsklab.drivers import build, strict_rules

STOP = re.compile(r"\bSTOP\(.*?\);", re.DOTALL)
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
REPORT = re.compile(r'\bREPORT\("(\w+)", "((?:[^"\\]|\\.)*)"')
CONVERSION = re.compile(r"%[0-9]*[a-z]")

UNBROKEN = {
    "initializes a spin lock that is held": "mingw-w64 has no KeInitializeSpinLock to import, its header sets the word",
    "WskCloseSocket on a socket that is being closed": "two threads at once; else what any call on it is",
    "WskAcceptEvent returned %08x": "of a listener",
    "WskReceiveEvent accepted %u of %u bytes": "of a client of WskReceiveEvent",
    "WskReceiveEvent returned %08x": "of a client of WskReceiveEvent",
    "%s of a list that is not retained": "of a client of WskReceiveEvent",
    "WskDeregister with %u indications not released": "of a client of WskReceiveEvent",
    "WskCaptureProviderNPI with WSK_INFINITE_WAIT, and there is no provider": "the twin waits-for-provider",
    "WskDeregister called from a callback or completion routine": "it never returns",
    "WskDeregister waits": "the same as a socket that is never closed",
    "WskCloseSocket while %u other calls on the socket have not returned": "no call on the stand-in takes that long",
    "%s with an IRP that has no stack location": "IoAllocateIrp gives none",
}
"""What it does not break, and why."""


def messages() -> list[str]:
    """Return what each stop and report says, up to what may be said besides."""
    found = []
    for folder in ("strict", "standin"):
        for path in sorted((build.HOME / folder).glob("*.c")):
            text = path.read_text()
            calls = [TEXT.findall(call) for call in STOP.findall(text)]
            found += [next(text for text in texts if " " in text) for texts in calls if texts]
            found += [text for _, text in REPORT.findall(text)]
    return [re.split(r"[:;(]", message)[0].strip() for message in found]


def test_the_messages_are_found() -> None:
    assert len(messages()) > 70
    assert {"waits at IRQL %u", "frees a block twice", "WskDisconnectEvent returned %08x"} <= set(messages())


@pytest.mark.parametrize("message", sorted(set(messages()) - set(UNBROKEN)))
def test_it_is_broken(message: str) -> None:
    pattern = re.compile(".+".join(re.escape(part) for part in CONVERSION.split(message)))
    said = [re.sub(r"\\d\+", "7", breach.says) for breach in breaker.breaches().values()]
    assert [text for text in said if pattern.search(text)], message


def test_what_is_not_broken_is_a_message_all_the_same() -> None:
    assert set(UNBROKEN) <= set(messages())


@pytest.mark.parametrize("rule", strict_rules.rules(), ids=lambda rule: rule.routines[0])
def test_each_rule_on_an_irql_is_broken_by_one_of_its_routines(rule: strict_rules.IrqlRule) -> None:
    says = [breach.says for breach in breaker.breaches().values()]
    detail = f"{rule.detail:08x}" if rule.detail else "IRQL_NOT_LESS_OR_EQUAL"
    assert any(f"{routine}.*is called at" in text and detail in text for routine in rule.routines for text in says)


def test_it_shares_no_code_with_the_lab() -> None:
    text = "".join(path.read_text() for path in breaker.SOURCES.iterdir())
    assert set(re.findall(r"#include (.*)", text)) == {"<wsk.h>", '"breaker.h"'}
