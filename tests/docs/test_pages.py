"""Every page's blocks: marked, checked, and run as their marks say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.blocks import CHECKOUT, pages, read_page
from tests.docs.checking import check
from tests.docs.running import run

NAMES = [it.relative_to(CHECKOUT).as_posix() for it in pages()]
# Their blocks are those of the English pages, which test_translations.py holds them to.
TRANSLATED = {it for it in NAMES if it.startswith("docs/zh/") or it == "README.zh.md"}


def _with(level: str) -> list[str]:
    """The pages that have something to run at a level; what is wrong with marks shows elsewhere."""
    mark = f"<!-- run: {level}" if level else "<!-- run"
    found = [it for it in NAMES if mark in (CHECKOUT / it).read_text(encoding="utf-8")]
    return [it for it in found if it not in TRANSLATED]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_marked_and_right(name: str, tmp_path: Path) -> None:
    blocks = read_page(CHECKOUT / name)
    for index, block in enumerate(blocks):
        folder = tmp_path / str(index)
        folder.mkdir()
        check(block, blocks, folder)


@pytest.mark.parametrize("name", _with(""))
def test_commands_print_what_the_page_shows(name: str, tmp_path: Path) -> None:
    blocks = read_page(CHECKOUT / name)
    wanted = sum(it.mark.kind == "run" and not it.mark.level for it in blocks)
    assert bool(run(blocks, tmp_path)) == bool(wanted)


@pytest.mark.engine
@pytest.mark.parametrize("name", _with("engine"))
def test_commands_with_an_engine(name: str, tmp_path: Path) -> None:
    assert run(read_page(CHECKOUT / name), tmp_path, ("", "engine"), seconds=900)


@pytest.mark.skipif(os.environ.get("QWENVL_DOCS") != "nightly", reason="long; QWENVL_DOCS=nightly")
@pytest.mark.engine
@pytest.mark.parametrize("name", _with("nightly"))
def test_long_commands(name: str, tmp_path: Path) -> None:
    assert run(read_page(CHECKOUT / name), tmp_path, ("", "engine", "nightly"), seconds=3600)


# Of the site's own pages mkdocs looks at links, and at anchors too.
@pytest.mark.parametrize("name", [it for it in NAMES if it.startswith("README")])
def test_links_of_the_readmes_lead_somewhere(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 8
    assert [it for it in links if not (CHECKOUT / it).exists()] == []
