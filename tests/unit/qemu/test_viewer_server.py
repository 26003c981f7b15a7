"""The viewer's door: who knows the address gets the page and the screens, everybody else nothing."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wsklab.qemu import viewer as subject
from wsklab.qemu.errors import MachineError
from wsklab.qemu.viewer import Viewer


class Guest:
    """A guest whose screen is one end of a socket pair."""

    def __init__(self, folder: Path, has_screen: bool = True) -> None:
        self.folder = folder
        self.has_screen = has_screen
        self.ours, self._theirs = socket.socketpair()

    def view(self) -> socket.socket:
        return self._theirs


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "console.log").write_text("login: <b>\n")
    return Guest(tmp_path)


@pytest.fixture
def viewer(guest: Guest) -> Iterator[Viewer]:
    viewer = Viewer(lambda: {"lab-1/target": guest, "a b?#/peer": guest})
    yield viewer
    viewer.close()


def get(viewer: Viewer, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and body of a request to the viewer's port."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def home(viewer: Viewer) -> str:
    """Return the path in the viewer's address."""
    return viewer.url.partition(str(viewer.port))[2]


def test_who_knows_the_address_gets_the_page_and_what_it_needs(viewer: Viewer) -> None:
    for path in ("", "viewer.js", "novnc/core/rfb.js"):
        assert get(viewer, home(viewer) + path)[0] == 200, path
    assert get(viewer, f"{home(viewer)}guests.json")[1].startswith(b'[{"name": "lab-1/target", "screen": true}')
    assert get(viewer, f"{home(viewer)}console/lab-1/target") == (200, b"login: <b>\n")
    assert get(viewer, f"{home(viewer)}console/a%20b%3F%23/peer") == (200, b"login: <b>\n")


@pytest.mark.parametrize("path", ["/", "/viewer.html", "/guests.json", "/wrong/", "/wrong/console/lab-1/target"])
def test_who_does_not_know_it_gets_nothing(viewer: Viewer, path: str) -> None:
    status, said = get(viewer, path)
    assert status == 403 and b"lab-1" not in said


def test_a_page_of_another_site_gets_nothing_even_with_the_address(viewer: Viewer) -> None:
    assert get(viewer, home(viewer), Host="evil.example")[0] == 403  # its name may lead to 127.0.0.1
    assert get(viewer, home(viewer), Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    "path", ["novnc/../../../etc/passwd", "novnc/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "novnc//etc/passwd"]
)
def test_only_files_of_novnc_are_served(viewer: Viewer, path: str) -> None:
    assert get(viewer, home(viewer) + path)[0] == 404


def test_a_screen_is_passed_on_in_both_directions(viewer: Viewer, guest: Guest) -> None:
    with connect(viewer.url.replace("http", "ws") + "screen/lab-1/target") as browser:
        guest.ours.sendall(b"RFB 003.008\n")
        assert browser.recv(timeout=10) == b"RFB 003.008\n"
        browser.send(b"\x00key")
        assert guest.ours.recv(100) == b"\x00key"
    assert guest.ours.recv(100) == b""  # and its end, too


@pytest.mark.parametrize("path", ["/screen/lab-1/target", "/wrong/screen/lab-1/target"])
def test_no_screen_without_the_address(viewer: Viewer, guest: Guest, path: str) -> None:
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{viewer.port}{path}"):
        pass
    guest.ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        guest.ours.recv(1)


def test_no_screen_for_another_site(viewer: Viewer) -> None:
    address = viewer.url.replace("http", "ws") + "screen/lab-1/target"
    with pytest.raises(InvalidStatus), connect(address, additional_headers={"Origin": "http://evil.example"}):
        pass


def test_every_address_is_another_one(viewer: Viewer, guest: Guest) -> None:
    other = Viewer(dict)
    assert home(other) != home(viewer) and len(home(other)) > 30
    other.close()


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "NOVNC", tmp_path)
    with pytest.raises(MachineError, match="install the package novnc"):
        Viewer(dict)
