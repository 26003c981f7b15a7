"""The store and a worker's own copies: by content, checked, fetched once, and evidence that comes back."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.rows import result
from support.stored_image import an_image

from wsklab.images.secure import sha256
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.fleet.job import Evidence
from wsklab.orchestrator.fleet.transport import packing, shipping
from wsklab.orchestrator.fleet.transport.store import Cache, Store, StoreError, hidden


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1000)
    return path


def test_a_file_comes_back_by_its_content(store: Store, file: Path, tmp_path: Path) -> None:
    digest = store.put(file)
    assert digest == sha256(file) == store.put(file)
    assert store.has(digest)
    assert Cache(tmp_path / "cache").file(digest, store).read_bytes() == file.read_bytes()
    store.remove(digest)
    assert not store.has(digest)


def test_what_is_missing_or_damaged_is_one_sentence(tmp_path: Path, file: Path) -> None:
    store, cache = Store(str(tmp_path / "store")), Cache(tmp_path / "cache")
    with pytest.raises(StoreError, match="does not have"):
        cache.file("0" * 64, store)
    digest = store.put(file)
    (tmp_path / "store" / "sha256" / digest[:2] / digest[2:]).write_bytes(b"another")
    with pytest.raises(StoreError, match="is damaged"):
        cache.file(digest, store)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


class Counting(Store):
    """Counts how often it is asked."""

    asked = 0

    def get(self, digest: str, path: Path) -> None:
        self.asked += 1
        super().get(digest, path)


def test_many_want_a_file_and_it_is_fetched_once(tmp_path: Path, file: Path) -> None:
    store = Counting(str(tmp_path / "store"))
    digest = store.put(file)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: Cache(tmp_path / "cache").file(digest, store), range(16)))
    assert (len(paths), store.asked) == (1, 1)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "store"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_is_a_store_that_takes_nothing(served: str, tmp_path: Path, file: Path) -> None:
    digest = Store(str(tmp_path / "store")).put(file)
    web = Store(served)
    assert not web.writable
    assert Cache(tmp_path / "cache").file(digest, web).read_bytes() == file.read_bytes()
    assert web.found(file) == digest
    file.write_bytes(b"new")
    with pytest.raises(StoreError, match="takes no files"):
        web.found(file)


def test_no_password_is_shown() -> None:
    assert hidden("s3://key:secret@bucket/x") == "s3://key:***@bucket/x"
    assert hidden("/folder/a@b:c") == "/folder/a@b:c"
    with pytest.raises(UsageError, match="cannot be used"):
        Store("nosuch://x")


def test_an_image_goes_through_the_store_whole(tmp_path: Path) -> None:
    image, store, told = an_image(tmp_path / "one"), Store(str(tmp_path / "store")), list[str]()
    shipping.publish(store, [image], told.append)
    shipping.publish(store, [image], told.append)
    assert told == ["publishing the image peer"]
    ref = shipping.newest_peer(store)
    assert ref == shipping.image_ref(image)
    fetched = shipping.fetch_image(ref, tmp_path / "two", store)
    assert fetched.manifest == image.manifest
    assert {path.name: path.read_bytes() for path in fetched.folder.iterdir()} == {
        path.name: path.read_bytes() for path in image.folder.iterdir()
    }
    assert (fetched.ssh_key.stat().st_mode & 0o777) == 0o600
    assert shipping.fetch_image(ref, tmp_path / "two", None).folder == fetched.folder, "it is here"
    with pytest.raises(StoreError, match="is not here, and no store"):
        shipping.fetch_image(ref, tmp_path / "three", None)


def a_run(folder: Path, name: str) -> None:
    for part in (name, f"{name}-again"):
        (folder / "evidence" / part / "deeper").mkdir(parents=True)
        (folder / "evidence" / part / "wire.pcapng").write_bytes(b"frames")
        (folder / "evidence" / part / "deeper" / "observations.jsonl").write_text("{}")


@pytest.mark.parametrize("inline", [True, False])
def test_evidence_comes_back_whole(tmp_path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path / "store"))
    if not inline:
        monkeypatch.setattr(packing, "INLINE", 0)
    a_run(tmp_path / "worker", "first-2")
    evidence = packing.pack(tmp_path / "worker", "first-2", result("first", "fail", 2), True, store)
    assert bool(evidence.inline) == inline
    assert list((tmp_path / "worker" / "evidence").iterdir()) == []
    client = tmp_path / "client"
    client.mkdir()
    packing.unpack(evidence, "first-2", "first-2", client, store)
    found = {str(path.relative_to(client / "evidence")) for path in client.rglob("*") if path.is_file()}
    inside = ("wire.pcapng", "deeper/observations.jsonl")
    assert found == {f"{part}/{name}" for part in ("first-2", "first-2-again") for name in inside}
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == [], "nothing is left in the store"


def test_evidence_comes_with_the_row_where_the_store_may_only_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Store, path: Path) -> str:
        raise PermissionError(13, "Permission denied", "/store/sha256")

    monkeypatch.setattr(Store, "put", refused)
    monkeypatch.setattr(packing, "INLINE", 0)
    a_run(tmp_path, "first")
    assert packing.pack(tmp_path, "first", result("first", "fail"), False, Store(str(tmp_path / "store"))).inline


def test_of_a_repetition_that_passed_the_recording_may_stay_behind(tmp_path: Path) -> None:
    for number, kept in ((1, True), (2, False)):
        a_run(tmp_path / str(number), "first")
        evidence = packing.pack(tmp_path / str(number), "first", result("first", "pass", number), True, None)
        packing.unpack(evidence, "first", "first", tmp_path / str(number), None)
        assert (tmp_path / str(number) / "evidence" / "first" / "wire.pcapng").exists() == kept
        assert (tmp_path / str(number) / "evidence" / "first" / "deeper" / "observations.jsonl").exists()


def hostile(name: str, kind: bytes = tarfile.REGTYPE) -> Evidence:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member, io.BytesIO())
    return Evidence(inline=base64.b64encode(packed.getvalue()).decode())


@pytest.mark.parametrize(
    "evidence",
    [
        hostile("../outside"),
        hostile("first/../../outside"),
        hostile("/etc/outside"),
        hostile("other/file"),
        hostile("first/link", tarfile.SYMTYPE),
        Evidence(inline="AAAA"),
        Evidence(sha256="0" * 64),
    ],
)
def test_nothing_of_what_a_worker_sends_is_believed(tmp_path: Path, evidence: Evidence) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(LabError):
        packing.unpack(evidence, "first", "first", tmp_path / "run", Store(str(tmp_path / "store")))
    assert {path.name for path in tmp_path.rglob("*")} <= {"run", "evidence", "first", "store", "sha256"}


def test_evidence_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, "first")
    evidence = packing.pack(tmp_path, "first", replace(result("first"), verdict="fail"), False, None)
    monkeypatch.setattr(packing, "MOST", 3)
    with pytest.raises(LabError, match="larger than"):
        packing.unpack(evidence, "first", "first", tmp_path, None)
