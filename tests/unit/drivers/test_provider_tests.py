"""The provider's own tests with a mutant in it: they pass as it is, and name what a fault breaks."""

from __future__ import annotations

import shutil

import pytest

from wsklab.drivers.build import HOME
from wsklab.drivers.errors import DriverError
from wsklab.drivers.provider_tests import ProviderTests

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

CHECK = "if (!npi || !npi->Dispatch || !registration)"


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> ProviderTests:
    return ProviderTests(tmp_path_factory.mktemp("provider") / "native")


def changed(before: str, after: str) -> str:
    source = (HOME / "standin/register.c").read_text()
    assert before in source
    return source.replace(before, after)


def test_a_fault_is_named_by_the_check_that_it_breaks(tests: ProviderTests) -> None:
    failed = tests.failure("one", "standin/register.c", changed(CHECK, "if (npi)"))
    assert failed is not None
    assert ".c:" in failed


def test_what_does_not_compile_says_so(tests: ProviderTests) -> None:
    with pytest.raises(DriverError, match="failed"):
        tests.failure("two", "standin/register.c", changed(CHECK, "if (npi"))


def test_nothing_of_a_mutant_is_left(tests: ProviderTests) -> None:
    tests.failure("three", "standin/register.c", changed(CHECK, "if (npi)"))
    assert not list(tests.folder.glob("three*"))
