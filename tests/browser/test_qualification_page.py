"""The page of a qualification, printed by a real Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from pypdf import PdfReader
from support.qualified import PLAN, Runs, fails, qualified

from wsklab.orchestrator.release import page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_rehearsal_is_printed_with_its_name_on_every_page(tmp_path: Path) -> None:
    plan = PLAN.replace("[linger-zero, close-graceful]", "[]")
    released = qualified(tmp_path, Runs(fails("linger-zero", 1), qualifying=False), plan, rehearsal=True)
    html, pdf = released.files[0], tmp_path / "page.pdf"
    assert page.printed(html, pdf) is None
    sheets = [sheet.extract_text() for sheet in PdfReader(pdf).pages]
    assert len(sheets) > 1
    assert all("REHEARSAL - it quali" in sheet for sheet in sheets)
    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 800, "height": 1000})
        complaints = list[str]()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.goto(html.as_uri())
        banner = shown.locator(".rehearsal")
        assert banner.evaluate("e => getComputedStyle(e).position") == "sticky"
        assert banner.inner_text().startswith("REHEARSAL")
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert complaints == []
