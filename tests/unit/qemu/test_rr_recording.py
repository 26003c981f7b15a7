"""QEMU's record and replay: the command line, what cannot be recorded, and where two serial logs part."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu import recording
from wsklab.qemu.profile import ImageFiles, Profile, command_line, load_profile

FILES = ImageFiles(Path("/i/disk.qcow2"), Path("/i/vmlinuz"), Path("/i/initrd.img"), "root=/dev/vda")


def words(profile: Profile, rr: recording.Mode | None) -> list[str]:
    return command_line(
        profile,
        FILES,
        name="target",
        accelerator="tcg",
        overlay=Path("overlay.qcow2"),
        serial_fds={"debug": 11, "agent": 12, "console": 13},
        qmp_fd=10,
        wire_fd=14,
        rr=rr,
    )


def values(command: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(command) if word == option]


def test_every_input_of_a_recorded_machine_is_recorded() -> None:
    command = words(load_profile("standin"), "record")
    assert values(command, "-icount") == ["shift=4,rr=record,rrfile=rr.bin"]
    assert values(command, "-serial") == ["chardev:debug", "chardev:agent"], "input of `-device isa-serial` is lost"
    assert [one for one in values(command, "-device") if "isa-serial" in one] == [
        "isa-serial,chardev=console,index=2,irq=5"
    ]
    netdevs = [value.split("id=")[1].split(",")[0] for value in values(command, "-netdev")]
    filters = [value.rpartition("netdev=")[2] for value in values(command, "-object")]
    assert netdevs == filters == ["wire", "management"]
    cards = [value for value in values(command, "-device") if value.startswith("virtio-net")]
    assert len(cards) == 2 and all(",tx=timer," in card for card in cards), "replay stalls at the first frame sent"
    disks = values(command, "-drive")
    assert disks[0].startswith("id=overlay,") and disks[1] == "driver=blkreplay,if=none,image=overlay,id=disk"
    assert "virtio-blk-pci,drive=disk" in values(command, "-device")


def test_a_replay_has_the_same_machine_and_lets_nobody_in() -> None:
    record, replay = (words(load_profile("standin"), mode) for mode in ("record", "replay"))
    differing = [(a, b) for a, b in zip(record, replay, strict=True) if a != b]
    assert [a.partition(",")[0] for a, _ in differing] == ["shift=4", "user"]
    assert not any("hostfwd" in word for word in replay)


def test_a_machine_that_is_not_recorded_has_nothing_of_it() -> None:
    command = words(load_profile("standin"), None)
    assert not any("replay" in word or "icount" in word or "tx=timer" in word for word in command)


@pytest.mark.parametrize(
    ("changes", "accelerator", "says"),
    [
        ({}, "kvm", "KVM cannot be recorded"),
        ({"cpus": 2}, "tcg", "2 processors cannot be recorded"),
        ({"tpm": True}, "tcg", "TPM"),
        ({"debug": "kd"}, "tcg", "Windows"),
    ],
)
def test_what_cannot_be_recorded_is_said(changes: dict[str, object], accelerator: str, says: str) -> None:
    profile = load_profile("standin").model_copy(update=changes)
    said = recording.refusal(profile, accelerator)  # type: ignore[arg-type]
    assert said is not None and says in said
    assert recording.refusal(load_profile("standin"), "tcg") is None


def test_a_qemu_without_replay_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("  filter-mirror\n", False), ("  filter-mirror\n  filter-replay\n", True)):
        program = tmp_path / "qemu-system-x86_64"
        program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        recording.available.cache_clear()
        assert recording.available() is expected
    recording.available.cache_clear()


def test_a_recording_whose_qemu_was_killed_is_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "rr.bin"
    file.write_bytes(bytes(12) + b"events")
    assert not recording.whole(file)
    file.write_bytes(bytes.fromhex("00e0200c") + bytes(8) + b"events")
    assert recording.whole(file)
    file.write_bytes(b"")
    assert not recording.whole(file)


def test_the_first_difference_has_its_byte_and_its_line() -> None:
    found = recording.first_difference(b"one\ntwo\nthree\n", b"one\ntwx\nthree\n")
    assert found == recording.Difference(6, 2, b"two", b"twx")


def test_what_is_missing_is_a_difference_at_the_end_only() -> None:
    assert recording.first_difference(b"one\ntwo\n", b"one\n", ended=False) is None
    assert recording.first_difference(b"one\ntwo\n", b"one\n") == recording.Difference(4, 2, b"two", b"")
    assert recording.first_difference(b"one\n", b"one\ntwo", ended=False) == recording.Difference(4, 2, b"", b"two")


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_one_changed_byte_is_found_wherever_it_is(text: bytes, place: int, change: int) -> None:
    assert recording.first_difference(text, text) is None
    if place < len(text):
        other = bytearray(text)
        other[place] ^= change
        found = recording.first_difference(text, bytes(other))
        assert found is not None and found.offset == place


def test_the_last_count_before_a_line_is_found() -> None:
    stops: list[tuple[int, int]] = []
    for at, count in ((0, 10), (0, 20), (100, 30), (100, 40), (150, 50)):
        stops = recording.later(stops, at, count)
    assert stops == [(0, 20), (100, 40), (150, 50)]
    assert recording.before(stops, 100) == (40, 50), "the byte at 100 comes after 40 instructions"
    assert recording.before(stops, 99) == (20, 40)
    assert recording.before(stops, 150) == (50, None)
    assert recording.before([(5, 10)], 4) is None
