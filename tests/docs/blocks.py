"""The code blocks of a page, each with the mark that says what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

CHECKOUT = Path(__file__).parents[2]
LEVELS = ("", "engine", "nightly")
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
_MARK = re.compile(r"(place|not run|run|file|profile|output)(?:\s*:\s*(.*))?", re.DOTALL)
_NEEDS_TEXT = ("place", "not run", "file", "profile")


class PageProblem(AssertionError):
    """Something on a page that is wrong, with the page and the line."""


@dataclass(frozen=True)
class Mark:
    """A comment above a block.

    Attributes:
        kind: ``run``, ``not run``, ``file``, ``profile`` or ``output``.
        text: the reason, the file's name, the profile's name, or the output's variant.
        level: of ``run``: when it is run; empty for every time.
        code: of ``run``: the exit code of the block's last command.
    """

    kind: str
    text: str = ""
    level: str = ""
    code: int = 0


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page it is on, relative to the checkout.
        line: of the opening fence, from 1 on.
        place: what ``<!-- place: … -->`` said last, and how often it was said until here.
    """

    page: str
    line: int
    language: str
    text: str
    mark: Mark
    place: tuple[str, int] = ("checkout", 0)

    def problem(self, what: str) -> PageProblem:
        """An error that names the block."""
        return PageProblem(f"{self.page}:{self.line}: {what}")


def pages() -> list[Path]:
    """Every page that people read: those of ``docs/`` and of the checkout's root."""
    root = [CHECKOUT / "README.md", CHECKOUT / "README.zh.md"]
    return [it for it in root if it.exists()] + sorted((CHECKOUT / "docs").rglob("*.md"))


def read_page(path: Path) -> list[Block]:
    """The blocks of a page.

    Raises:
        PageProblem: a block has no mark, or one that cannot be read; or is indented instead of
            fenced, so that it could have none.
    """
    try:
        name = path.relative_to(CHECKOUT).as_posix()
    except ValueError:
        name = path.name
    return list(_blocks(name, path.read_text(encoding="utf-8")))


def _blocks(page: str, text: str) -> Iterator[Block]:
    place, places = "checkout", 0
    # The program that wrote a page, and its check, answer for what is on it.
    written = "<!-- Written by `" in text[:300]
    comment: tuple[str, int] | None = None
    for token in MarkdownIt("commonmark").parse(text):
        if token.map is None:
            continue
        first, end = token.map
        at = f"{page}:{first + 1}"
        if token.type == "html_block":
            found = _COMMENT.fullmatch(token.content.strip())
            comment = (found[1], end) if found else None
            if found and found[1].startswith("place:"):
                place, places = found[1].removeprefix("place:").strip(), places + 1
        elif token.type == "code_block":
            raise PageProblem(f"{at}: indented code; fence it, and mark it")
        elif token.type == "fence":
            said = comment[0] if comment and comment[1] == first else None
            if said is None and written:
                said = "not run: written by a program"
            if said is None:
                raise PageProblem(
                    f"{at}: this block has no mark; write <!-- run -->, <!-- not run: REASON -->, "
                    "<!-- file: NAME -->, <!-- profile: NAME --> or <!-- output --> on the line "
                    "above it (docs/writing.md)"
                )
            language = token.info.strip()
            mark = read_mark(said, at)
            yield Block(page, first + 1, language, token.content, mark, (place, places))
            comment = None


def read_mark(text: str, at: str) -> Mark:
    """A mark from a comment's text; ``at`` names its place in errors."""
    found = _MARK.fullmatch(text)
    if found is None or found[1] == "place":
        raise PageProblem(f"{at}: a mark that is not known: <!-- {text} -->")
    kind, said = found[1], (found[2] or "").strip()
    if kind in _NEEDS_TEXT and not said:
        raise PageProblem(f"{at}: '{kind}' needs words after a colon")
    if kind != "run":
        return Mark(kind, said)
    level, code = "", 0
    for part in filter(None, (it.strip() for it in said.split(","))):
        if part in LEVELS:
            level = part
        elif exits := re.fullmatch(r"exit (\d+)", part):
            code = int(exits[1])
        else:
            raise PageProblem(f"{at}: 'run' knows engine, nightly and exit N, not {part!r}")
    return Mark("run", level=level, code=code)
