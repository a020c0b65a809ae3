from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pytest_qwenvl.report.results import (
    NotRun,
    Outcome,
    Result,
    RunRecord,
    Undecided,
    Verdict,
    WaiverRecord,
)
from pytest_qwenvl.report.table import GROUPS, rows_of, table_lines
from pytest_qwenvl.report.terminal import failure_text, render_summary, write_summary
from pytest_qwenvl.report.verdict import judge_run, settle
from tests.report.records import MODEL, OTHER, SERVE, claim, requirement, result, run

PLACES = tuple(
    itertools.product((MODEL, OTHER), ("offline-1npu", "offline-2npu", "serve-1npu", "serve-2npu"))
)
REPORT = Path("conformance-report/report.json")


def full_run(outcomes: dict[tuple[str, str, str], str] | None = None) -> RunRecord:
    """A run like the default one: both references, four deployments, every group."""
    outcomes = outcomes or {}
    results = []
    requirements = [
        requirement(f"QVL-{group[:3].upper()}-{number:03d}", group=group)
        for group in GROUPS
        for number in range(1, 5)
    ]
    for entry, (model, deployment) in itertools.product(requirements, PLACES):
        outcome = outcomes.get((entry.id, model, deployment), "PASS")
        results.append(
            result(
                entry.id,
                outcome,
                group=entry.group,
                model=model,
                deployment=deployment,
                reason="" if outcome == "PASS" else "expected HTTP 400 for 4 images, saw 200",
                reproduce=f"pytest --npus=2 'conformance/test_{entry.group}.py::test_it[{model}]'",
            )
        )
    absent = [NotRun(model=f"qwen3-vl-{n}b", reason="no weights at hand") for n in (2, 4, 8, 32)]
    return judge_run(run(results=results, requirements=requirements, not_run=absent))


BROKEN = full_run(
    {
        **{("QVL-MUL-003", *place): "FAIL" for place in PLACES[2:4]},
        ("QVL-ACC-001", *PLACES[0]): "ERROR",
        ("QVL-LAT-002", *PLACES[7]): "INCONCLUSIVE",
        ("QVL-OPE-001", *PLACES[6]): "SKIPPED",
        ("QVL-CON-001", *PLACES[6]): "INVALID",
    }
)


