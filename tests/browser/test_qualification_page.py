"""The page of a qualification, printed by a real Chromium."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from support.qualified import PLAN, Runs, fails, qualified

from wsklab.orchestrator.release import page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_rehearsal_is_printed_with_its_name_on_every_page(tmp_path: Path) -> None:
    plan = PLAN.replace("[linger-zero, close-graceful]", "[]")
    released = qualified(tmp_path, Runs(fails("linger-zero", 1), qualifying=False), plan, rehearsal=True)
    html, pdf = released.files[0], tmp_path / "page.pdf"
    assert page.printed(html, pdf) is None
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1
    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 800, "height": 1000})
        complaints = list[str]()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.goto(html.as_uri())
        banner = shown.locator(".rehearsal")
        assert banner.evaluate("e => getComputedStyle(e).position") == "sticky"
        shown.emulate_media(media="print")
        # What is fixed is printed on every page (CSS 2.1, 9.6.1).
        assert banner.evaluate("e => getComputedStyle(e).position") == "fixed"
        assert banner.inner_text().startswith("REHEARSAL")
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert complaints == []
