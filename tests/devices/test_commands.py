from __future__ import annotations

import os
import sys

from pytest_qwenvl.devices.commands import run_together


def python(code: str) -> list[str]:
    return [sys.executable, "-IS", "-c", code]


def test_ends_are_in_the_order_of_the_commands():
    ends = run_together(
        [
            python("import time; time.sleep(0.3); print('slow')"),
            python("import sys; print('quick'); print('oh', file=sys.stderr); sys.exit(3)"),
            ["/nonexistent/npu-smi"],
        ],
        {},
        60,
    )
    assert [end.status for end in ends] == [0, 3, None]
    assert [end.stdout for end in ends] == ["slow\n", "quick\n", ""]
    assert ends[1].stderr == "oh\n"
    assert ends[2].problem == "could not be started: No such file or directory"


def test_they_run_beside_each_other(tmp_path):
    # Each opens its end of a pipe, which waits for the other.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = python(f"print(open({str(pipe)!r}).read())")
    writer = python(f"open({str(pipe)!r}, 'w').write('met')")
    assert [end.stdout for end in run_together([reader, writer], {}, 60)] == ["met\n", ""]


def test_they_get_only_the_variables_given():
    (end,) = run_together([python("import os; print(sorted(os.environ))")], {"LC_ALL": "C"}, 60)
    assert end.stdout == "['LC_ALL']\n"


def test_a_signal_is_a_negative_status():
    (end,) = run_together([python("import os; os.kill(os.getpid(), 9)")], {}, 60)
    assert (end.status, end.problem) == (-9, "")
