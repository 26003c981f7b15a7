"""Make docs/report.png of a real run: `python tests/browser/screenshot.py RUN_FOLDER [OUT.png]`.

The run should have a failure, whose story and diagram are what the picture shows.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

OUT = Path(__file__).parents[2] / "docs" / "report.png"
SIZE = ViewportSize(width=980, height=1290)


def shot(run: Path, out: Path) -> None:
    """Photograph the top of the page, with the first failure open and its last frame chosen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((run / "report.html").resolve().as_uri())
        page.evaluate(
            "[...document.querySelectorAll('details.row[open]')].slice(1).forEach(row => { row.open = false })"
        )
        figure = page.locator("details.row[open] figure").first
        figure.get_by_role("button", name="Fit").click()
        if figure.locator(".segment.rst, .segment.fin").count():
            figure.locator(".segment.rst, .segment.fin").first.click()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    shot(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT)
