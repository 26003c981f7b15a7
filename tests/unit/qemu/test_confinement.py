"""What QEMU is let do: whose processes they are, what they can reach, and which files are handed over to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.confinement import USER, Confinement, choose, open_to_all
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.handover import Handover
from wsklab.qemu.process import Child
from wsklab.qemu.profile import ImageFiles

ALL = "0         0 4294967295"
CAPABLE = "Name:\tpython\nCapEff:\t000001ffffffffff\n"
DOCKER = "CapEff:\t00000000a80425fb\n"
"""What a container of Docker's has: enough."""
OWN = Confinement(USER, (), True)
KEPT = Confinement(None, (), True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as somebody else")


@pytest.mark.parametrize(
    ("status", "uid_map", "runnable", "kvm", "chosen"),
    [
        (CAPABLE, ALL, True, None, OWN),
        (DOCKER, "0 100000 65536", True, None, OWN),
        (CAPABLE, ALL, True, (0o20660, 104), Confinement(USER, (104,), True)),
        (CAPABLE, ALL, True, (0o20666, 0), OWN),
        (CAPABLE, ALL, True, (0o20600, 0), KEPT),  # root's alone
        (CAPABLE, ALL, True, (0o20660, 0), KEPT),  # root's group can do more than KVM
        (CAPABLE, ALL, False, None, KEPT),  # a QEMU in root's home
        (CAPABLE, "0 1000 1", True, None, KEPT),  # there is one user alone
        ("CapEff:\t0000000000000100\n", ALL, True, None, KEPT),
        ("CapEff:\t0000000000000000\n", ALL, True, None, Confinement()),
    ],
)
def test_root_gives_away_as_much_as_it_can(
    status: str, uid_map: str, runnable: bool, kvm: tuple[int, int] | None, chosen: Confinement
) -> None:
    assert choose(0, status, uid_map, runnable, kvm) == chosen


@given(st.integers(1, 1 << 32), st.text(), st.booleans())
def test_anybody_else_stays_who_he_is(user: int, status: str, runnable: bool) -> None:
    assert choose(user, status, ALL, runnable) == Confinement()


@needs_root
@pytest.mark.parametrize("confinement", [OWN, KEPT, Confinement(USER, (104, 105), True), Confinement()])
def test_a_confined_process_has_no_capability_and_gets_none(tmp_path: Path, confinement: Confinement) -> None:
    confinement.open_folder(tmp_path)
    for name in ("stdout", "stderr"):
        confinement.give(tmp_path / name)
    child = Child(["sh", "-c", "cat /proc/$$/status >stdout"], tmp_path / "stderr", confined=confinement, cwd=tmp_path)
    assert child.wait(within(10)) == 0, child.stderr_tail()
    lines = (tmp_path / "stdout").read_text().splitlines()
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert found["NoNewPrivs"] == "1"
    assert set(found["Uid"].split()) == set(found["Gid"].split()) == {str(confinement.user or 0)}
    if confinement.bounded:
        assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    if confinement.user is not None:
        assert found["Groups"].split() == [str(group) for group in confinement.groups]


@needs_root
@pytest.mark.parametrize("does", ["cat secret", "echo >made", "ln -s /etc/passwd link", "mv given moved", "ls"])
def test_a_confined_process_reaches_its_own_files_alone(tmp_path: Path, does: str) -> None:
    OWN.open_folder(tmp_path)
    (tmp_path / "secret").touch(mode=0o600)
    OWN.give(tmp_path / "given")
    command = f"echo mine >given && grep -q mine given && {{ {does}; }}"
    child = Child(["sh", "-c", command], tmp_path / "stderr", confined=OWN, cwd=tmp_path)
    assert child.wait(within(10)) not in (0, None)
    assert "denied" in child.stderr_tail()
    assert (tmp_path / "given").read_text() == "mine\n"
    OWN.take(tmp_path / "given")
    assert (tmp_path / "given").stat().st_uid == 0


@pytest.mark.parametrize(
    "confinement", [Confinement(), pytest.param(Confinement(USER, (), os.geteuid() == 0), marks=needs_root)]
)
def test_a_file_is_read_whatever_stands_before_it(tmp_path: Path, confinement: Confinement) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    for name in ("kernel", "initrd", "disk"):
        (closed / name).write_text(f"this is the {name}\n")
    (closed / "kernel").chmod(0o400)
    closed.chmod(0o700)
    (tmp_path / "run").mkdir()
    confinement.open_folder(tmp_path / "run")
    with Handover(confinement) as handover:
        files = handover.image(ImageFiles(closed / "disk", closed / "kernel", closed / "initrd", "quiet"))
        assert files.kernel_args == "quiet" and files.cdroms == ()
        assert files.disk == Path("/dev/fdset/1")
        fd = handover.options[1].split(",")[0].removeprefix("fd=")
        command = f"cat {files.kernel} {files.initrd} <&{fd} - >&2"
        child = Child(
            ["bash", "-c", command],
            tmp_path / "said",
            pass_fds=[*handover.fds],
            confined=confinement,
            cwd=tmp_path / "run",
        )
        assert f"# file descriptor {fd}: {closed / 'disk'}\n" in handover.legend
    assert child.wait(within(10)) == 0
    assert child.stderr_tail() == "this is the kernel\nthis is the initrd\nthis is the disk\n"
    with pytest.raises(OSError):
        os.fstat(int(fd))


def test_commas_in_paths_do_not_end_an_option(tmp_path: Path) -> None:
    (tmp_path / "a,b").touch()
    with Handover(Confinement()) as handover:
        handover.block(tmp_path / "a,b")
        assert handover.options[1].endswith(",opaque=" + str(tmp_path / "a,,b"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Handover(Confinement()) as handover, pytest.raises(MachineError, match=r"cannot open .*nonesuch.iso, which"):
        handover.image(ImageFiles(cdroms=(tmp_path / "nonesuch.iso",)))


def test_a_program_behind_a_closed_door_is_not_open_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_to_all("sh")
    (tmp_path / "sh").touch()
    (tmp_path / "sh").chmod(0o755)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not open_to_all("sh")
