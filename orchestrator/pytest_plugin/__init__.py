"""The pytest plugin, which pytest loads in every run: options, and nothing else until one of them is given.

What needs the lab is in `hooks`, `items` and `fixtures`, which are imported when a target or a driver is named.
"""

from __future__ import annotations

import os

import pytest

OPTIONS = {
    "target": "what runs the driver: standin, or the name of a Windows image",
    "driver": "the driver under test: a profile's name or file (docs/drivers.md)",
    "driver-file": "this build of the driver instead of the one that its profile names",
    "twin": "a deliberately wrong build of the lab's own driver",
    "verifier": "Windows: have Driver Verifier watch the driver (a set, as in `wsklab run --verifier`)",
    "out": "the run's folder (must be empty)  [default: wsklab-runs/TIME]",
    "history": "where the run is recorded: URL or off (docs/history.md)",
    "known": "file of known failures, or off  [default: known.yaml, if it is here]",
}
"""Options that take a word; each may stand in the configuration file too, as `wsklab_target`."""

SWITCHES = {
    "strict": "stand-in: stop the driver where Windows with Driver Verifier would",
    "shared": "run all scenario files on one state of the target",
    "cold": "boot, even if a snapshot of the ready lab is kept",
}

ACTIVE = ("target", "driver", "driver-file", "twin")
"""One of these says that the run is about a driver."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the lab, in a group of their own."""
    group = parser.getgroup("wsklab", "wsklab: WSK drivers in a QEMU lab")
    for name, text in OPTIONS.items():
        group.addoption(f"--wsklab-{name}", metavar=name.upper(), default=None, help=text)
        parser.addini(f"wsklab_{name.replace('-', '_')}", text, default="")
    for name, text in SWITCHES.items():
        group.addoption(f"--wsklab-{name}", action="store_true", default=False, help=text)
    group.addoption("--wsklab-repeat", type=int, default=1, metavar="N", help="run every scenario file N times")
    group.addoption("--wsklab-seed", type=int, default=1, metavar="N", help="seed of everything random")
    group.addoption(
        "--wsklab-inconclusive",
        choices=["skip", "fail"],
        default="skip",
        help="what a verdict is for which evidence is missing  [default: skip]",
    )


def said(config: pytest.Config, name: str) -> str:
    """Return what the command line or, else, the configuration file says."""
    return config.getoption(f"--wsklab-{name}") or config.getini(f"wsklab_{name.replace('-', '_')}") or ""


def active(config: pytest.Config) -> bool:
    """Whether the run is about a driver."""
    return any(said(config, name) for name in ACTIVE)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let `-n auto` be as many workers as the host carries labs."""
    if not active(config) or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from wsklab.orchestrator.pytest_plugin.admission import admitted

    return admitted(None, said(config, "target") or "standin")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the rest where the run is about a driver."""
    if active(config):
        from wsklab.orchestrator.pytest_plugin import fixtures, hooks

        config.pluginmanager.register(hooks.Hooks(config), "wsklab-hooks")
        config.pluginmanager.register(fixtures, "wsklab-fixtures")