def screen_lines(lines: list[str], width: int) -> int:
    return sum(max(1, -(-len(line) // width)) for line in lines)


@pytest.mark.parametrize("record", [full_run(), BROKEN], ids=["passing", "broken"])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_default_run_fits_one_screen(record: RunRecord, width: int) -> None:
    lines = render_summary(record, width, report=REPORT)
    assert screen_lines(lines, width) <= 24
    for line in lines:
        assert len(line) <= width or "reproduce:" in line
    text = " ".join(lines)
    for group in GROUPS:
        assert group in text
    for model, deployment in PLACES:
        assert f"{model}/{deployment}" in text
    assert "no NPU was involved" in text
    assert str(REPORT) in text
    assert "not run: qwen3-vl-2b" in text


def test_verdict_is_the_first_word() -> None:
    assert render_summary(full_run(), 80)[0].startswith("CONFORMANT")
    assert render_summary(BROKEN, 80)[0].startswith("NON-CONFORMANT")


@pytest.mark.parametrize("width", [10, 20, 40, 60])
def test_narrow_screen_loses_no_verdict_and_no_cell(width: int) -> None:
    lines = render_summary(BROKEN, width, report=REPORT)
    flat = "".join("".join(lines).split())
    assert "".join(BROKEN.verdict_sentence.split()) in flat
    assert sum("3/4F" in "".join(line.split()) for line in lines) == 2


def columns(line: str, label: str) -> list[str]:
    assert line.startswith(label)
    return line[len(label) :].split()


@pytest.mark.parametrize("width", [80, 160])
def test_row_counts_what_passed_under_the_right_header(width: int) -> None:
    lines, letters = table_lines(rows_of(settle(BROKEN.results, [])), width)
    row = next(line for line in lines if line.startswith(f"{MODEL}/serve-1npu"))
    at = next(line.index("multi_image") for line in lines if "multi_image" in line)
    assert row[at:].startswith("3/4F" if letters else "3/4 FAIL")
    at = next(line.index("environment") for line in lines if "environment" in line)
    brief = any(line.startswith("7: 7/7 passed") for line in lines)
    assert brief == (width == 80)
    assert row[at:].startswith("4 " if brief else "4/4 ")


IN_CELLS = [it.value for it in Outcome if it.value not in ("PASS", "UNSUPPORTED")]


@pytest.mark.parametrize("outcome", IN_CELLS)
def test_cell_names_its_worst_outcome(outcome: str) -> None:
    results = [result(), result("QVL-SRV-002", outcome), result("QVL-SRV-003", "SKIPPED")]
    lines, _ = table_lines(rows_of(settle(results, [])), 120)
    assert lines[-1].split("  ", 1)[1].strip() == f"1/3 {outcome}"


def test_unjudged_claim_counts_in_its_cell_and_is_listed() -> None:
    record = judge_run(
        run(
            results=[result()],
            requirements=[requirement("QVL-SRV-001"), requirement("QVL-SRV-002")],
            planned=[claim(), claim("QVL-SRV-002")],
            interrupted="Ctrl-C",
        )
    )
    text = "\n".join(render_summary(record, 100))
    assert "1/2 NOT JUDGED" in text
    assert "not judged: 1 claimed (QVL-SRV-002)" in text
    assert "Ctrl-C" in text


def test_failures_say_what_must_be_what_was_seen_and_how_to_see_it_again() -> None:
    record = full_run({("QVL-MUL-003", MODEL, "serve-1npu"): "FAIL"})
    lines = render_summary(record, 120)
    at = next(number for number, line in enumerate(lines) if line.startswith("FAIL "))
    assert f"QVL-MUL-003 on {MODEL}/serve-1npu: The server MUST keep QVL-MUL-003." in lines[at]
    assert "expected HTTP 400 for 4 images, saw 200" in lines[at + 1]
    assert lines[at + 2] == (
        f"  reproduce: pytest --npus=2 'conformance/test_multi_image.py::test_it[{MODEL}]'"
    )


def test_failures_that_do_not_fit_are_counted_and_named() -> None:
    record = full_run({(f"QVL-OPE-00{n}", *PLACES[2]): "FAIL" for n in range(1, 5)})
    lines = render_summary(record, 80)
    shown = sum(line.startswith("FAIL ") for line in lines)
    rest = next(line for line in lines if line.startswith("and "))
    assert shown >= 1
    assert rest.startswith(f"and {4 - shown} more: QVL-OPE-00{shown + 1}")
    tall = render_summary(record, 80, height=60)
    assert sum(line.startswith("FAIL ") for line in tall) > shown


def test_core_failures_come_before_errors_and_extended_ones() -> None:
    record = judge_run(
        run(
            results=[
                result("QVL-AAA-001", "FAIL", level="extended", reason="x"),
                result("QVL-BBB-001", "ERROR", reason="x"),
                result("QVL-CCC-001", "FAIL", reason="x"),
            ]
        )
    )
    lines = [line.split()[1] for line in render_summary(record, 80) if " on " in line
             and line.startswith(("FAIL", "ERROR"))]  # fmt: skip
    assert lines == ["QVL-CCC-001", "QVL-BBB-001", "QVL-AAA-001"]


def test_long_list_of_good_news_is_folded_and_bad_is_not() -> None:
    results = [
        result(model=f"model-{m}", deployment=f"serve-{d}npu",
               outcome="FAIL" if (m, d) == (3, 2) else "PASS")
        for m in range(9) for d in range(4)
    ]  # fmt: skip
    lines = render_summary(judge_run(run(results=results)), 80)
    assert any(line.startswith("model-1 (4 deployments)") and "4/4" in line for line in lines)
    assert sum(line.startswith("model-3/serve-") for line in lines) == 4


def test_reasons_for_not_running_are_gathered() -> None:
    entries = [NotRun(model=f"m{n}", reason=f"reason {n // 4}") for n in range(12)]
    record = judge_run(run(results=[result()], not_run=entries))
    lines = [line for line in render_summary(record, 80) if line.startswith("not run")]
    assert len(lines) == 2
    assert "m0" in lines[0]
    assert "8 more, for 2 other reasons" in lines[1]


def test_run_of_nothing_still_says_so() -> None:
    lines = render_summary(judge_run(run()), 80, trouble="the disk is full")
    assert lines[0].startswith("PARTIAL: nothing was judged")
    assert lines[-1] == "report problem: the disk is full"


def test_host_results_have_a_row_of_their_own() -> None:
    record = judge_run(run(results=[result(), result("QVL-ENV-001", model="", deployment="")]))
    assert any(line.startswith("host ") for line in render_summary(record, 80))


class Written:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, bool]]] = []

    def write_line(self, line: str, **markup: bool) -> None:
        self.lines.append((line, markup))


def test_terminal_gets_the_same_lines_with_the_verdict_in_its_colour() -> None:
    terminal = Written()
    write_summary(BROKEN, terminal, 80, report=REPORT)
    assert [line for line, _ in terminal.lines] == render_summary(BROKEN, 80, report=REPORT)
    assert terminal.lines[0][1] == {"red": True, "bold": True}
    assert any(line.startswith("FAIL ") and m == {"red": True} for line, m in terminal.lines)
    terminal = Written()
    write_summary(full_run(), terminal, 80)
    assert terminal.lines[0][1] == {"green": True, "bold": True}


# --- one requirement's failure -------------------------------------------------------------


def failing(**fields: object) -> Result:
    return result(
        "QVL-SRV-001",
        "FAIL",
        **{
            "reason": "expected HTTP 400\nsaw HTTP 200",
            "evidence": {"status": 200, "body": "x" * 5000},
            "log": "\n".join(f"log line {n}" for n in range(1, 201)),
            "reproduce": "pytest 'conformance/test_serve.py::test_it[" + "x" * 120 + "]'",
            **fields,
        },
    )


