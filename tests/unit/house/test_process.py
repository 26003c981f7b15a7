"""The process `wsklab` from its first moment to its exit code, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FAULTY = """
import wsklab.orchestrator.commands.cli as cli
from wsklab.orchestrator.__main__ import entry
def main(**_): raise {error}
cli.main = main
entry()
"""


def ended(error: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FAULTY.format(error=error)],
        capture_output=True,
        text=True,
        check=False,
        env={"TMPDIR": str(folder)},
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "OSError(28, 'No space left on device', '/x/y')",
            "/x/y: No space left on device; make room, or name a folder on another disk; what was written until then "
            "is valid.",
        ),
        ("OSError('odd')", "wsklab: this host: odd; what was written until then is valid."),
        ("KeyboardInterrupt", "wsklab: interrupted; what was done until then is kept."),
    ],
)
def test_whatever_ends_it_is_one_sentence(tmp_path: Path, error: str, sentence: str) -> None:
    assert ended(error, tmp_path).stderr == sentence + "\n"


def test_a_mistake_of_ours_is_not_taken_for_a_failed_scenario(tmp_path: Path) -> None:
    done = ended("KeyError('x')", tmp_path)
    (trace,) = tmp_path.iterdir()
    assert done.returncode == 3
    assert done.stderr == (
        f"wsklab: this is a mistake in wsklab, KeyError: 'x' (trace: {trace}); please send the trace.\n"
    )
    assert "Traceback" in trace.read_text()


STUBBORN = """
import signal
from wsklab.orchestrator import __main__ as process

process._on_interruption(process._raise)
try:
    print("works", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("puts things in order", flush=True)
    while True:
        signal.pause()
"""


def test_the_end_in_order_is_not_interrupted_by_a_second_signal_and_the_third_ends_it() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "works\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "puts things in order\n"
        process.send_signal(signal.SIGTERM)
        assert "once more to leave at once" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.stderr.read()


def test_the_trace_of_a_thread_goes_to_a_file(tmp_path: Path) -> None:
    code = (
        "import threading; from wsklab.orchestrator import __main__ as process;"
        "threading.excepthook = process._thread_failed;"
        "t = threading.Thread(target=lambda: {}['x']); t.start(); t.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    (trace,) = tmp_path.iterdir()
    assert done.stderr == f"wsklab: in the background: a mistake in wsklab, KeyError: 'x' (trace: {trace})\n"
    assert "Traceback" in trace.read_text()


def test_an_interruption_of_which_a_library_makes_another_exception_is_one(tmp_path: Path) -> None:
    swallowed = (
        "exec('import os, signal\\ntry:\\n os.kill(os.getpid(), signal.SIGINT)\\n"
        "except KeyboardInterrupt: pass') or ValueError('x')"
    )
    done = ended(swallowed, tmp_path)
    assert done.stderr == "wsklab: interrupted; what was done until then is kept.\n"
    assert done.returncode == 130


@pytest.mark.parametrize("module", ["click.core", "wsklab.images", "wsklab.orchestrator.commands.cli"])
def test_an_interruption_while_it_still_loads_shows_no_trace(module: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "wsklab.orchestrator", "run", "nonesuch"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    for line in process.stderr:
        if line.split("|")[-1].strip() == module:
            process.send_signal(signal.SIGINT)
            break
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode == 130


@pytest.mark.parametrize("verb", ["remove", "verify"])
def test_an_image_that_is_not_in_the_store_is_a_wrong_word(tmp_path: Path, verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsklab.orchestrator", "image", verb, "nonesuch"],
        capture_output=True,
        text=True,
        check=False,
        env={"WSKLAB_CACHE": str(tmp_path)},
    )
    assert done.returncode == 2
    assert done.stderr == "wsklab: there is no image 'nonesuch' in the store; there is: none\n"


def test_where_the_output_has_no_utf8_signs_are_shown_in_plain_letters() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsklab.orchestrator", "doctor"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "WSKLAB_CACHE": "/nonexistent"},
    )
    assert done.returncode in (0, 3), done.stderr
    assert done.stdout.startswith((b"+ ok    QEMU", b"x fail  QEMU")), done.stdout
