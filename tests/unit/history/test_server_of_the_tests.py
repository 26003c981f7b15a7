"""The PostgreSQL server of the tests does not outlive them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).parents[2]

CODE = """
import sys
sys.path.insert(0, {tests!r})
from support.postgres import cluster
with cluster() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_it_is_gone_with_the_tests_that_were_killed() -> None:
    words = [sys.executable, "-c", CODE.format(tests=str(ROOT))]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None and tests.stderr is not None
        folder = Path(parse_qs(urlsplit(tests.stdout.readline().strip()).query)["host"][0])
        assert (folder / "data/postmaster.pid").exists()
        tests.kill()
        tests.stderr.read()  # until whoever puts things in order has ended, too
    assert not folder.exists()
