"""`wsklab shell`: the objects of a Python test at a prompt, on a lab that stays up until it is left."""

from __future__ import annotations

from pathlib import Path

import click

from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.live.parties import Parties
from wsklab.orchestrator.live.session import Session, Wanted
from wsklab.orchestrator.liveness.watchdog_link import paused
from wsklab.orchestrator.results.console import Console

BANNER = """
lab, target, peer, wire, driver are the parties of one connection; driver.<Tab> shows the verbs.

    driver.connect(); driver.enable(["disconnect"])     the lab's own driver; any other only connects
    peer.close(linger=0)
    driver.await_disconnect().flags
    print(lab.story())
"""


@click.command("shell")
@click.option("--target", default="standin", show_default=True, metavar="standin|IMAGE", help="What runs the driver.")
@click.option("--driver", default="wsklab", show_default=True, metavar="PROFILE", help="The driver under test.")
@click.option("--driver-file", type=click.Path(path_type=Path), metavar="FILE.sys", help="This build of the driver.")
@click.option("--twin", metavar="NAME", help="A deliberately wrong build of the lab's own driver.")
@click.option("--strict", is_flag=True, help="Stand-in: simulate what Windows with Driver Verifier checks.")
@click.option("--connections", default=1, show_default=True, type=click.IntRange(1, 2000), help="How many there are.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder (must be empty).")
@view_option
def command(
    target: str,
    driver: str,
    driver_file: Path | None,
    twin: str | None,
    strict: bool,
    connections: int,
    out: Path | None,
    view: bool,
) -> None:
    """Boot a lab and open a Python prompt with its parties: lab, target, peer, wire, driver.

    What was done becomes a row and evidence like a scenario's, when the prompt is left.
    """
    try:
        from IPython.terminal.embed import InteractiveShellEmbed
    except ImportError:
        raise UsageError(
            "`wsklab shell` needs IPython, which is not installed; `pip install 'wsklab[shell]'` brings it."
        ) from None
    wanted = Wanted(target, driver, driver_file, twin, strict, out=out, history="off")
    wanted.check()
    console = Console()
    session = Session(wanted, console)
    try:
        if view:
            Screens(console.line).show()
        told = session.converse("shell", "wsklab shell", {"connections": connections})
        parties = Parties(told.conversation)
        names = {name: getattr(parties, name) for name in ("lab", "target", "peer", "wire", "driver")}
        try:
            with paused():
                shell = InteractiveShellEmbed.instance(banner1=BANNER, user_ns=dict(names))
                shell()
        finally:
            row = told.conclude(title="wsklab shell")
        for reason in row.reasons:
            console.line(f"          {reason}")
    finally:
        session.close()
    console.line(f"Evidence: {session.folder / row.evidence}")
