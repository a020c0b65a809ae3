"""The page in a real headless browser: opened from disk, offline, by mouse, keyboard and paper.

Needs playwright and a Chromium, its own or the system's; ``tox run -e page`` brings the first and
fails where the second is missing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.html_words import WORDS
from pytest_qwenvl.report.verdict import judge_run
from tests.report.hostile import hostile_run
from tests.report.pages import full_run, write_pictures
from tests.report.records import SERVE

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: tox run -e page"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        # As root Chromium runs without its sandbox only; the page is ours, and offline.
        options = {"executable_path": installed, "args": ["--no-sandbox"]}
        try:
            launched = playwright.chromium.launch(**options)
        except sync_api.Error as problem:
            if "QWENVL_PAGE_BROWSER" in os.environ:
                raise
            pytest.skip(
                "no Chromium starts here; install the system's, or run `playwright install "
                f"chromium`: {str(problem).splitlines()[0]}"
            )
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a record's page as a person would; fails on any word of trouble in the console."""
    contexts = []
    said: list[str] = []
    requested: list[str] = []

    def open_page(record: Any = None, query: str = "", **options: Any) -> Any:
        write_pictures(tmp_path)
        path = tmp_path / "report.html"
        text = render_page(judge_run(record or full_run()), root=tmp_path)
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: requested.append(request.url))
        page.expose_function("pwned", lambda *_: said.append("pwned"))
        page.goto(f"file://{path}{query}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition(":")[0] for url in requested} <= {"file", "data"}
    assert len([url for url in requested if url.startswith("file:")]) == len(contexts)


def test_a_cell_leads_to_its_requirements_and_they_to_their_evidence(opened):
    page = opened()
    row = page.locator("#results details.row", has_text="QVL-SRV-001")
    assert not row.is_visible()
    page.locator(f"a.cell[href='#{cell_of(page, 'serve')}']").click()
    assert row.is_visible()
    measured = row.locator("dl")
    assert not measured.is_visible()
    row.locator("summary").click()
    assert measured.is_visible()
    assert "3.25" in measured.inner_text()


def cell_of(page: Any, group: str) -> str:
    """The id of the first deployment's section of that group."""
    link = page.locator("a.cell", has=page.locator(".g", has_text=re.compile(f"^{group}$"))).first
    return str(link.get_attribute("href"))[1:]


def test_everything_is_reached_by_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.locator(f"a.cell[href='#{cell_of(page, 'serve')}']").focus()
    page.keyboard.press("Enter")
    row = page.locator("#results details.row", has_text="QVL-SRV-001").locator("summary")
    row.focus()
    page.keyboard.press("Enter")
    assert page.locator("#results details.row[open] dl").is_visible()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    # What scrolls can be scrolled without a mouse.
    stuck = (
        """[...document.querySelectorAll('pre, .scroll')].filter(it => it.tabIndex !== 0).length"""
    )
    assert page.evaluate(stuck) == 0


def test_a_link_to_what_did_not_pass_opens_it_again(opened):
    page = opened()
    problem = page.locator("#problems details", has_text="blue, red").first
    assert problem.get_attribute("open") is not None
    problem.locator("> summary").click()
    assert problem.get_attribute("open") is None
    page.locator(f"a.cell[href='#{cell_of(page, 'multi_image')}']").click()
    page.locator("#results p.row a", has_text="QVL-IMG-003").click()
    sync_api.expect(problem).to_have_attribute("open", "")


def texts(page: Any) -> list[list[str]]:
    script = "[...document.querySelectorAll('[data-t]')].map(it => [it.dataset.t, it.textContent])"
    return page.evaluate(script)  # type: ignore[no-any-return]


def test_the_language_changes_and_changes_back(opened):
    page = opened()
    english = texts(page)
    assert page.locator("html").get_attribute("lang") == "en"
    page.get_by_role("button", name="中文").click()
    chinese = texts(page)
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert [key for key, _ in chinese] == [key for key, _ in english]
    for (key, was), (_, now) in zip(english, chinese, strict=True):
        assert now != was and re.search(r"[\u4e00-\u9fff]", now), key
        assert "{" not in now
    assert page.locator("#problems h2").inner_text() == WORDS["problems"].zh
    assert page.locator("nav").get_attribute("aria-label") == WORDS["contents"].zh
    # The suite's sentences stay as they are, and say in which language.
    sentence = page.locator(".sentence")
    assert sentence.inner_text().startswith("NON-CONFORMANT: ")
    assert sentence.get_attribute("lang") == "en"
    page.get_by_role("button", name="English").click()
    assert texts(page) == english


@pytest.mark.parametrize(
    ("options", "language"),
    [
        ({"locale": "zh-CN"}, "zh-Hans"),
        ({"locale": "de-DE"}, "en"),
        ({"query": "?lang=zh"}, "zh-Hans"),
        ({"locale": "zh-CN", "query": "?lang=en"}, "en"),
    ],
)
def test_it_opens_in_the_reader_s_language_or_the_one_asked_for(opened, options, language):
    assert opened(**options).locator("html").get_attribute("lang") == language


def test_the_filter_shows_what_matches_and_says_when_nothing_does(opened):
    page = opened()
    page.locator("#filter").fill("qvl-srv-001")
    shown = page.locator("#results .row:visible")
    sync_api.expect(shown).to_have_count(2)
    assert all("QVL-SRV-001" in text for text in shown.all_inner_texts())
    page.locator("#filter").fill("no such thing")
    page.locator("#nothing").wait_for(state="visible")
    page.locator("#filter").fill("")
    page.locator("#nothing").wait_for(state="hidden")
    assert page.locator("#results .row[hidden]").count() == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_on_a_phone_nothing_runs_off_the_screen(opened, language):
    page = opened(viewport=PHONE, is_mobile=True, has_touch=True, query=f"?lang={language}")
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator(".sentence").is_visible()
    cell = page.locator(f"a.cell[href='#{cell_of(page, 'serve')}']")
    assert cell.bounding_box()["height"] >= 24
    assert "serve" in cell.inner_text()


def test_on_paper_the_evidence_of_what_failed_is_open_and_the_tools_are_not(opened, tmp_path):
    page = opened()
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = false })")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert "POST /v1/chat/completions 200" in page.locator("#problems").inner_text()
    assert page.locator("#latency svg").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert not page.get_by_role("button", name="中文").is_visible()
    overflow = page.locator("#problems pre").first.evaluate("it => getComputedStyle(it).overflowY")
    assert overflow == "visible"
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


