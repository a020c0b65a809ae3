"""Pages that are wrong turn the tests of pages red, and each for its own reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import PageProblem, read_page
from tests.docs.checking import check
from tests.docs.running import matches, run
from tests.docs.shell import words

FENCE = "```"


def page(tmp_path: Path, *blocks: str) -> Path:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "page.md"
    path.write_text("\n\n".join(blocks))
    return path


def block(mark: str, language: str, text: str) -> str:
    comment = f"<!-- {mark} -->\n" if mark else ""
    return f"{comment}{FENCE}{language}\n{text}\n{FENCE}"


def check_page(tmp_path: Path, *blocks: str) -> None:
    read = read_page(page(tmp_path, *blocks))
    for index, one in enumerate(read):
        folder = tmp_path / str(index)
        folder.mkdir()
        check(one, read, folder)


def run_page(tmp_path: Path, *blocks: str) -> int:
    return run(read_page(page(tmp_path, *blocks)), tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (block("", "bash", "pytest"), "page.md:1: this block has no mark"),
        (f"<!-- run -->\n\ntext\n\n{FENCE}bash\npytest\n{FENCE}", "has no mark"),
        (f"<!-- run -->\n\n{FENCE}bash\npytest\n{FENCE}", "has no mark"),
        (block("not run", "bash", "pytest"), "'not run' needs words"),
        (block("not run:", "bash", "pytest"), "'not run' needs words"),
        (block("runs", "bash", "pytest"), "a mark that is not known: <!-- runs -->"),
        (block("run: sometimes", "bash", "pytest"), "not 'sometimes'"),
        ("text\n\n    pytest --npus=2\n", "indented code"),
    ],
)
def test_marks_that_are_missing_or_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PageProblem, match=said):
        read_page(page(tmp_path, text))


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("bash", "pytest --npu=2", "pytest has no --npu"),
        ("bash", "tox run -e conformance -- --npu=2", "pytest has no --npu"),
        ("bash", "A=1 pytest -m 'smoke and not smokes'", "no marker smokes"),
        ("bash", "pytest --model=qwen4-vl-8b", "qwen4-vl-8b: no profile"),
        ("bash", "pytest --model=qwen3-vl-tiny/serve-9npu", "no such deployment"),
        ("bash", "pytest conformance/test_nothing.py::test_x", "not in the checkout"),
        ("bash", "cd x && pytest-qwenvl judge report", "pytest-qwenvl has no judge"),
        ("bash", "pytest-qwenvl gate report --base last", "pytest-qwenvl gate has no --base"),
        ("bash", "pytest-qwenvl explain qwen3-vl-tiny/none", "no such deployment"),
        ("bash", "tox run -e conformances", "not in tox.ini"),
        ("bash", "pip install -e '.[npu]'", "no extra 'npu'"),
        ("bash", "python -m pytest_qwenvl.engines.gpu", "no such module"),
        ("bash", "pyttest --npus=2", "pyttest: not a program"),
        ("bash", "pytest --model='qwen3", "No closing quotation"),
        ("console", "pytest", "begins with a line"),
        ("toml", "a = ", "Invalid value"),
        ("toml", 'overlay = "qwen3-vl-8b-instruct"\ntitel = "x"', "titel"),
        ("toml", '[[waiver]]\nrequirement = "QVL-STR-001"', "waiver 1"),
        ("json", "{'a': 1}", "Expecting property name"),
        ("python", "def f(:", "invalid syntax"),
        ("ruby", "puts 1", "language 'ruby'"),
    ],
)
def test_what_does_not_exist_is_found_without_running(
    tmp_path: Path, language: str, text: str, said: str
) -> None:
    with pytest.raises(PageProblem, match=said):
        check_page(tmp_path, block("not run: a test", language, text))


def test_a_page_that_a_program_wrote_needs_no_marks(tmp_path: Path) -> None:
    (read,) = read_page(page(tmp_path, "<!-- Written by `x`. -->", block("", "bash", "pytest")))
    assert read.mark.text == "written by a program"
    with pytest.raises(PageProblem, match="no mark"):
        read_page(page(tmp_path, "Written by `x`.", block("", "bash", "pytest")))


def test_what_exists_is_not_blamed(tmp_path: Path) -> None:
    check_page(
        tmp_path,
        block("not run: a test", "bash", "pytest --npus 2 -m 'smoke and not serve' -x -k a"),
        block("not run: a test", "bash", "pytest --model='qwen3*' conformance/test_serve.py::x[y]"),
        block("not run: a test", "bash", "tox run -e benchmarks -- start-up --odd"),
        block("not run: a test", "bash", "tox run -m unit && tox run -e py311-pytest9"),
        block("not run: a test", "bash", "pytest-qwenvl gate a --baseline b > x.txt 2>&1 | cat"),
        block("not run: a test", "toml", 'overlay = "qwen3-vl-8b-instruct"\ntitle = "x"'),
        block("profile: qwen3-vl-8b-instruct", "toml", 'title = "x"'),
        block("not run: a test", "toml", 'extends = ["x"]\nname = "own"').replace(
            "extends", "extended"
        ),
        block("not run: a test", "bash", "pytest --model=own"),
    )


def test_a_profile_of_a_page_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(PageProblem, match="no shipped profile"):
        check_page(tmp_path, block("profile: qwen4", "toml", 'title = "x"'))


@pytest.mark.parametrize(
    ("language", "text", "mark", "said"),
    [
        ("console", "$ pytest-qwenvl --version\npytest-qwenvl 99", "run", "but it prints"),
        ("console", "$ pytest-qwenvl report nothing\n…", "run", "exit code 2, expected 0"),
        ("console", "$ pytest-qwenvl --version\n…", "run: exit 1", "exit code 0, expected 1"),
        ("bash", "cat nothing.toml\npytest-qwenvl --version", "run", "cat nothing.toml\nexit"),
        ("bash", "# only a remark", "run", "there is no command"),
    ],
)
def test_commands_that_do_otherwise(
    tmp_path: Path, language: str, text: str, mark: str, said: str
) -> None:
    with pytest.raises(PageProblem, match=said):
        run_page(tmp_path, block(mark, language, text))


def test_output_below_a_block_is_compared(tmp_path: Path) -> None:
    said = block("output", "text", "one\n…\nthree")
    typed = block("run", "bash", "echo one; echo two; echo three")
    assert run_page(tmp_path / "right", typed, said) == 1
    with pytest.raises(PageProblem, match="but it prints"):
        run_page(tmp_path / "wrong", typed.replace("three", "four"), said)


def test_one_terminal_a_place(tmp_path: Path) -> None:
    first = block("file: sub/a.txt", "text", "hello")
    typed = block("run", "console", "$ export A=1; cd sub\n$ cat a.txt; echo $A\nhello\n1")
    fresh = "<!-- place: checkout -->"
    assert run_page(tmp_path / "one", first, typed) == 2
    with pytest.raises(PageProblem, match="sub"):
        run_page(tmp_path / "two", first, fresh, typed)
    with pytest.raises(PageProblem, match="no place 'moon'"):
        run_page(tmp_path / "three", "<!-- place: moon -->", typed)


def test_other_levels_are_passed_over(tmp_path: Path) -> None:
    with_engine = block("run: engine", "bash", "false")
    assert run_page(tmp_path, with_engine, block("output", "text", "never compared")) == 0


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
        ("a\n…\nc", "a\nb\nb\nc", True),
        ("a\n…\nc", "a\nc\n", True),
        ("a\n…", "a", True),
        ("a\n…", "b\na", False),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
        ("", "a", False),
    ],
)
def test_ellipses(shown: str, seen: str, same: bool) -> None:
    assert matches(shown, seen) is same


def test_words_of_a_command_line() -> None:
    text = "A=1 pytest -m 'a or b' \\\n  --x && gate r > f 2>&1 | cat # remark"
    assert words(text) == [["A=1", "pytest", "-m", "a or b", "--x"], ["gate", "r"], ["cat"]]
