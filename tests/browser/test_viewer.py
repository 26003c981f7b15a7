"""The screens of guests in a real browser: what the guest shows is seen, and what is typed arrives in it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support.chromium import chromium
from support.command import ROOT, read_until, send, start

from wsklab import images
from wsklab.qemu.deadline import within
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles, load_profile
from wsklab.qemu.viewer import Viewer

pytestmark = [pytest.mark.browser, pytest.mark.vm, pytest.mark.timeout(180)]
BOOT = 60.0

COLOURS = """
() => {
  const canvas = document.querySelector("#screen canvas");
  if (!canvas || !canvas.width) return 0;  // nothing is drawn yet
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4) seen.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
  return seen.size;
}
"""
"""How many colours the guest's screen has now."""


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """UEFI with nothing to start: it ends in its shell, or in its menu, and writes to COM1 what it shows."""
    profile = load_profile("windows-2022").model_copy(update={"memory_mib": 256, "hyperv": (), "debug": "text"})
    with Machine("target", profile, ImageFiles(), tmp_path_factory.mktemp("lab-1") / "target", "tcg") as machine:
        machine.start()
        yield machine


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    image = images.ensure("peer", {}, print)
    files = ImageFiles(image.disk, image.kernel, image.initrd, image.kernel_args)
    folder = tmp_path_factory.mktemp("lab-1") / "peer"
    with Machine("peer", load_profile("peer"), files, folder, "tcg") as machine:
        machine.start()
        yield machine


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    viewer = Viewer()
    yield viewer
    viewer.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile"), 60) as context:
        yield context.new_page()


def await_colours(page: Page, count: int) -> None:
    """Until the guest's screen has so many; asked from outside, as the page's policy forbids it to evaluate text."""
    while page.evaluate(COLOURS) < count:
        page.wait_for_timeout(100)


def test_the_firmware_is_seen_and_keys_arrive_in_its_shell(firmware: Machine, viewer: Viewer, page: Page) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    firmware.debug.expect("in 1 seconds to skip startup.nsh", within(BOOT))
    page.goto(viewer.url)
    expect(page.locator("#state")).to_contain_text("lab-10/target: connected; keys and mouse go to it")
    await_colours(page, 3)  # not black alone: letters, in two colours
    with firmware.debug.watch() as shell:
        page.keyboard.type("echo typed-in-a-browser", delay=30)
        page.keyboard.press("Enter")
        shell.expect("typed-in-a-browser", within(BOOT))
    assert complaints == []


def test_a_guest_without_a_screen_shows_its_console(peer: Machine, viewer: Viewer, page: Page) -> None:
    page.goto(viewer.url)
    page.get_by_role("button", name="/peer").click()
    expect(page.locator("#console")).to_contain_text("WSKLAB-READY", timeout=BOOT * 1000)


def test_a_guest_that_ends_leaves_the_page(viewer: Viewer, page: Page, tmp_path: Path) -> None:
    """Nobody presses a key that nobody gets."""
    profile = load_profile("windows-2022").model_copy(update={"memory_mib": 256, "hyperv": (), "debug": "text"})
    with Machine("target", profile, ImageFiles(), tmp_path / "lab-7" / "target", "tcg") as machine:
        machine.start()
        page.goto(viewer.url)
        page.get_by_role("button", name="lab-7/target").click()
        expect(page.locator("#state")).to_contain_text("connected")
    expect(page.locator("#state")).to_contain_text("does not run any more")


def test_a_run_that_fails_is_held_and_seen_and_entered(
    page: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = (ROOT / "orchestrator/scenario/files/linger-zero.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("name: linger-zero", "name: wrong").replace("abortive: set", "abortive: clear"))
    process = start(tmp_path / "run", str(wrong), "--view", "--hold")
    request.addfinalizer(process.kill)
    said = "".join(read_until(process, "root@127.0.0.1"))
    held = re.search(r"held, until Ctrl-C: wrong: (fail|inconclusive)", said)
    assert held, said
    (url,) = set(re.findall(r"http://127\.0\.0\.1:\S+", said))
    page.goto(url)
    page.get_by_role("button", name="lab-1/target").click()
    expect(page.locator("#state")).to_contain_text("connected")
    await_colours(page, 2)  # the text screen of the stand-in
    ssh = re.search(r"target +(ssh .*)", said)
    assert ssh
    inside = subprocess.run(f"{ssh[1]} uname -n", shell=True, capture_output=True, text=True, timeout=60)
    assert inside.stdout.strip() == "target", inside
    monitor = re.search(r"its monitor: (.*)", "".join(read_until(process, "its monitor:")))
    assert monitor
    answer = subprocess.run(monitor[1], shell=True, input="info status\n", capture_output=True, text=True, timeout=60)
    assert "VM status: running" in answer.stdout, answer
    send(process, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1 if held[1] == "fail" else 3, ""), rest
    assert f"1 {held[1]}" in rest