def brightness(page: Any, of: str) -> float:
    colour = page.evaluate(f"getComputedStyle(document.body).{of}")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_it_is_dark_where_the_reader_s_screen_is(opened):
    light, dark = opened(), opened(color_scheme="dark")
    assert brightness(light, "backgroundColor") > 200 > 100 > brightness(light, "color")
    assert brightness(dark, "backgroundColor") < 60 < 150 < brightness(dark, "color")


def test_without_scripts_it_is_all_there_in_english(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("h1").inner_text() == "NON-CONFORMANT"
    page.locator("#results .place > summary").first.click()
    assert page.locator("#results .row", has_text="QVL-SRV-001").first.is_visible()


def test_hostile_text_does_nothing_but_stand_there(opened):
    page = opened(hostile_run())
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="English").click()
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(300)
    assert page.title().startswith("NON-CONFORMANT")
    tags = set(page.evaluate("[...document.querySelectorAll('*')].map(it => it.localName)"))
    assert not tags & {"iframe", "base", "object", "embed", "link", "form", "use", "image"}
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("document.images.length") <= 2
    assert page.locator("html").get_attribute("dir") is None
    own = """[...document.querySelectorAll('*')].flatMap(it => it.getAttributeNames())
        .filter(name => name.startsWith('on') || name === 'style' || name === 'srcset')"""
    assert page.evaluate(own) == []
    assert page.evaluate("document.body.innerText").count("<script>pwned()</script>") > 20


def test_the_policy_stops_what_would_be_there_all_the_same(browser, tmp_path):
    """As if escaping had failed: the page's own policy lets no other script or style run."""
    text = render_page(judge_run(full_run()))
    planted = (
        "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
        "<p id=planted style='display: none'>seen</p>"
        "<a id=link href='javascript:window.pwned = 3'>link</a><img src='http://127.0.0.1:9/x.png'>"
    )
    path = tmp_path / "planted.html"
    path.write_text(text.replace('<section id="problems">', f'<section id="problems">{planted}'))
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"file://{path}")
    page.locator("#link").click()
    assert page.locator("#planted").is_visible(), "its style was applied"
    assert page.evaluate("window.pwned") is None
    assert len([it for it in refused if "Content Security Policy" in it]) >= 4
    page.close()


def test_the_table_of_deployments_is_one_for_a_screen_reader(opened):
    page = opened()
    row = (
        page.get_by_role("row")
        .filter(has=page.get_by_role("rowheader", name=SERVE, exact=True))
        .first
    )
    assert row.get_by_role("cell").count() == 6
    svg = page.get_by_role("img", name=re.compile("TTFT: 39 requests"))
    assert svg.count() == 1
