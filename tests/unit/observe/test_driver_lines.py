"""Every line that the lab's own driver can print is known: its word, and all that it tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsklab.drivers.protocol import HEX_KEYS, parse_line
from wsklab.orchestrator.lab.target import driver_line
from wsklab.orchestrator.observe.driver_lines import OF_THE_DRIVER, OtherLine

DRIVER = Path(__file__).parents[3] / "drivers" / "wsklab"
_FORMAT = re.compile(r'log_line\([^"]*"(ev=[^"]+)"')


def formats() -> list[str]:
    """Return the format strings with which the driver prints its lines."""
    found: set[str] = set()
    for file in DRIVER.glob("*.c"):
        source = re.sub(r'"\s*\n\s*"', "", file.read_text(encoding="utf-8"))
        found.update(_FORMAT.findall(source))
    return sorted(found)


@pytest.mark.parametrize("text", formats())
def test_what_the_driver_prints_is_a_line_with_a_kind_of_its_own(text: str) -> None:
    words = []
    for pair in text.split():
        key, _, value = pair.partition("=")
        said = re.sub(r"(%08x)+", lambda told: "0" * (len(told[0]) * 2), value)
        said = said.replace("%u", "1" if key not in HEX_KEYS else "00000001").replace("%s", "close")
        words.append(f"{key}={said}")
    conn = 0 if text.split()[0].removeprefix("ev=") in OF_THE_DRIVER else 1
    line = f"WSKLAB1 seq=00000007 t=0000000000000001 conn={conn} {' '.join(words)}"
    record = parse_line(line)
    assert record is not None, line
    known = driver_line(5, 0, record, line)
    assert not isinstance(known, OtherLine), line
    assert (known.kind, known.seq, known.text) == (record.ev, 7, line)


def test_the_driver_has_such_lines() -> None:
    assert {"call", "done", "disc", "recv", "accept", "clean", "unload"} <= {
        text.split()[0].removeprefix("ev=") for text in formats()
    }


@pytest.mark.parametrize("told", ["ev=news colour=red", "ev=canary token=00000001 base=0000000000000001"])
def test_a_line_of_an_unknown_word_or_of_a_connection_that_it_cannot_have_is_of_no_kind(told: str) -> None:
    line = f"WSKLAB1 seq=00000007 t=0000000000000001 conn=1 {told}"
    record = parse_line(line)
    assert record is not None
    assert driver_line(5, 0, record, line) == OtherLine(t=5, conn=0, seq=7, text=line)
