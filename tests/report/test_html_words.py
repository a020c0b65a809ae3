"""The page's own words: every text in both languages, none missing, none left over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pytest_qwenvl.report
from pytest_qwenvl.report.html_words import SEPARATOR, WORDS
from pytest_qwenvl.report.results import Outcome, Verdict
from tests.report.pages import full_run, page_of

REPORT = Path(pytest_qwenvl.report.__file__).parent
HOLES = re.compile(r"\{\d\}")
OUTCOMES = [*(it.value for it in Outcome), "NOT_JUDGED"]


def used_keys() -> set[str]:
    """The keys that templates and plots name; those made of outcomes and verdicts included."""
    texts = [path.read_text() for path in (REPORT / "templates").glob("*.html")]
    keys = set(re.findall(r"\b(?:t|label)\('([\w.-]+)'", "".join(texts)))
    keys |= set(re.findall(r"\('(\w+)', view\.", "".join(texts)))
    code = "".join(path.read_text() for path in REPORT.glob("html_*.py"))
    keys |= set(re.findall(r"\bword\(\s*\"([\w.-]+)\"", code))
    keys |= {"core", "extended", *OUTCOMES, *(f"{it}.means" for it in OUTCOMES)}
    return keys | {key for it in Verdict for key in (it.value, f"{it.value}.means")}


def test_every_text_is_there_and_none_is_left_over():
    assert used_keys() == set(WORDS)


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_say_the_same_with_the_same_holes(key):
    words = WORDS[key]
    assert words.en.strip() and words.zh.strip()
    assert set(HOLES.findall(words.en)) == set(HOLES.findall(words.zh))
    assert re.search(r"[\u4e00-\u9fff]", words.zh), "not in Chinese"
    assert not re.search(r"[\u4e00-\u9fff]", words.en), "not in English"


def test_what_the_page_shows_is_what_the_switch_would_put_there():
    for element in page_of(full_run()).all():
        if "data-t" not in element.attributes:
            continue
        given = element.attributes.get("data-a", "").split(SEPARATOR)
        text = WORDS[element.attributes["data-t"]].en
        holes = len(set(HOLES.findall(text)))
        assert holes == (len(given) if given != [""] else 0)
        assert element.text == " ".join(text.format(*given).split())
