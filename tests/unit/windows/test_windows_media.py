"""The discs that users bring: what is read from them, and what every wrong one is called."""

import contextlib
import io
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.windows_media import SERVER_2022, virtio_iso, wim, wim_xml, windows_iso

from wsklab.images.windows.media import catalogue, installation_media
from wsklab.images.windows.media.disc import DiscError, open_disc, write_disc
from wsklab.images.windows.media.installation_media import WrongMedium
from wsklab.images.windows.media.wim import MOST_XML, WimError, read_images

CORE = {**SERVER_2022, "index": 1, "installation": "Server Core"}
WINDOWS_11 = {"index": 1, "edition": "Professional", "installation": "Client", "build": 26200,
              "title": "Windows 11 Pro"}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def server(folder: Path) -> Path:
    return windows_iso(folder / "server.iso", [CORE, SERVER_2022])


@pytest.fixture(scope="module")
def virtio(folder: Path) -> Path:
    return virtio_iso(folder / "virtio.iso", ("2k22", "w11"))


def test_a_windows_disc_says_what_it_installs(server: Path) -> None:
    medium = installation_media.inspect(server)
    assert medium.label == "SSS_X64FREE_EN-US_DV9"
    assert [(image.index, image.installation) for image in medium.images] == [(1, "Server Core"), (2, "Server")]
    chosen = installation_media.choose(medium, "windows-2022", catalogue.version("windows-2022"))
    assert (chosen.index, chosen.edition, chosen.build, chosen.language) == (2, "ServerStandardEval", 20348, "en-US")
    assert medium.boots_on == {"ovmf", "seabios"}


def test_a_disc_of_another_version_is_named_with_the_command_that_takes_it(folder: Path) -> None:
    path = windows_iso(folder / "eleven.iso", [WINDOWS_11])
    says = r"not install Windows Server 2022: it has Windows 11 Pro \(build 26200\); `wsklab image build windows-11 "
    with pytest.raises(WrongMedium, match=says):
        installation_media.choose(installation_media.inspect(path), "windows-2022", catalogue.version("windows-2022"))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ({**SERVER_2022, "arch": 12}, "for ARM64; the lab needs x64"),
        (CORE, r"no edition that the lab installs .*: it has ServerStandardEval \(Server Core\)"),
        ({**SERVER_2022, "build": 14393}, r"it has .*\(build 14393\)$"),
    ],
)
def test_a_disc_without_a_fitting_edition_says_what_it_has(folder: Path, image: dict[str, object], says: str) -> None:
    path = windows_iso(folder / "unfit.iso", [image])
    with pytest.raises(WrongMedium, match=says):
        installation_media.choose(installation_media.inspect(path), "windows-2022", catalogue.version("windows-2022"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html><html>sign in</html>" + b" " * 90000, "is a web page"),
        (b"<html>" + b"x" * 10, "is a web page"),
        (b"PK\3\4" + b"\0" * 90000, "is a ZIP archive"),
        (b"MZ" + b"\0" * 90000, "is a Windows program"),
        (wim(wim_xml([SERVER_2022])), "is a WIM file: give the whole ISO"),
        (b"\0" * 20000, "ends after 20000 bytes"),
        (b"\0" * 90000, "is not a disc"),
    ],
)
def test_what_is_no_disc_is_called_what_it_is(folder: Path, content: bytes, says: str) -> None:
    path = folder / "wrong.iso"
    path.write_bytes(content)
    with pytest.raises(WrongMedium, match=says):
        installation_media.inspect(path)


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(WrongMedium, match=r"nonesuch\.iso cannot be read: No such file"):
        installation_media.inspect(folder / "nonesuch.iso")


