"""`--view`: the guests' screens in the browser, for the commands that start guests."""

from __future__ import annotations

from collections.abc import Callable

import click

from wsklab.qemu.errors import MachineError

view_option = click.option(
    "--view", is_flag=True, help="Show every guest's screen in the browser, on a page of 127.0.0.1, keys and mouse too."
)


class Screens:
    """The page with the screens, served from the first time it is wanted until this process ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._url: str | None = None

    def address(self) -> str:
        """Return the page's address, or why there is none."""
        try:
            return self._served()
        except MachineError as error:
            return str(error)

    def show(self) -> None:
        """Say where the page is. Raises MachineError where noVNC is not installed."""
        self.say(f"Screens: {self._served()}")

    def _served(self) -> str:
        from wsklab.qemu.viewer import Viewer  # only who looks needs it

        if self._url is None:
            self._url = Viewer().url
        return self._url
