"""Images made by processes beside the command: their notes, the first failure, and that none outlives the block."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from wsklab import images
from wsklab.images.errors import ImageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run import preparation
from wsklab.orchestrator.run.ahead import Ahead
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.qemu import accel

MAKES = """
print("          downloading", flush=True)
print("   1.0 s  image peer")
print("          /cache/images/1234")
"""
FAILS = """
import sys
sys.exit("wsklab: the Debian packages cannot be downloaded; check the network and try again")
"""
GOES_ON = """
import pathlib, signal, sys, threading
half = pathlib.Path(sys.argv[1])
half.write_text("half an image")
def tidy(*_):
    half.unlink()
    sys.exit(130)
signal.signal(signal.SIGTERM, tidy)
print("          begun", flush=True)
threading.Event().wait()
"""


def builds(folder: Path, **scripts: str) -> Callable[[str], list[str]]:
    """Return commands that stand for builds of images; each may leave half of one in `folder`."""
    return lambda name: [sys.executable, "-c", scripts[name], str(folder / name)]


class Begun:
    """Waits for the first note of a build."""

    def __init__(self) -> None:
        self.seen = Event()

    def __call__(self, note: str) -> None:
        self.seen.set()


def test_a_build_tells_what_it_does_under_its_name(tmp_path: Path) -> None:
    notes: list[str] = []
    with Ahead(notes.append, builds(tmp_path, peer=MAKES)) as ahead:
        ahead.start("peer")
        assert ahead.finish("peer") is not None
        assert ahead.finish("standin") is None, "it was not missing"
    assert notes == ["          peer: downloading"], "the rest is for who builds an image by hand"


def test_whichever_fails_ends_all_in_order_with_one_sentence(tmp_path: Path) -> None:
    begun = Begun()
    with (
        pytest.raises(ImageError) as failed,
        Ahead(begun, builds(tmp_path, peer=GOES_ON, standin=FAILS)) as ahead,
    ):
        ahead.start("peer")
        begun.seen.wait(20)
        assert (tmp_path / "peer").exists()
        ahead.start("standin")
        ahead.finish("peer")
    assert str(failed.value) == (
        "the image standin could not be made: the Debian packages cannot be downloaded; check the network and try again"
    )
    assert not (tmp_path / "peer").exists(), "half an image was left"


def test_an_interruption_leaves_no_build_behind(tmp_path: Path) -> None:
    begun = Begun()
    with pytest.raises(KeyboardInterrupt), Ahead(begun, builds(tmp_path, peer=GOES_ON)) as ahead:
        ahead.start("peer")
        begun.seen.wait(20)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_drivers_are_compiled_while_the_images_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's image needs nothing of ours, the stand-in's the provider; the probe needs the peer's kernel."""
    did: list[str] = []

    class Recorded(Ahead):
        def start(self, name: str) -> None:
            did.append(f"start {name}")

        def finish(self, name: str) -> float | None:
            did.append(f"finish {name}")
            return 1.0

    def done(what: str, result: Any = None) -> Callable[..., Any]:
        return lambda *_, **__: (did.append(what), result)[1]  # type: ignore[func-returns-value]  # for its effect

    class Anything:
        inputs: dict[str, Path] = {}
        kernel = initrd = tmp_path

    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(preparation, "Ahead", Recorded)
    monkeypatch.setattr(images, "stored", lambda *_: False)
    monkeypatch.setattr(preparation, "build_standin", done("compile the provider", Anything()))
    monkeypatch.setattr(images, "ensure", done("take peer", Anything()))
    monkeypatch.setattr(accel, "choose", done("probe", ("tcg", "because")))
    monkeypatch.setattr(find, "find", done("take standin"))
    Preparation.prepare(tmp_path, Console(quiet=True), meanwhile=done("compile the driver"))
    assert did == [
        "start peer",
        "compile the provider",
        "start standin",
        "compile the driver",
        "finish peer",
        "take peer",
        "probe",
        "finish standin",
        "take standin",
    ]
