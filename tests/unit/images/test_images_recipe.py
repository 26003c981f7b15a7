"""Recipes, and the pure parts of the builder."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from wsklab.images import elf, packages, recipe
from wsklab.images.builder import require_space
from wsklab.images.cpio import Archive
from wsklab.images.errors import ImageError
from wsklab.images.slim import Tree

PEER = (recipe.RECIPES / "peer.yaml").read_text()


@pytest.mark.parametrize("name", recipe.names())
def test_recipes_load_and_their_sources_exist(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    for put in loaded.files.values():
        assert all(source.is_file() for source in put.sources())
        assert put.input or put.sources()


def test_the_standin_asks_for_the_drivers_files() -> None:
    assert recipe.load("standin").inputs() == ["driver:netio.sys", "driver:wskagent.exe"]


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ImageError, match=r"'nosuch'.*peer, standin"):
        recipe.load("nosuch")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("suite: bookworm", "suit: bookworm", "suit"),
        ("sbin/init:", "../sbin/init:", r"without '\.\.'"),
        ("sbin/init:", "/sbin/init:", "relative"),
        ("{program: guest/peer, mode: 0755}", "{mode: 0755}", "exactly one"),
        ("disk_mb: 256", "disk_mb: 1", "disk_mb"),
        ("name: peer", "name: [", "not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place(old: str, new: str, word: str) -> None:
    assert old in PEER
    with pytest.raises(ImageError, match=word):
        recipe.parse(PEER.replace(old, new), "peer.yaml")


def test_the_digest_covers_inputs_and_recipe(tmp_path: Path) -> None:
    standin = recipe.load("standin")
    inputs = {name: tmp_path / name for name in standin.inputs()}
    for path in inputs.values():
        path.write_bytes(b"one")
    before = standin.digest(inputs)
    assert standin.digest(inputs) == before
    assert standin.model_copy(update={"disk_mb": 2048}).digest(inputs) != before
    inputs["driver:netio.sys"].write_bytes(b"two")
    assert standin.digest(inputs) != before


def test_the_package_stage_does_not_depend_on_our_files() -> None:
    peer = recipe.load("peer")
    assert peer.model_copy(update={"files": {}}).package_digest() == peer.package_digest()
    assert peer.model_copy(update={"packages": ("dash",)}).package_digest() != peer.package_digest()


def test_apt_sources_of_anybody_else_stay_out(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://no.invalid/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian bookworm main contrib # ours\n"
        "deb-src http://a.invalid/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb deb-src\nURIs: http://b.invalid/debian\nSuites: bookworm bookworm-updates trixie\n"
        "Components:\n main\n non-free\nSigned-By: /d.gpg\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://c.invalid/debian\nSuites: bookworm\nComponents: main\n"
    )
    (tmp_path / "sources.list.d/other.list").write_text("deb http://other.invalid/x nodistro main\n")
    found = packages.debian_sources("bookworm", tmp_path)
    assert found == (
        "Types: deb\nURIs: http://a.invalid/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n\n"
        "Types: deb\nURIs: http://b.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /d.gpg\n"
    )


def test_no_sources_are_no_error(tmp_path: Path) -> None:
    assert packages.debian_sources("bookworm", tmp_path) == ""


def test_package_names_give_versions() -> None:
    listing = "busybox-static_1%3a1.35.0-4_amd64.deb\niso-codes_4.15.0-1_all.deb\n"
    assert packages.parse_package_list(listing) == {"busybox-static": "1:1.35.0-4", "iso-codes": "4.15.0-1"}


def test_elf_needs_are_those_that_readelf_shows() -> None:
    program = Path(shutil.which("bash") or "/bin/sh")
    shown = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    expected = [line.split("[")[1].rstrip("]") for line in shown.splitlines() if "(NEEDED)" in line]
    assert elf.needed_libraries(program.read_bytes()) == expected
    assert expected
    assert elf.needed_libraries(b"#!/bin/sh\n") == []


def _tree(files: dict[str, bytes | str]) -> Tree:
    """Return a tree of files (bytes) and links (str)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return Tree(tarfile.open(fileobj=io.BytesIO(out.getvalue())))


def test_links_bring_what_they_lead_to() -> None:
    tree = _tree({"bin/a": "../lib/b", "lib/b": "/lib/c", "lib/c": b"x", "lib/d": b"y", "bin/gone": "nowhere"})
    assert tree.closure(["bin/a", "bin/gone"]) == ["bin/a", "bin/gone", "lib/b", "lib/c"]
    assert tree.read("bin/a") == b"x"


def test_a_pattern_without_a_match_is_refused() -> None:
    with pytest.raises(ImageError, match=r"'sbin/\*'"):
        _tree({"bin/a": b""}).match(["bin/*", "sbin/*"])


def _module(depends: str) -> bytes:
    return b"\x7fELF...\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"


def test_modules_come_after_what_they_depend_on() -> None:
    tree = _tree({"lib/modules/virtio-net.ko": _module("failover,virtio_ring"), "lib/modules/failover.ko": _module(""),
                  "lib/modules/virtio_ring.ko": _module("virtio"), "lib/modules/virtio.ko": _module("")})  # fmt: skip
    assert list(packages.ordered_modules(tree, ("virtio_net",))) == ["failover", "virtio", "virtio_ring", "virtio_net"]
    with pytest.raises(ImageError, match="'nosuch'"):
        packages.ordered_modules(tree, ("nosuch",))


def test_cpio_reads_what_we_write(tmp_path: Path) -> None:
    archive = Archive()
    archive.folder("bin")
    archive.file("bin/tool", b"12345", 0o755)
    archive.link("bin/link", "tool")
    subprocess.run(["busybox", "cpio", "-i"], input=archive.finish(), cwd=tmp_path, check=True)
    assert (tmp_path / "bin/link").read_bytes() == b"12345"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755


def test_a_full_disk_is_said_before_the_build() -> None:
    require_space(Path("/x"), 1 << 40)
    with pytest.raises(ImageError, match=r"/x has 1 MB free.*WSKLAB_CACHE"):
        require_space(Path("/x"), 1 << 20)
