"""`wsklab image` for Windows: what is asked of the user, what is handed to the builder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import build_agent
from wsklab.drivers.sign import signing_key
from wsklab.images import windows
from wsklab.images.store import Image, Store
from wsklab.images.windows.media.catalogue import catalogue
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest.windows_tools import require_tools
from wsklab.orchestrator.results.console import Console
from wsklab.qemu import accel


def build(name: str, media: windows.Media, force: bool, again: str | None, console: Console) -> Image:
    """Make a Windows image, or go on where an earlier attempt failed. Raises UsageError for media that will not do."""
    cache = images.cache_folder()
    require_tools()
    try:
        windows.require(name, media)
        inputs = {
            "driver.cer": signing_key(cache, datetime.now(UTC)).certificate.read_bytes(),
            "wskagent.exe": build_agent(cache, console.progress).content(),
        }

        def accelerator() -> accel.Choice:
            peer = images.ensure("peer", {}, console.progress)
            return accel.choose(peer.kernel, peer.initrd, cache)

        return windows.build(name, media, inputs, accelerator, Store(cache), console.progress, force, again)
    except windows.WrongMedium as error:
        raise UsageError(str(error)) from None


def known() -> list[dict[str, Any]]:
    """Return the versions, and the media whose hashes somebody has recorded."""
    found = catalogue()
    return [
        {
            "name": name,
            "title": version.title,
            "editions": list(version.editions),
            "media": [one.model_dump(exclude={"version"}, exclude_none=True) for one in found.media
                      if one.version == name],
        }
        for name, version in found.versions.items()
    ]  # fmt: skip


def list_known(built: set[str]) -> None:
    """Say the same for people."""
    for row in known():
        if row["name"] not in built:
            click.echo(
                f"{row['name']:12}   not built; made from your own ISO of {row['title']}: "
                f"`wsklab image build {row['name']} --iso FILE --virtio-win FILE`"
            )
    click.echo("\nWindows: editions (the first that the ISO has is installed); ISOs recorded by others (SHA-256)")
    for row in known():
        click.echo(f"{row['name']:12}   {', '.join(row['editions'])}")
        for one in row["media"]:
            click.echo(f"    {one['sha256']}  {one['title']}")
