"""Make the pictures of the docs, of real runs: `python tests/browser/screenshot.py RUN_FOLDER|PAGE.html [OUT.png]`.

Of a run's folder: its report. The run should have a failure, whose story and diagram are what the picture shows. Of a
page, such as one of the site that `wsklab history --html` writes: that page, as long as it is.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

OUT = Path(__file__).parents[2] / "docs" / "report.png"
SIZE, NARROW = ViewportSize(width=980, height=1290), ViewportSize(width=980, height=400)


@contextmanager
def opened(file: Path, size: ViewportSize) -> Iterator[Page]:
    """Yield a page in a browser, in light colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=size, color_scheme="light")
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()


def whole(file: Path, out: Path) -> None:
    """Photograph a page from top to bottom."""
    with opened(file, NARROW) as page:
        page.screenshot(path=out, full_page=True)


def shot(run: Path, out: Path) -> None:
    """Photograph the top of the page, with the first failure open and its last frame chosen."""
    with opened(run / "report.html", SIZE) as page:
        page.evaluate(
            "[...document.querySelectorAll('details.row[open]')].slice(1).forEach(row => { row.open = false })"
        )
        figure = page.locator("details.row[open] figure").first
        figure.get_by_role("button", name="Fit").click()
        if figure.locator(".segment.rst, .segment.fin").count():
            figure.locator(".segment.rst, .segment.fin").first.click()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=out)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    (whole if given.suffix == ".html" else shot)(given, Path(sys.argv[2]) if len(sys.argv) > 2 else OUT)
