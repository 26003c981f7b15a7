"""`report.html` in a real browser, as people see it: opened from the run's folder, without a server or a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect
from support.chromium import DESKTOP, Open, chromium, opening
from support.made import HOSTILE, Run

from wsklab.common.text import visible

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PHONE = ViewportSize(width=360, height=740)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with chromium(tmp_path_factory.mktemp("profile"), 10) as context:
        yield context


@pytest.fixture
def open_page(browser: BrowserContext) -> Iterator[Open]:
    """Open a page from its file. In the end: nothing was complained about, and nothing but the file was asked for."""
    requests = list[str]()
    with opening(browser, requests) as opened_page:
        yield opened_page
    assert {url.rpartition("/")[2] for url in requests} == {"report.html"}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a run of everything: a pass, a flake, a crash."""
    run = Run(tmp_path_factory.mktemp("run"))
    run.add("close-graceful")
    run.add("linger-zero")
    run.add("linger-zero", 2, flags=0)
    run.add("host-crashes", loss="Unhandled page fault on write access to 0000000000000000")
    run.add("linger-zero", 3)
    return run.write()


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_it_says_what_came_of_the_run_and_of_each_scenario(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    assert page.title() == "2 of 5 failed – wsklab 20260101-000000-000"  # noqa: RUF001
    expect(page.get_by_role("heading", level=1)).to_have_text("2 of 5 failed")
    expect(page.get_by_role("img", name="2 fail, 3 pass")).to_be_visible()
    expect(page.get_by_text("not Windows")).to_be_visible()
    badges = page.locator("summary .badge:first-child").all_text_contents()
    assert badges == ["pass", "pass", "fail", "fail", "pass"]
    summary = page.locator("details#linger-zero-2 > summary")
    for said in ("flaky", "#2", "ABORTIVE is clear, must be set (R5)", "frame 4", "peer RST", "graceful 0x0", "0.42"):
        expect(summary).to_contain_text(said)


def test_a_story_opens_by_mouse_and_by_keyboard(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    story = page.locator("details#close-graceful-1 .story")
    expect(story).to_be_hidden()
    page.locator("details#close-graceful-1 > summary").click()
    expect(story).to_contain_text("← #4 RST, ACK seq 1")
    page.keyboard.press("Enter")
    expect(story).to_be_hidden()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentElement.id") == "linger-zero-1", "the next row"
    page.keyboard.press("Space")
    expect(page.locator("details#linger-zero-1 .story")).to_be_visible()


def test_what_failed_is_open_and_a_repetition_leads_to_where_the_story_is_told(
    open_page: Open, page_file: Path
) -> None:
    page = open_page(page_file)
    expect(page.locator("details#linger-zero-2 .story")).to_be_visible()
    expect(page.locator("details#host-crashes-1 .story")).to_contain_text("crash Unhandled page fault")
    page.locator("details#linger-zero-3 > summary").click()
    page.locator("details#linger-zero-3").get_by_role("link", name="linger-zero-1").click()
    expect(page.locator("details#linger-zero-1 .story")).to_be_visible()


def test_a_failure_is_told_with_what_proves_it(open_page: Open, page_file: Path) -> None:
    row = open_page(page_file).locator("details#linger-zero-2")
    expect(row.locator(".why")).to_contain_text("The peer's RST (frame 4, ")
    expect(row.locator(".why")).to_contain_text(
        "WskDisconnectEvent came with flags 0x0: ABORTIVE is clear, must be set"
    )
    expect(row.locator(".proof li").first).to_contain_text("frame 4: peer → RST, ACK seq 1")
    expect(row.locator(".proof li").last).to_contain_text("line 101: WskDisconnectEvent, flags 0x0")
    expect(row.locator(".hint")).to_contain_text("BF55")


def test_the_connection_is_drawn_and_what_is_chosen_is_told(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    figure = page.locator("details#linger-zero-2 figure")
    expect(figure.locator(".segment")).to_have_count(4)
    expect(figure.locator(".callback")).to_contain_text("WskDisconnectEvent, flags 0x0")
    figure.locator(".segment.rst").click()
    expect(figure.locator(".detail")).to_contain_text("Frame 4, ")
    page.keyboard.press("ArrowDown")
    expect(figure.locator(".detail")).to_contain_text("ev=disc")
    page.keyboard.press("Home")
    expect(figure.locator(".detail")).to_contain_text("target to peer, SYN seq 0")


def test_a_diagram_zooms_by_button_key_and_wheel(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    drawing = page.locator("details#linger-zero-2 svg")
    figure = page.locator("details#linger-zero-2 figure")

    def width() -> float:
        return float(drawing.get_attribute("width") or 0)

    assert width() == 1000
    figure.get_by_role("button", name="Zoom in").click()
    assert width() == 1250
    figure.locator(".segment").first.focus()
    page.keyboard.press("-")
    assert width() == 1000
    figure.locator(".canvas").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function("document.querySelector('details#linger-zero-2 svg').getAttribute('width') > 1000")
    figure.get_by_role("button", name="Fit").click()
    assert width() <= float(figure.locator(".canvas").evaluate("canvas => canvas.clientWidth"))
    assert sideways(page) == 0


def test_what_the_wire_dropped_and_forged_is_marked(open_page: Open, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.add("lossy", flags=0, fates=("dropped", "forged by request: rst as peer"))
    figure = open_page(run.write()).locator("figure")
    expect(figure.locator(".stopped .cross")).to_have_count(1)
    expect(figure.locator(".made .forged")).to_have_count(1)
    figure.locator(".made").click()
    expect(figure.locator(".detail")).to_contain_text("forged by request")


def test_links_lead_to_evidence_that_is_there(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    links = page.locator(".links a").evaluate_all("links => links.map(link => [link.href, link.textContent])")
    assert len(links) == 16
    for address, _ in links:
        target = Path(address.removeprefix("file://"))
        assert target.exists() and target.is_relative_to(page_file.parent / "evidence")
    assert [text for _, text in links if text.endswith(".png")] == ["crash/target-screen.png"]


def test_rows_are_found_by_verdict_and_by_words(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    visible = page.locator("details.row:visible")
    expect(page.get_by_role("status")).to_have_text("5 shown")
    page.get_by_role("button", name="2 fail").click()
    expect(visible).to_have_count(2)
    expect(page.get_by_role("status")).to_have_text("2 of 5 shown")
    page.keyboard.press("/")
    page.keyboard.type("PAGE fault")
    expect(visible).to_have_count(1)
    expect(visible).to_have_id("host-crashes-1")
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="2 fail").click()
    expect(visible).to_have_count(5)


def test_hostile_text_stays_text(open_page: Open, tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number, text in enumerate(HOSTILE, 1):
        run.add("hostile", number, loss=text, title=text)
    run.results.driver["name"] = run.results.run["command"] = run.results.target["version"] = HOSTILE[1]
    page = open_page(run.write())
    assert page.title().startswith(f"{len(HOSTILE)} of {len(HOSTILE)} failed")
    assert page.locator("body script, body img:not(svg), body h1").count() == 2, "its own script and its own headline"
    for number, text in enumerate(HOSTILE, 1):
        expect(page.locator(f"details#hostile-{number} .why")).to_contain_text(visible(text))


def test_a_script_that_got_in_all_the_same_would_not_run(browser: BrowserContext, page_file: Path) -> None:
    page = browser.new_page()
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text))
    injected = page_file.with_name("injected.html")
    injected.write_text(page_file.read_text().replace("<main>", "<main><script>document.title = 'owned'</script>"))
    page.goto(injected.as_uri())
    assert page.title().startswith("2 of 5 failed")
    assert "Content Security Policy" in refusals[0]
    page.close()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_sticks_out_sideways(open_page: Open, tmp_path: Path, size: ViewportSize) -> None:
    run = Run(tmp_path)
    run.add("x" * 90, loss="0123456789abcdef" * 20, title="A" * 120)
    run.add("linger-zero", flags=0)
    page = open_page(run.write())
    page.set_viewport_size(size)
    assert sideways(page) == 0
    box = page.locator("summary").first.bounding_box()
    assert box and box["width"] <= size["width"]


# Relative luminance and contrast as WCAG 2 defines them; 4.5 is its level AA for text.
CONTRASTS = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => parse(c).slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const back = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor, p = parse(c); if (p.length < 4 || p[3] > 0) return c; }
    return "rgb(255, 255, 255)"; };
  const texts = "h1, p, dt, dd, .badge, .name, .title, .why, .fact, .time, .chip, .links a, td, th, .columns span";
  return [...document.querySelectorAll(texts)]
    .filter(e => e.checkVisibility() && e.textContent.trim()).map(e => {
      const [a, b] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => y - x);
      return [(a + .05) / (b + .05), `${e.tagName}.${e.className}`]; });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_legible(open_page: Open, page_file: Path, scheme: str) -> None:
    page = open_page(page_file)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.get_by_role("button", name="2 fail").click()
    measured = page.evaluate(CONTRASTS)
    assert len(measured) > 50
    assert [(round(ratio, 2), what) for ratio, what in measured if ratio < 4.5] == []
    body = [int(n) for n in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))]
    assert (sum(body) > 380) == (scheme == "light")


def test_it_prints_without_its_tools(open_page: Open, page_file: Path) -> None:
    page = open_page(page_file)
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".tools")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "no dark paper"
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_it_says_the_same(browser: BrowserContext, page_file: Path) -> None:
    plain = page_file.with_name("plain.html")
    plain.write_text(re.sub(r"<script>.*?</script>", "", page_file.read_text(), flags=re.DOTALL))
    page = browser.new_page()
    page.goto(plain.as_uri())
    expect(page.locator("details.row:visible")).to_have_count(5)
    expect(page.locator(".tools")).to_be_hidden()
    page.locator("details#close-graceful-1 > summary").click()
    expect(page.locator("details#close-graceful-1 .story")).to_be_visible()
    page.close()


def test_a_long_run_stays_a_small_page(open_page: Open, tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number in range(1, 11):
        for scenario in range(130):
            run.add(f"scenario-{scenario}", number, flags=int(scenario != 5))
    file = run.write()
    assert file.stat().st_size < 3_000_000
    page = open_page(file)
    expect(page.get_by_role("status")).to_have_text("1300 shown")
    page.get_by_role("searchbox").fill("scenario-77")
    expect(page.locator("details.row:visible")).to_have_count(10)