def test_a_download_that_broke_off_is_said_to_be_incomplete(server: Path, folder: Path) -> None:
    path = folder / "cut.iso"
    whole = server.read_bytes()
    for size in (len(whole) - 2048, len(whole) // 2, 40000):
        path.write_bytes(whole[:size])
        with pytest.raises(WrongMedium, match=rf"has {size} of the {len(whole)} bytes .* not complete"):
            installation_media.inspect(path)


def test_other_discs_are_recognised(folder: Path, virtio: Path) -> None:
    with pytest.raises(WrongMedium, match="looks like the virtio-win disc"):
        installation_media.inspect(virtio)
    write_disc({"casper/vmlinuz": b"x"}, "LINUX", folder / "linux.iso")
    with pytest.raises(WrongMedium, match="looks like a Linux disc"):
        installation_media.inspect(folder / "linux.iso")
    write_disc({"sources/install.swm": b"x"}, "SPLIT", folder / "split.iso")
    with pytest.raises(WrongMedium, match="split"):
        installation_media.inspect(folder / "split.iso")


def test_a_disc_that_cannot_be_started_is_refused(folder: Path) -> None:
    write_disc({"sources/install.wim": wim(wim_xml([SERVER_2022]))}, "REPACKED", folder / "repacked.iso")
    medium = installation_media.inspect(folder / "repacked.iso")
    with pytest.raises(WrongMedium, match="bootx64"):
        installation_media.require_boot(medium, "ovmf")


def test_drivers_are_those_of_the_version_without_symbols(virtio: Path) -> None:
    label, files = installation_media.read_drivers(virtio, catalogue.version("windows-11"))
    assert label == "virtio-win-0.1.285"
    assert files["viostor/viostor.inf"] == b"viostor w11 viostor.inf"
    assert files["NetKVM/netkvm.sys"] == b"NetKVM w11 netkvm.sys"
    assert {path.rpartition(".")[2] for path in files} == {"inf", "sys", "cat"}


def test_a_driver_disc_that_lacks_something_says_what(folder: Path, virtio: Path, server: Path) -> None:
    with pytest.raises(WrongMedium, match=r"viostor/2k25/amd64/viostor\.inf"):
        installation_media.read_drivers(virtio, catalogue.version("windows-2025"))
    lacking = virtio_iso(folder / "lacking.iso", leave_out="fwcfg")
    with pytest.raises(WrongMedium, match=r"it has no fwcfg/2k22/amd64/fwcfg\.inf\. A recent one"):
        installation_media.read_drivers(lacking, catalogue.version("windows-2022"))
    with pytest.raises(WrongMedium, match="is not a virtio-win disc"):
        installation_media.read_drivers(server, catalogue.version("windows-2022"))


def test_hashes_are_remarks_and_never_gates() -> None:
    known = catalogue.catalogue().media[0]
    assert known.file and known.title in installation_media.remark(Path("any.iso"), known.sha256)
    assert installation_media.remark(Path(known.file), "0" * 64).startswith("careful")
    assert "no fault" in installation_media.remark(Path("mine.iso"), "0" * 64)


def test_recorded_media_belong_to_versions_and_are_different() -> None:
    found = catalogue.catalogue()
    assert {medium.version for medium in found.media} == set(found.versions)
    assert len({medium.sha256 for medium in found.media}) == len(found.media)


@pytest.mark.parametrize(
    ("build", "kind", "name"),
    [(19045, "client", "windows-10"), (26200, "client", "windows-11"), (17763, "server", "windows-2019"),
     (17763, "client", "windows-10"), (20348, "server", "windows-2022"), (26100, "server", "windows-2025"),
     (14393, "server", None)],
)  # fmt: skip
def test_a_build_number_belongs_to_a_version(build: int, kind: str, name: str | None) -> None:
    assert catalogue.version_of(build, kind) == name


def test_evaluation_media_get_no_key() -> None:
    version = catalogue.version("windows-2022")
    assert version.key("ServerStandardEval") is None
    assert version.key("ServerStandard") == version.keys["ServerStandard"]


def test_our_names_are_found_whatever_their_case_and_told_from_others(folder: Path) -> None:
    write_disc({"A/b/C.Txt": b"1", "a-file": b"2" * 5000}, "LABEL", folder / "names.iso")
    with open_disc(folder / "names.iso") as disc:
        assert disc.label == "LABEL"
        assert sorted(disc.names()) == ["A", "a-file"]
        assert disc.read("a/B/c.txt") == b"1" and disc.read("a-file") == b"2" * 5000
        assert not disc.has("a/b/d") and not disc.has("a-file/x")
        with pytest.raises(DiscError, match="has no file a/b/d"):
            disc.read("a/b/d")


@pytest.mark.parametrize("path", ["a" * 65, "a//b", "ä", ""])
def test_names_that_windows_would_not_see_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(DiscError, match="cannot hold"):
        write_disc({path: b""}, "LABEL", folder / "refused.iso")


def test_a_wim_of_another_tool_is_read(folder: Path) -> None:
    """wimlib's own file, where it is installed; the format is not only what our tests write."""
    try:
        (folder / "tree").mkdir()
        command = [
            "wimlib-imagex",
            "capture",
            str(folder / "tree"),
            str(folder / "x.wim"),
            "Name",
            "--compress=none",
            "--image-property",
            "WINDOWS/EDITIONID=ServerStandard",
            "--image-property",
            "WINDOWS/ARCH=9",
        ]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("wimlib-imagex is not installed")
    with (folder / "x.wim").open("rb") as file:
        (image,) = read_images(file)
    assert (image.index, image.name, image.edition, image.architecture) == (1, "Name", "ServerStandard", "x64")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a WIM"),
        (wim("<WIM/>")[:100], "ends within its header"),
        (wim("<WIM/>")[:-2], "cut off"),
        (wim("<WIM>"), "damaged description"),
        (wim('<!DOCTYPE x [<!ENTITY a "b">]><WIM/>'), "declarations"),
        (wim("<WIM/>")[:72] + struct.pack("<QQQ", MOST_XML + 1 | 2 << 56, 208, MOST_XML + 1), "header|impossible"),
    ],
)
def test_a_damaged_wim_says_how(content: bytes, says: str) -> None:
    with pytest.raises(WimError, match=says):
        read_images(io.BytesIO(content))


@given(st.binary(max_size=600))
def test_any_bytes_are_a_wim_or_not(content: bytes) -> None:
    with contextlib.suppress(WimError):
        read_images(io.BytesIO(b"MSWIM\0\0\0" + content))


def _damage(data: st.DataObject, whole: bytes) -> bytes:
    """Return it with some bytes changed, mostly where there are any, and perhaps the end cut off."""
    damaged = bytearray(whole)
    used = [at for at, byte in enumerate(whole) if byte]
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.sampled_from(used))] = data.draw(st.integers(0, 255))
    return bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)


@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.sampled_from(["server", "virtio"]))
def test_a_damaged_disc_is_read_or_refused_with_a_reason(
    folder: Path, server: Path, virtio: Path, data: st.DataObject, which: str
) -> None:
    path = folder / "damaged.iso"
    path.write_bytes(_damage(data, {"server": server, "virtio": virtio}[which].read_bytes()))
    for read in (
        installation_media.inspect,
        lambda one: installation_media.read_drivers(one, catalogue.version("windows-2022")),
    ):
        try:
            read(path)
        except WrongMedium as error:
            assert str(path) in str(error)