def test_failure_text_holds_everything_on_one_screen() -> None:
    text = failure_text(failing(), requirement(), width=80)
    lines = text.splitlines()
    assert len(lines) <= 22
    assert lines[0] == f"FAIL QVL-SRV-001 (core) on {MODEL}/{SERVE}"
    assert lines[1] == "The server MUST keep QVL-SRV-001."
    assert "expected HTTP 400" in lines
    assert "  status: 200" in lines
    assert "  log line 200" in lines
    assert "more lines in the report" in text
    assert lines[-1] == f"reproduce: {failing().reproduce}"


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": "\n".join(f"why {n}" for n in range(300))},
        {"reason": "", "evidence": {}, "log": ""},
        {"evidence": {f"value {n}": n for n in range(100)}},
        {"evidence": {f"value {n}": n for n in range(100)}, "log": "only line"},
        {"log": "", "reproduce": ""},
    ],
)
def test_failure_text_fits_whatever_there_is_of_each(fields: dict[str, object]) -> None:
    one = failing(**fields)
    text = failure_text(one, None, width=80)
    lines = text.splitlines()
    assert len(lines) <= 22
    assert lines[0].startswith("FAIL QVL-SRV-001")
    assert (one.reason.splitlines() or ["no reason was given"])[0] in text
    if one.reproduce:
        assert lines[-1].endswith(one.reproduce)
    if one.evidence:
        assert "evidence:" in lines
    if one.log:
        assert f"  {one.log.splitlines()[-1]}" in lines


def test_what_is_not_supported_is_listed_below_the_table() -> None:
    entries = [requirement("QVL-SRV-001"), requirement("QVL-VID-001", level="extended")]
    lacking = result("QVL-VID-001", "UNSUPPORTED", group="video", level="extended", reason="none")
    record = judge_run(run(results=[result(), lacking], requirements=entries))
    lines = render_summary(record, 80)
    assert record.verdict is Verdict.CONFORMANT
    assert "unsupported (extended): QVL-VID-001" in lines
    assert not any("video" in line for line in lines)
    assert not any(line.startswith("UNSUPPORTED") for line in lines)


UNDECIDED = [
    Undecided(requirement="QVL-SRV-002", model=MODEL, deployment=SERVE, reason="needs the log"),
    Undecided(requirement="QVL-SRV-005", model=MODEL, deployment=SERVE, reason="needs the log"),
    Undecided(requirement="", model=MODEL, deployment="serve-2npu", reason="held to one alone"),
]


def test_attached_run_says_what_it_left_undecided() -> None:
    url = "http://127.0.0.1:8000"
    record = judge_run(
        run(results=[result()], endpoint=url, scope=f"--endpoint={url}", backend="", npus=0,
            undecided=UNDECIDED)
    )  # fmt: skip
    assert record.verdict is Verdict.CONFORMANT
    sentence = record.verdict_sentence
    assert sentence.startswith(f"CONFORMANT within `--endpoint={url}`: ")
    assert "passed every core requirement in its reach (1 results)" in sentence
    assert sentence.endswith("not seen, and 2 requirements are left undecided.")
    assert record.model_verdicts[0].reason.endswith("passed, on an attached server")
    lines = render_summary(record, 100)
    assert "undecided, needs the log: QVL-SRV-002, QVL-SRV-005" in lines
    assert f"undecided, held to one alone: {MODEL}/serve-2npu" in lines


def test_attached_run_of_many_requirements_fits_one_screen() -> None:
    undecided = [
        Undecided(requirement=f"QVL-UND-{n:03d}", model=MODEL, reason=f"needs what {n % 7} has")
        for n in range(60)
    ]
    whole = full_run({("QVL-OPE-001", *PLACES[2]): "FAIL", ("QVL-LAT-002", *PLACES[2]): "ERROR"})
    mine = [it for it in whole.results if (it.model, it.deployment) == PLACES[2]]
    url = "http://a-host.of-the-vendor.example:8000"
    record = judge_run(
        whole.model_copy(
            update={"results": mine, "endpoint": url, "scope": f"--endpoint={url}",
                    "undecided": undecided, "not_run": []}
        )
    )  # fmt: skip
    lines = render_summary(record, 80, report=REPORT)
    assert screen_lines(lines, 80) <= 24
    assert sum(line.startswith("undecided") for line in lines) == 5
    assert lines[-2].startswith("undecided: ")


def test_waiver_that_is_wrong_is_told() -> None:
    entry = WaiverRecord(requirement="QVL-SRV-*", model="*", deployment="*", reason="4711",
                         owner="we", expires="2027-01-01", used=0, problem="expired")  # fmt: skip
    record = judge_run(run(results=[result()], waivers=[entry]))
    assert "waiver problem: QVL-SRV-* (we): expired" in render_summary(record, 80)
