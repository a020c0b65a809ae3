"""What is translated is the prose: the code of a Chinese page is that of the English one."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.docs.blocks import CHECKOUT, Block, PageProblem, pages, read_page

ZH = CHECKOUT / "docs" / "zh"
# A compact version of several English pages, whose blocks it may choose from.
COMPACT = {"docs/zh/guides/contributor.md"}
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def _translated() -> list[str]:
    found = [it.relative_to(CHECKOUT).as_posix() for it in pages()]
    return [it for it in found if it.startswith("docs/zh/") or it == "README.zh.md"]


def _english(name: str) -> Path:
    return CHECKOUT / name.replace("docs/zh/", "docs/").replace("README.zh.md", "README.md")


def _code(blocks: list[Block]) -> list[tuple[str, str, object, str]]:
    return [(it.language, it.text, it.mark, it.place[0]) for it in blocks]


def _levels(text: str) -> list[int]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [len(it) for it in re.findall(r"^(#{1,3}) ", prose, re.MULTILINE)]


def test_the_readme_and_the_guides_are_there() -> None:
    needed = {"README.zh.md", "docs/zh/index.md", "docs/zh/quick-start.md"}
    needed |= {f"docs/zh/guides/{it}.md" for it in ("vendor", "release-manager", "contributor")}
    assert needed <= set(_translated())


@pytest.mark.parametrize("name", [it for it in _translated() if it not in COMPACT])
def test_code_is_that_of_the_english_page(name: str) -> None:
    english = _english(name)
    assert english.exists(), f"{name}: no English page {english.name} beside it"
    assert _code(read_page(CHECKOUT / name)) == _code(read_page(english))


@pytest.mark.parametrize("name", sorted(COMPACT))
def test_code_of_a_compact_page_is_some_of_the_english_ones(name: str) -> None:
    there = []
    for path in pages():
        # A page whose marks are wrong is another test's matter.
        if path.relative_to(CHECKOUT).as_posix() not in _translated():
            with contextlib.suppress(PageProblem):
                there += [(it.language, it.text) for it in read_page(path)]
    its = [(it.language, it.text) for it in read_page(CHECKOUT / name)]
    assert its
    assert [it for it in its if it not in there] == []


@pytest.mark.parametrize("name", _translated())
def test_prose_is_chinese_under_the_same_headings(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert len(_CHINESE.findall(text)) > 150
    if name not in COMPACT:
        assert _levels(text) == _levels(_english(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", _translated())
def test_no_line_ends_within_a_paragraph(name: str) -> None:
    # Where a line ends, a reader sees a space, which Chinese has none of.
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"[\u4e00-\u9fff，。；：、）].*\n(?=[^\s#|<*\d-])", prose) == []


def test_the_glossary_has_both_languages_in_every_row() -> None:
    text = (CHECKOUT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [it for it in text.splitlines() if re.match(r"\| \*\*", it)]
    assert len(rows) >= 25
    for row in rows:
        english, chinese, meaning, same = (it.strip() for it in row.strip("|").split("|"))
        assert english and meaning
        assert _CHINESE.search(chinese) and _CHINESE.search(same), row
