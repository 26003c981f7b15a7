"""What dead processes leave is removed by lock, and nothing that anybody alive still needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.run import janitor
from wsklab.orchestrator.run.runner import new_folder

KEY, OTHER = "a" * 64, "b" * 64

HOLDERS = {
    "run": "from wsklab.orchestrator.run.runner import new_folder; new_folder(folder)",
    "build": "from wsklab.drivers import kept; it = kept.workplace(cache / 'drivers'); it.__enter__()",
    "image": "from wsklab.images.store import Store; it = Store(cache).building('peer', print); it.__enter__()",
    "snapshot": f"from wsklab.orchestrator.lab.snapshots import Snapshots; it = Snapshots(cache).saving('{KEY}'); "
    "it.__enter__()",
}


@contextmanager
def process(does: str, cache: Path, folder: Path) -> Iterator[Callable[[], None]]:
    """Run a process that has done this and goes on; yields how to kill it."""
    begins = "import sys; from pathlib import Path; cache, folder = map(Path, sys.argv[1:])"
    code = f"{begins}\n{does}\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(cache), str(folder)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"WSKLAB_CACHE": str(cache)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "\n"

        def kill() -> None:
            child.send_signal(signal.SIGKILL)
            child.wait()

        try:
            yield kill
        finally:
            kill()


def a_disk(path: Path, size: int = 1 << 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(range(256)) * (size >> 8))
    return path


@pytest.mark.parametrize(
    ("holder", "place", "says"),
    [
        ("run", "run/lab-1/target/overlay.qcow2", "a run that was killed left the disks of its labs (2 MiB)"),
        ("image", "cache/images/peer.partial/disk.qcow2", "half-made images"),
        ("image", "cache/images/mmdebstrap.XyZ/usr/bin/sh", "half-made images"),
        ("build", "cache/drivers/.building-XyZ/out/wsklab.sys", "half-made drivers"),
        ("build", "cache/drivers/.damaged-XyZ/0123/wsklab.sys", "half-made drivers"),
        ("snapshot", f"cache/snapshots/{KEY}.partial/target.qcow2", "half-kept snapshots"),
    ],
)
def test_what_a_killed_process_left_goes_and_what_a_living_one_needs_stays(
    tmp_path: Path, holder: str, place: str, says: str
) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    with process(HOLDERS[holder], cache, run) as kill:
        left = a_disk(tmp_path / place)
        beside = a_disk(run / "lab-1" / "peer" / "variables.qcow2")
        evidence = a_disk(run / "evidence" / "x" / "wire.pcapng", 256)
        assert list(janitor.tidy(cache)) == []
        assert left.exists()
        kill()
        (told,) = janitor.tidy(cache)
        assert says in told
        assert not left.exists()
        assert beside.exists() == (holder != "run")
        assert evidence.exists()
        assert list(janitor.tidy(cache)) == []


def test_a_new_run_in_the_place_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    with process(HOLDERS["run"], cache, run) as kill:
        kill()
    (run / janitor.LOCK).unlink()
    with process(HOLDERS["run"], cache, run):
        disk = a_disk(run / "lab-1" / "target" / "overlay.qcow2")
        assert list(janitor.tidy(cache)) == []
        assert disk.exists() and janitor.alive(run)


def test_a_folder_in_which_a_run_works_is_refused(tmp_path: Path) -> None:
    with process(HOLDERS["run"], tmp_path / "cache", tmp_path / "run"):
        with pytest.raises(UsageError, match="holds something already"):
            new_folder(tmp_path / "run")
        with pytest.raises(UsageError, match="another run works there"):
            janitor.Lease(tmp_path / "run", tmp_path / "cache")


def test_the_end_of_a_process_leaves_no_disk_and_no_lock(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lease = janitor.Lease(run, tmp_path / "cache")
    a_disk(run / "lab-3" / "target" / "overlay.qcow2")
    lease.end()
    assert [path for path in run.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "cache" / "runs").iterdir()) == []


def test_the_end_of_a_process_spares_another_run_in_the_same_place(tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    run.mkdir()
    lease = janitor.Lease(run, cache)
    run.rename(tmp_path / "elsewhere")
    with process(HOLDERS["run"], cache, run) as kill:
        disk = a_disk(run / "lab-1" / "target" / "overlay.qcow2")
        lease.end()
        assert disk.exists() and janitor.alive(run)
        kill()
        assert len(list(janitor.tidy(cache))) == 1


@pytest.mark.parametrize(
    ("manifest", "stays"),
    [(None, False), (b"", False), (b'{"name": "pe', False), (b"[]", False), (b'{"name": "of another version"}', True)],
)
def test_a_folder_that_is_no_image_goes_and_one_of_another_version_stays(
    tmp_path: Path, manifest: bytes | None, stays: bool
) -> None:
    image = a_disk(tmp_path / "images" / KEY / "disk.qcow2").parent
    other = a_disk(tmp_path / "images" / "refs" / "x", 256)
    if manifest is not None:
        (image / "manifest.json").write_bytes(manifest)
    told = list(janitor.tidy(tmp_path))
    assert (image.exists(), len(told)) == (stays, 0 if stays else 1)
    assert other.exists()


def test_a_kept_snapshot_without_its_manifest_goes(tmp_path: Path) -> None:
    gone = a_disk(tmp_path / "snapshots" / KEY / "target.qcow2").parent
    kept = a_disk(tmp_path / "snapshots" / OTHER / "target.qcow2").parent
    (kept / "manifest.json").write_text("{}")
    assert len(list(janitor.tidy(tmp_path))) == 1
    assert (gone.exists(), kept.exists()) == (False, True)


def test_a_cache_that_is_not_there_yet_is_no_trouble(tmp_path: Path) -> None:
    assert list(janitor.tidy(tmp_path / "none")) == []
