"""What models, servers and engines write is untrusted: on the page it is text and nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.html_text import LONGEST_TEXT, clean, value_text
from pytest_qwenvl.report.verdict import judge_run
from tests.report.hostile import BREAK_OUTS, HOSTILE, hostile_run, texts_of
from tests.report.pages import full_run, raw_content, read_page
from tests.report.records import result, run

_NAMES = """
    alt aria-label aria-pressed autocomplete charset class colspan content cx cy d data-a data-t
    data-language data-open data-tl height hidden href http-equiv id lang name open points r role
    scope src tabindex type viewbox width x y
"""
ATTRIBUTES = frozenset(_NAMES.split())


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return render_page(judge_run(hostile_run()))


def test_the_hostile_run_is_hostile_everywhere():
    texts = [it for it in texts_of(hostile_run().model_dump()) if HOSTILE in it]
    # Among them names, sentences, evidence and its keys, curl lines, answers, logs and notes.
    assert len(texts) > 90


def test_hostile_text_adds_no_element_and_no_attribute(hostile_page):
    harmless = HOSTILE.translate(dict.fromkeys(map(ord, "<>\"'&"), "x"))
    tame = read_page(render_page(judge_run(hostile_run(harmless))))
    hostile = read_page(hostile_page)
    count = Counter(element.tag for element in hostile.all())
    assert set(count) == {element.tag for element in tame.all()}
    for tag in ("script", "style", "meta", "img", "svg", "a", "button", "input", "article"):
        assert count[tag] == len(tame.all(tag)), tag
    assert (count["script"], count["style"]) == (2, 1)
    assert count["svg"] >= 4
    for element in hostile.all():
        assert set(element.attributes) <= ATTRIBUTES, element.attributes.keys()
        for name, value in element.attributes.items():
            # These hold text of others, in quotes.
            if name not in ("alt", "aria-label", "data-a"):
                assert "pwned" not in value, f"{name} of {element.tag}: {value}"


def test_hostile_text_is_all_there_to_read(hostile_page):
    text = read_page(hostile_page).one("main").text
    for part in BREAK_OUTS:
        assert " ".join(part.split()) in text, part


def test_styles_scripts_and_policy_are_the_page_s_own(hostile_page):
    tame = render_page(judge_run(full_run()))
    for tag in ("style", "script"):
        assert raw_content(hostile_page, tag) == raw_content(tame, tag)
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy" content="[^"]*">')
    assert policy.findall(hostile_page) == policy.findall(tame) != []


def test_no_character_hides_or_turns_the_line_around(hostile_page):
    hidden = {
        f"U+{ord(it):04X}"
        for it in set(hostile_page) - {"\n"}
        if unicodedata.category(it) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert hidden == set()
    text = read_page(hostile_page).text
    for shown in ("⟨U+202E⟩", "null␀byte", "⟨U+2066⟩", "⟨U+D800⟩", "⟨U+FEFF⟩", " red "):
        assert shown in text, shown
    hostile_page.encode("utf-8")


def test_lines_of_ten_megabytes_are_cut_and_say_so():
    huge = "<b>" * (10_000_000 // 3)
    fields = {"reason": huge, "log": huge, "evidence": {"k": huge, huge: "v", "deep": [[huge]]}}
    record = run(
        scope=huge,
        notes=[huge],
        versions={"vllm": huge},
        host={"cpu": huge},
        argv=("pytest", huge),
        results=[result(outcome="FAIL", test=huge, reproduce=huge, waiver=huge, **fields)],
    )
    text = render_page(judge_run(record))
    assert len(text) < 1_500_000
    assert "more characters)" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 中文, émoji 🙂, עברית", "plain text, 中文, émoji 🙂, עברית"),
        ("tab\tand\nline\r\nend", "tab\tand\nline\nend"),
        ("over\rwritten", "over␍written"),
        ("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link", "red link"),
        ("a\u202eb\x00c", "a⟨U+202E⟩b␀c"),
    ],
)
def test_clean_shows_what_cannot_be_seen(text, shown):
    assert clean(text) == shown


def test_clean_says_how_much_it_left_out():
    assert clean("x" * (LONGEST_TEXT + 1234)) == "x" * LONGEST_TEXT + "… (1,234 more characters)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (3.0, "3"),
        (32.66799250013719, "32.668"),
        (1.2345678e-9, "1.23457e-09"),
        ("text", "text"),
        ([1, [2, 3]], "[1, [2, 3]]"),
        (list(range(1000)), '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "… 1,000 in all"]'),
        (
            [{"name": "n" * 60, "value": 1}, {"name": "m" * 60, "value": 2}],
            '{"name": "' + "n" * 60 + '", "value": 1}\n{"name": "' + "m" * 60 + '", "value": 2}',
        ),
        ({"a" * 60: 1, "b" * 60: [2]}, "a" * 60 + ": 1\n" + "b" * 60 + ": [2]"),
    ],
)
def test_values_are_shown_as_a_person_reads_them(value, shown):
    assert value_text(value, 4000) == shown


def test_values_nested_without_end_are_shown_as_far_as_one_can_read():
    value: Any = "end"
    for _ in range(500):
        value = [value]
    assert value_text(value, 4000) == '[[[[[["…"]]]]]]'


def test_names_of_files_are_no_links(tmp_path: Path):
    record = full_run()
    record.results[3].exchanges[0] = (
        record.results[3]
        .exchanges[0]
        .model_copy(
            update={
                "files": ("javascript:pwned().png", "../../etc/passwd.png", "/etc/hostname.png")
            }
        )
    )
    page = read_page(render_page(judge_run(record), root=tmp_path))
    problem = page.one("section", id="problems")
    assert not problem.all("img")
    assert "outside the report's folder" in problem.text
    assert "javascript:pwned().png" in problem.text
