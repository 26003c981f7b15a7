"""Machine profiles and the QEMU command line made from them."""

from itertools import pairwise
from pathlib import Path

import pytest

from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import ImageFiles, Profile, command_line, load_profile

FILES = ImageFiles(Path("/i/disk.qcow2"), Path("/i/vmlinuz"), Path("/i/initrd.img"), "root=/dev/vda")


def command(profile: Profile, **changes: object) -> list[str]:
    arguments: dict[str, object] = {
        "name": "target",
        "accelerator": "tcg",
        "overlay": Path("/run/overlay.qcow2"),
        "serial_fds": {"debug": 11, "agent": 12, "console": 13},
        "qmp_fd": 10,
        "wire_fd": 14,
        **changes,
    }
    return command_line(profile, FILES, **arguments)  # type: ignore[arg-type]


def values(words: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


def test_the_stand_in_under_tcg() -> None:
    words = command(load_profile("standin"))
    assert "-S" in words and "-nodefaults" in words and "-no-user-config" in words
    assert values(words, "-cpu") == ["max,smap=off"]
    assert values(words, "-accel") == ["tcg,tb-size=128"]
    assert values(words, "-append")[0].endswith(" root=/dev/vda")
    assert "-loadvm" not in words


def test_the_accelerator_decides_the_cpu() -> None:
    words = command(load_profile("standin"), accelerator="kvm")
    assert (values(words, "-cpu"), values(words, "-accel")) == (["host"], ["kvm"])


def test_serial_lines_are_com1_to_com3_and_share_no_interrupt() -> None:
    words = command(load_profile("peer"))
    ports = [device for device in values(words, "-device") if device.startswith("isa-serial")]
    assert ports == [
        "isa-serial,chardev=debug,index=0,irq=4",
        "isa-serial,chardev=agent,index=1,irq=3",
        "isa-serial,chardev=console,index=2,irq=5",
    ]
    assert "socket,id=debug,fd=11" in values(words, "-chardev")


def test_the_wire_comes_before_management() -> None:
    words = command(load_profile("standin"))
    cards = [device for device in values(words, "-device") if device.startswith("virtio-net")]
    assert [card.split(",")[2] for card in cards] == ["mac=52:54:00:77:00:10", "mac=52:54:00:0a:00:10"]
    assert values(words, "-netdev")[0] == "dgram,id=wire,local.type=fd,local.str=14"
    assert "hostfwd=tcp:127.0.0.1:0-10.0.2.15:22" in values(words, "-netdev")[1]
    assert "restrict=on" in values(words, "-netdev")[1]
    assert len(values(command(load_profile("peer"), wire_fd=None), "-netdev")) == 1


def test_a_display_is_there_only_when_asked_for() -> None:
    plain = load_profile("peer")
    assert not any("vga" in device.lower() for device in values(command(plain), "-device"))
    words = command(load_profile("standin"))
    assert "VGA" in values(words, "-device")
    assert values(words, "-global") == ["VGA.vgamem_mb=1"], "its memory is in every snapshot"


def test_a_machine_may_start_from_a_snapshot() -> None:
    assert values(command(load_profile("peer"), snapshot="ready"), "-loadvm") == ["ready"]


def test_commas_in_paths_do_not_end_an_option() -> None:
    words = command(load_profile("peer"), overlay=Path("/a,b/overlay.qcow2"))
    assert any("file=/a,,b/overlay.qcow2" in drive for drive in values(words, "-drive"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("memory_mib: much", "memory_mib"),
        ("memory_mib: 256\nmemmory: 1", "memmory"),
        ("[", "not a machine profile"),
        ("wire_mac: '52:54:00:77:00:10,netdev=x'", r"wrong\.yaml:1: wire_mac: string should match pattern"),
        ("devices: [a b]", r"devices\[1\]: string should match pattern"),
        ("kernel_args: grüße", "kernel_args: string should match pattern"),
        ("", "not a machine profile"),
    ],
)
def test_a_wrong_profile_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(MachineError, match=says):
        load_profile(file)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(MachineError, match=r"nonesuch\.yaml"):
        load_profile("nonesuch")
