"""A real Chromium for the browser tests, and pages in it that complain of nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, ViewportSize, sync_playwright

DESKTOP = ViewportSize(width=1200, height=900)

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Open = Callable[[Path], Page]


@contextmanager
def chromium(profile: Path, patience: float) -> Iterator[BrowserContext]:
    """Chromium with a profile of its own; `patience` in seconds is for whatever is awaited."""
    program = shutil.which("chromium")
    assert program, "Chromium is missing; `./lab test` installs it, or run `apt-get install chromium`"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=QUIET, viewport=DESKTOP
        )
        context.set_default_timeout(1000 * patience)
        yield context
        context.close()


@contextmanager
def opening(browser: BrowserContext, requests: list[str]) -> Iterator[Open]:
    """Open pages from their files; `requests` gets what they ask for. In the end, nothing was complained about."""
    pages, complaints = list[Page](), list[str]()

    def opened(path: Path) -> Page:
        page = browser.new_page()
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []
