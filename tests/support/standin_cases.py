"""The provider's own test cases: C functions in drivers/standin/tests."""

from __future__ import annotations

import re
from pathlib import Path

DRIVERS = Path(__file__).parents[2] / "drivers"

CASE = re.compile(r'^    \{"(\w+)", \w+\},$', re.MULTILINE)
CASES = [name for path in sorted(DRIVERS.glob("standin/tests/test_*.c")) for name in CASE.findall(path.read_text())]

STRICT = re.findall(r"^    CASE\((\w+)\),$", (DRIVERS / "strict/tests/test_strict.c").read_text(), re.MULTILINE)
"""The cases of the strict mode's rules."""
