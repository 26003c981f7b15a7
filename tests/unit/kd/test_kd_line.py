"""The session against a simulated target on a line that damages, loses, doubles and invents bytes.

What can be promised: payload damage that the checksum shows is repaired, and so are damaged packet numbers and types of
data packets. Two kinds of damage nobody can see: payload damage with an unchanged sum, and an ACK, RESEND or RESET that
became another of the three. The first gives a wrong line, the second a repeated one (or, from a target that takes any
data packet for an ACK, as ReactOS does, now and then a lost one). The acceptance excludes both, and each has a test.
"""

from __future__ import annotations

import pytest
from support.kd_rig import Faults, Rig

from wsklab.qemu.kd.events import Bugcheck, Damaged, ExceptionSeen, ModuleLoaded, TextLine
from wsklab.qemu.kd.packet import Decoder, Kind, Packet, encode
from wsklab.qemu.kd.session import Session


def boot(rig: Rig, packets: int, breakpoints: bool) -> list[str]:
    """Return a boot of that many packets: prints of two processors, modules, faults, prompts.

    Returns what it printed.
    """
    target, acts, printed = rig.target, [], []
    for number in range(packets):
        if number % 50 == 0:
            acts.append(target.load(f"driver{number}.sys"))
        elif number % 97 == 0:
            acts.append(target.file(f"file{number}"))
        elif number % 101 == 0:
            acts.append(target.prompt(b""))
        elif number % 211 == 0:
            acts.append(target.int3() if breakpoints else target.exception(0xC0000005))
        else:
            printed.append(f"WSKLAB1 seq={number:08x} ev=call op=send")
            acts.append(target.print(printed[-1].encode() + b"\n", cpu=number % 2))
    rig.play(*acts)
    return printed


@pytest.mark.parametrize("flavour", ["windows", "reactos"])
@pytest.mark.parametrize("seed", [1, 2])
def test_boot_of_5000_packets_with_1_percent_of_all_bytes_damaged(flavour: str, seed: int) -> None:
    """Without breakpoints: a CONTEXT of 1,305 bytes gets through such a line in two of a million tries."""
    rig = Rig(seed, damage=0.01, flavour=flavour)
    printed = boot(rig, 5000, breakpoints=False)
    assert rig.lines() == printed
    assert (rig.target.sent, rig.target.gave_up, len(rig.of(ModuleLoaded))) == (5000, 0, 100)
    assert rig.to_host.count > 5000 and rig.to_target.count > 1000  # bytes that came damaged
    assert sum(event.count for event in rig.events if isinstance(event, Damaged)) > 100_000
    assert all(len(line) <= 4 for line in rig.plain())  # no damaged packet is taken for text
    rig.close()


@pytest.mark.parametrize("flavour", ["windows", "reactos"])
@pytest.mark.parametrize("faults", [
    {"loss": 0.001}, {"double": 0.001}, {"insert": 0.001},
    {"damage": 0.0005, "loss": 0.0005, "double": 0.0005, "insert": 0.0005},
], ids=lambda faults: "+".join(faults))  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2])
def test_boot_with_breakpoints_on_a_line_with_other_faults(flavour: str, faults: dict[str, float], seed: int) -> None:
    rig = Rig(seed, flavour=flavour, **faults)  # type: ignore[arg-type]
    printed = boot(rig, 700, breakpoints=True)
    assert rig.lines() == printed
    assert 3 <= len(rig.of(ExceptionSeen)) <= rig.target.stops and rig.to_host.count > 20
    rig.close()


def test_control_packets_that_became_others_repeat_lines_at_worst() -> None:
    repeated = 0
    for seed in range(12):
        rig = Rig(seed, damage=0.01, mixups=True)
        printed = boot(rig, 800, breakpoints=False)
        lines = rig.lines()
        assert list(dict.fromkeys(lines)) == printed
        repeated += len(lines) - len(printed)
        rig.close()
    assert repeated < 12


def test_bugcheck_on_a_bad_line() -> None:
    rig = Rig(5, damage=0.0005)
    rig.play(rig.target.print(b"up\n"), rig.target.bugcheck(0xC4, (0x91, 2, 3, 4)), rig.target.print(b"dump\n"))
    assert rig.of(Bugcheck) == [Bugcheck(0xC4, (0x91, 2, 3, 4), "DRIVER_VERIFIER_DETECTED_VIOLATION", "memory")]
    assert rig.lines()[-1] == "dump"
    rig.close()


def test_damage_with_an_unchanged_sum_is_not_seen() -> None:
    """The limit of the protocol: its checksum is a sum."""
    good = encode(Packet(Kind.DEBUG_IO, 0x80800800, b"02\0\0\6\0\0\0\3\0\0\0\0\0\0\0ab\n"))
    bad = good.replace(b"ab\n", b"ba\n")
    assert TextLine("ba", 0) in Session().feed(bad, 0.0).events


def test_the_share_of_such_damage() -> None:
    """Of 60-byte payloads that 1% per byte damages about 1 in 100 goes unseen; the simulated line draws those anew."""
    faults = Faults(1, damage=0.01)
    good = Packet(Kind.DEBUG_IO, 0x80800000, b"02\0\0" + bytes(12) + b"WSKLAB1 seq=00000001 ev=call op=send\n")
    for _ in range(5000):
        for item in Decoder().feed(faults.carry(encode(good))):
            assert not isinstance(item, Packet) or item.payload == good.payload
    assert 2 < faults.unseen < 100
