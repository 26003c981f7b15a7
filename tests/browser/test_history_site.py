"""The site of the history in a real browser, opened from disk: a year of nightly runs of 200 scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from support.chromium import Open, chromium, opening
from support.made import HOSTILE
from support.past import row, run

from wsklab.drivers.twins import Twin
from wsklab.orchestrator.history import bench, site, writing
from wsklab.orchestrator.history.database import opened, url_of
from wsklab.orchestrator.trials import pages, twin_matrix
from wsklab.orchestrator.trials.twin_matrix import Row

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

RUNS, SCENARIOS = 365, 200


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with chromium(tmp_path_factory.mktemp("profile"), 20) as context:
        yield context


@pytest.fixture
def open_page(browser: BrowserContext) -> Iterator[Open]:
    """Open a page from its file. In the end: nothing was complained about, and nothing but pages was asked for."""
    requests = list[str]()
    with opening(browser, requests) as opened_page:
        yield opened_page
    assert [url for url in requests if not url.endswith(".html")] == []


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the first page of a year's site."""
    folder = tmp_path_factory.mktemp("year")
    with opened(url_of(str(folder / "history.sqlite"))) as database:
        for number in range(RUNS):
            with database.writing() as connection:
                writing.record(connection, bench.run_of(number, RUNS), bench.rows_of(number, SCENARIOS, 1))
        return site.write(database, folder / "site", RUNS)


def test_a_year_is_drawn_and_says_what_is_broken(open_page: Open, year: Path) -> None:
    page = open_page(year)
    expect(page.get_by_role("status")).to_have_text("200 scenarios in 365 runs")
    expect(page.locator("#names a")).to_have_count(SCENARIOS)
    size = page.evaluate("[canvas.width, canvas.height]")
    assert size == [3650, 3200]
    drawn = page.evaluate("[...canvas.getContext('2d').getImageData(3642, 5, 1, 1).data]")
    assert drawn[3] == 255, "the newest run's cell is painted"
    assert page.locator("html").get_attribute("data-drawn") is not None, "`wsklab bench history` reads it"
    expect(page.locator("#listed")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_grid_is_walked_by_keyboard_and_leads_to_a_run(open_page: Open, year: Path) -> None:
    page = open_page(year)
    page.locator("#canvas").focus()
    expect(page.get_by_role("status")).to_contain_text("scenario-000: pass in run 365 (nightly-364")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("status")).to_contain_text("scenario-001: pass in run 364")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 364: nightly-363")
    page.get_by_role("link", name="run 363").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 363: nightly-362")


def test_a_cell_is_told_by_mouse_and_scenarios_are_found_by_words(open_page: Open, year: Path) -> None:
    page = open_page(year)
    page.get_by_role("searchbox").fill("scenario-007")
    expect(page.locator("#names a")).to_have_count(1)
    page.evaluate("canvas.parentElement.scrollLeft = 0")
    page.locator("#canvas").hover(position={"x": 25, "y": 8})
    expect(page.get_by_role("status")).to_contain_text("scenario-007: pass in run 3 ")
    page.locator("#names a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("scenario-007")
    expect(page.locator("svg.strip rect")).to_have_count(site.STRIP)


def test_trends_coverage_and_twins_are_pages_that_lead_to_runs(open_page: Open, tmp_path: Path) -> None:
    twin = Twin(
        name="ignores-flag",
        define="X",
        title="Ignores it",
        rules=("R5",),
        verdict="fail",
        shows="the flag",
        says="the flag",
    )
    seen = {"linger-zero": Row("linger-zero", "fail", ("the flag is clear",))}
    matrix = twin_matrix.document({twin.name: seen}, [twin], {"linger-zero": Row("linger-zero", "pass")})
    with opened(url_of(str(tmp_path / "h.sqlite"))) as database:
        for number in range(1, 13):
            with database.writing() as connection:
                writing.record(connection, run(number), [row(verdict="fail" if number % 4 == 0 else "pass")])
        first = site.write(database, tmp_path / "site", 365, lambda told: pages.further(told, matrix))
    page = open_page(first)
    page.get_by_role("link", name="Trends").click()
    expect(page.locator("svg.bars rect.fail")).to_have_count(3)
    expect(page.get_by_role("row", name="linger-zero")).to_contain_text("3 of 12")
    page.locator("svg.bars a").nth(11).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 12: run-12")
    page.goto(first.as_uri())
    page.get_by_role("link", name="Coverage").click()
    reset = page.locator("tr", has=page.locator("td:first-child", has_text="R5")).first
    expect(reset).to_contain_text("linger-zero fail")
    reset.get_by_role("link", name="linger-zero").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("linger-zero")
    page.goto(first.as_uri())
    page.get_by_role("link", name="Twins").click()
    expect(page.locator("#ignores-flag")).to_contain_text("the flag is clear")
    expect(page.get_by_title("ignores-flag, linger-zero: fail")).to_have_text("✗")


def test_hostile_names_and_reasons_stay_text(open_page: Open, tmp_path: Path) -> None:
    rows = [row(f"{text}/../../x", "fail", reasons=[text]) for text in HOSTILE]
    with opened(url_of(str(tmp_path / "h.sqlite"))) as database:
        with database.writing() as connection:
            writing.record(connection, run(name=HOSTILE[0], command=HOSTILE[1], folder=HOSTILE[3]), rows)
        first = site.write(database, tmp_path / "site", 10)
    page = open_page(first)
    expect(page.get_by_role("status")).to_have_text(f"{len(HOSTILE)} scenarios in 1 runs")
    page.locator("#names a").first.click()
    expect(page.locator("h1")).to_be_visible()
    assert page.title().startswith(("<", '"', "'", "{", "\\"))
    page.locator("td a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    assert "owned" not in page.title().replace("'owned'", "")
    written = {path.relative_to(tmp_path / "site").parts[0] for path in (tmp_path / "site").rglob("*.html")}
    assert written == {"index.html", "trends.html", "runs", "scenarios"}
    assert len(list((tmp_path / "site/scenarios").glob("*.html"))) == len(HOSTILE)


def test_without_scripts_everything_is_listed(year: Path) -> None:
    text = year.read_text(encoding="utf-8")
    assert text.count('<li><a href="scenarios/') == SCENARIOS
    assert text.count('<li><a href="runs/') == RUNS
