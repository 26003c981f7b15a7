"""`wsklab run`: from words on the command line to a report."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
from wsklab import images
from wsklab.drivers.build import build_driver, build_standin
from wsklab.drivers.twins import twins
from wsklab.orchestrator import runner, suite
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.results import Results
from wsklab.qemu import accel


def run(*, words: Sequence[str], tags: Sequence[str], exclude: Sequence[str], target: str, driver_name: str,
        twin: str | None, repeat: int, until_fail: bool, seed: int, out: Path | None, as_json: bool) -> int:
    """Carry out the command; returns its exit code. Everything the user wrote is checked before anything is booted."""
    scenarios = suite.select(words, tags, exclude)
    if target != "standin":
        raise UsageError(f"there is no target '{target}'; there is: standin.")
    if driver_name != "wsklab":
        raise UsageError(f"there is no driver profile '{driver_name}'; there is: wsklab.")
    if twin is not None and twin not in twins():
        raise UsageError(f"there is no twin '{twin}'; there are {', '.join(twins())}.")
    folder = runner.new_folder(out)
    console = Console(quiet=as_json)
    with console.step("drivers"):
        driver = build_driver(twin, images.cache_folder(), console.progress)
        standin_files = build_standin(images.cache_folder(), console.progress)
    inputs = {"driver:netio.sys": standin_files.netio.path, "driver:wskagent.exe": standin_files.agent.path}
    with console.step("image of the peer"):
        peer = images.ensure("peer", inputs, console.progress)
    with console.step("image of the stand-in"):
        standin = images.ensure("standin", inputs, console.progress)
    accelerator, why = accel.choose(peer.kernel, peer.initrd, images.cache_folder())
    console.progress(f"accelerator {accelerator}: {why}")

    results = Results(
        run=runner.describe(shlex.join(["wsklab", *sys.argv[1:]]), seed, accelerator, _versions(), folder),
        target={"name": "standin", "kind": "standin", "qualifying": False, "version": _standin_version(standin),
                "image_sha256": standin.manifest.files["disk.qcow2"]},
        driver={"name": driver.name, "sha256": driver.sha256, "twin": driver.twin})
    started = 0

    def boot() -> Lab:
        nonlocal started
        started += 1
        with console.step("lab"):
            return Lab(folder / f"lab-{started}", accelerator, standin, peer).boot(driver, console.progress)

    current = runner.Run(folder, results, console, boot)
    current.scenarios(scenarios, repeat, until_fail)
    if as_json:
        click.echo((folder / "results.json").read_text(encoding="utf-8"))
    else:
        console.table(results)
        console.totals(results)
        console.line(f"The target is the stand-in, not Windows: this proves the lab and the driver's logic, it does "
                     f"not qualify a driver.\nReport: {folder / 'report.html'}")
    return results.exit_code


def _versions() -> dict[str, str]:
    return {"wsklab": version("wsklab"), "python": platform.python_version(), "qemu": accel.qemu_version()}


def _standin_version(image: images.Image) -> str:
    packages = image.manifest.packages
    return f"Wine {packages.get('wine64', '?')}, Linux {packages.get('linux-image-cloud-amd64', '?')}"
