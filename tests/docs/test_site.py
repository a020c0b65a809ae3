"""The built site: it fetches nothing from other hosts, and finds words of both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import CHECKOUT

_FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\s\">]+)")
_LINKED = re.compile(r"<link\b[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is in the extra docs: tox run -e docs")
    pytest.importorskip("material", reason="so is its theme")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        links = [it for it in _LINKED.findall(text) if 'rel="canonical"' not in it]
        assert _FETCHED.search(text), f"{page.name}: no script at all: this test reads it wrongly"
        fetched = _FETCHED.findall(text) + links
        assert [it for it in fetched if "//" in it.replace("://www.w3.org", "")] == [], page.name


def test_search_works_from_disk(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("var __index = "))
    words = " ".join(it["text"] for it in index["docs"])
    assert "QVL-IMG-004" in words
    # jieba puts marks between the words of a sentence.
    assert "豁免" in words and "\u200b" in words
    assert (site / "assets" / "iframe-worker.js").is_file()
    assert "assets/iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


def test_every_page_is_in_the_site(site: Path) -> None:
    wanted = {it.relative_to(CHECKOUT / "docs").with_suffix(".html") for it in _sources()}
    assert {it for it in wanted if not (site / it).is_file()} == set()


def _sources() -> list[Path]:
    return sorted((CHECKOUT / "docs").rglob("*.md"))
