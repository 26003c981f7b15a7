"""The network plan, and what states its addresses without being able to read it."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path

import pytest

from wsklab.qemu import network
from wsklab.qemu.profile import load_profile

ROOT = Path(__file__).parents[3]
HOSTS = {"wire": network.WIRE, **network.MACHINES, "nobody": network.NOBODY}
STATED = re.compile(r"\b10\.(?:77|0\.2)\.[\d.]+|\bfd77:[0-9a-f:]+|\b52:54:00(?::[0-9a-f]{2}){3}", re.IGNORECASE)
"""An address of the lab's networks."""

MUST_STATE = {"images/guest/init.sh", *(f"drivers/profiles/{name}.yaml" for name in ("pinger", "echo"))}
"""Files that are in no Python and name addresses; so do the profiles of machines."""


def stated(text: str) -> set[str]:
    return {found.lower().rstrip(".") for found in STATED.findall(text)}


def test_no_two_have_the_same_address() -> None:
    addresses = [
        entry for host in HOSTS.values() for entry in (host.mac, host.management_mac, *host.addresses.values())
    ]
    assert len(addresses) == len(set(addresses)) == 4 * len(HOSTS)
    for family in range(2):
        assert len({ipaddress.ip_interface(host.networks[family]).network for host in HOSTS.values()}) == 1
    assert str(ipaddress.ip_interface(network.WIRE.networks[0]).netmask) == network.WIRE_NETMASK


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "qemu/profiles").glob("*.yaml")))
def test_a_profile_has_its_machines_addresses(name: str) -> None:
    machine = load_profile(name)
    host = network.MACHINES["peer" if name == "peer" else "target"]
    assert (machine.wire_mac, machine.management_mac) == (host.mac, host.management_mac)


@pytest.mark.parametrize("side", network.MACHINES)
def test_the_init_script_gives_the_addresses_of_the_plan(side: str) -> None:
    """The lines that choose, run by a shell with an `ip` that only tells."""
    script = (ROOT / "images/guest/init.sh").read_text()
    choice = re.search(r"^ *case \$mac in\n.*?^ *esac$", script, re.MULTILINE | re.DOTALL)
    assert choice
    host = network.MACHINES[side]
    for mac, wanted in (
        (host.mac, host.networks),
        (host.management_mac, (f"{network.MANAGEMENT_ADDRESS}/{network.MANAGEMENT_PREFIX}",)),
    ):
        tells = 'ip() { [ "$2" != add ] || echo "$3"; }; hostname() { echo "is $1"; }; mac=$1 number=${1##*:}\n'
        command = ["sh", "-c", tells + choice[0], "sh", mac]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        assert tuple(line for line in said if "/" in line) == wanted
        assert (f"is {side}" in said) == (mac == host.mac)


@pytest.mark.parametrize("file", sorted(MUST_STATE))
def test_what_else_states_an_address_states_one_of_the_plan(file: str) -> None:
    found = stated((ROOT / file).read_text())
    known = {entry for host in HOSTS.values() for entry in (host.mac, host.management_mac, *host.addresses.values())}
    assert found, "it is listed here for the addresses that it states"
    assert {entry for entry in found if not entry.endswith((".", ":"))} <= known | {
        network.MANAGEMENT_ADDRESS, "52:54:00:77:00:nn", "10.77.0", "fd77::",
    }  # fmt: skip


def test_nothing_else_states_one() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "qemu", "orchestrator", "images", "drivers", "common"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    states = {
        name
        for name in listed.stdout.split()
        if "/tests/" not in name and stated((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    }
    examples = {"images/windows/answers/settings.py"}  # a docstring's
    assert states == {"qemu/network.py", *MUST_STATE, *examples} | {
        f"qemu/profiles/{path.name}" for path in (ROOT / "qemu/profiles").glob("*.yaml")
    }
