from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_qwenvl.report.progress import LINE_SECONDS, StepProgress


class Screen:
    """The few control sequences the display uses, played out on a small terminal."""

    def __init__(self, rows: int = 4, width: int = 80) -> None:
        self.cells = [[" "] * width for _ in range(rows)]
        self.row = self.column = 0
        self.saved = (0, 0)
        self.wrapped = False

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[2K|\x1b\[[AB]|\x1b[D78]|[^\x1b]", text):
            self.play(part)

    def play(self, part: str) -> None:
        if part == "\r":
            self.column = 0
        elif part == "\n":
            self.down(scroll=True)
            self.column = 0
        elif part == "\x1bD":
            self.down(scroll=True)
        elif part == "\x1b[B":
            self.down(scroll=False)
        elif part == "\x1b[A":
            self.row = max(0, self.row - 1)
        elif part == "\x1b7":
            self.saved = (self.row, self.column)
        elif part == "\x1b8":
            self.row, self.column = self.saved
        elif part == "\x1b[2K":
            self.cells[self.row] = [" "] * len(self.cells[0])
        else:
            assert len(part) == 1, part
            if self.column >= len(self.cells[0]):
                self.wrapped = True
                return
            self.cells[self.row][self.column] = part
            self.column += 1

    def down(self, *, scroll: bool) -> None:
        if self.row + 1 < len(self.cells):
            self.row += 1
        elif scroll:
            self.cells = [*self.cells[1:], [" "] * len(self.cells[0])]

    def text(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.cells]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("lines_before", [0, 1, 3, 9])
def test_live_line_leaves_the_screen_as_it_was(lines_before: int) -> None:
    screen, clock = Screen(), Clock()
    screen.write("earlier\n" * lines_before + "test_x.py ..")
    step = StepProgress(
        "starting tiny/serve-1npu", screen.write, is_terminal=True, clock=clock, ticking=False,
        columns=lambda: 80,
    )  # fmt: skip
    with step:
        clock.now = 42.4
        step.update("loading weights:\n 3 of 4 \x1b[31m")
        step.tick()
        shown = screen.text()
        assert "starting tiny/serve-1npu (42 s): loading weights: 3 of 4 [31m" in shown
        assert "test_x.py .." in shown
        screen_row = shown.index("test_x.py ..")
    screen.write("F")
    assert screen.text()[screen_row] == "test_x.py ..F"
    assert not any("starting" in line for line in screen.text())


def test_live_line_is_cut_to_the_screen() -> None:
    screen = Screen()
    step = StepProgress("x" * 500, screen.write, is_terminal=True, ticking=False,
                        columns=lambda: 80)  # fmt: skip
    with step:
        assert not screen.wrapped
        assert max(map(len, screen.text())) == 79
    assert screen.text() == [""] * 4


def test_log_gets_a_line_every_30_seconds_and_no_control_characters() -> None:
    written: list[str] = []
    clock = Clock()
    step = StepProgress("evaluating", written.append, clock=clock, ticking=False)
    with step:
        for second in range(0, 95, 5):
            clock.now = float(second)
            step.update(f"{second} of 120")
            step.tick()
    assert written == [f"evaluating ({second} s): {second} of 120\n" for second in (30, 60, 90)]
    assert LINE_SECONDS == 30


def test_short_step_leaves_nothing_in_a_log() -> None:
    written: list[str] = []
    with StepProgress("evaluating", written.append, ticking=False) as step:
        step.update("half")
    assert written == []


def test_without_a_writer_there_is_silence_and_no_thread() -> None:
    before = threading.active_count()
    with StepProgress("evaluating", None, is_terminal=True) as step:
        step.update("half")
        step.tick()
        assert threading.active_count() == before


def test_capture_is_suspended_around_every_write() -> None:
    events: list[str] = []

    @contextmanager
    def suspended() -> Iterator[None]:
        events.append("suspend")
        yield
        events.append("resume")

    step = StepProgress(
        "x", lambda _: events.append("write"), is_terminal=True, suspend=suspended, ticking=False
    )
    with step:
        step.tick()
    assert events == ["suspend", "write", "resume"] * 3


def test_nothing_is_drawn_after_the_end() -> None:
    screen = Screen()
    with StepProgress("x", screen.write, is_terminal=True, ticking=False) as step:
        pass
    step.tick()
    assert screen.text() == [""] * 4


def test_error_in_the_step_clears_the_line_and_passes() -> None:
    screen = Screen()
    with (
        pytest.raises(KeyboardInterrupt),
        StepProgress("x", screen.write, is_terminal=True, ticking=False),
    ):
        raise KeyboardInterrupt
    assert screen.text() == [""] * 4


def test_broken_writer_ends_the_display_and_not_the_step() -> None:
    calls: list[str] = []

    def broken(text: str) -> None:
        calls.append(text)
        raise BrokenPipeError

    with StepProgress("x", broken, is_terminal=True, ticking=False) as step:
        step.tick()
        step.update("still going")
    assert len(calls) == 2


def move_on(step: StepProgress, number: int) -> None:
    for _ in range(50):
        step.update(f"{number}")
        step.tick()


def test_updates_from_many_threads_and_the_ticking_thread_ends() -> None:
    written: list[str] = []
    before = threading.active_count()
    with StepProgress("x", written.append, is_terminal=True) as step:
        assert threading.active_count() == before + 1
        threads = [threading.Thread(target=move_on, args=(step, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert threading.active_count() == before
    assert len(written) >= 201
