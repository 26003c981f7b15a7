"""The samples as Microsoft's compiler would make them: they run as those that gcc makes, with the same verdicts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import run

from wsklab import images
from wsklab.drivers.build import Toolchain, build_sample

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(shutil.which("clang") is None or shutil.which("lld-link") is None, reason="needs clang and lld"),
]

SCENARIOS = ("any-close", "any-linger-zero", "any-data-then-fin", "any-still-open")


@pytest.mark.parametrize("name", ["echo", "pinger"])
def test_a_sample_is_judged_as_the_other_compilers_build_is(name: str, tmp_path: Path) -> None:
    """Cookies, Control Flow Guard and the rest change nothing that is observed, unlike the file."""

    def told(toolchain: Toolchain) -> tuple[str, dict[str, str], list[list[object]]]:
        built = build_sample(name, images.cache_folder(), toolchain=toolchain)
        file = ("--driver-file", str(built.path))
        done = run(tmp_path / toolchain, "--driver", name, *file, "--strict", *SCENARIOS)
        assert done.code == 0, done.stdout + done.stderr
        rows = [done.scenario(scenario)["observed"] for scenario in SCENARIOS]
        # Its own FIN is not compared: a scenario may be over before the sample has closed its socket.
        observed = [[d["abortive"] for d in row["disconnects"]] + ["rst" in row["wire"]["driver"]] for row in rows]
        return done.results["driver"]["sha256"], done.verdicts, observed

    gcc, *of_gcc = told("mingw")
    msvc, *of_msvc = told("msvc")
    assert of_gcc == of_msvc
    assert gcc != msvc
