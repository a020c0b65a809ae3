"""Five runs make a reference; four, or runs of different things, make none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.measure.calibration import Reference
from pytest_qwenvl.profile_accuracy import AccuracyFloor
from tests.measure.evaluations import answered
from tests.report.measured import FLOOR, measured
from tests.report.records import MODEL, result, run
from tests.report.test_gating import stored

HOST = {"cpu": "a processor", "architecture": "aarch64"}
VERSIONS = {"pytest": "9.2.0", "vllm": "0.32.0", "lm_eval": "0.4.13"}
# Of 900: items 0 and 1 come and go.
RIGHT = [range(540), range(1, 540), range(540), range(2, 540), range(540)]


def reports(folder: Path, rights: list[Any], **fields: Any) -> list[str]:
    values: dict[str, Any] = {"host": HOST, "versions": VERSIONS, **fields}
    return [
        stored(folder, measured(answered(right, 900), run_id=f"r{number}", **values), f"{number}")
        for number, right in enumerate(rights)
    ]


def test_reference_of_five_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "references"
    assert main(["calibrate", *reports(tmp_path, RIGHT), "--output", str(out)]) == 0
    reference = Reference.model_validate_json((out / f"{MODEL}.colours.vllm-vlm.json").read_text())
    scores = [540 / 900, 539 / 900, 540 / 900, 538 / 900, 540 / 900]
    mean = sum(scores) / 5
    assert list(reference.runs.values()) == pytest.approx(scores)
    assert reference.mean == pytest.approx(mean)
    assert reference.spread == pytest.approx((sum((s - mean) ** 2 for s in scores) / 4) ** 0.5)
    # Item 0 is right in 3 runs and wrong in 2, item 1 in 4 and 1: 6 and 4 of 10 pairs differ.
    assert reference.agreement == pytest.approx(1 - 10 / 9000)
    assert [(it.doc_id, it.right) for it in reference.uneven] == [(0, 3), (1, 4)]
    assert reference.floor == 0.5977 <= min(scores)
    assert reference.versions == {"vllm": "0.32.0"}
    printed = capsys.readouterr().out
    assert "calibrated = true" in printed and "floor = 0.5977" in printed


def test_what_is_printed_fits_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *reports(tmp_path, RIGHT)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " = " in line]
    printed = {name: json.loads(value) for name, _, value in (it.partition(" = ") for it in lines)}
    AccuracyFloor.model_validate({**FLOOR.model_dump(), **printed})


def test_perfect_runs_show_no_more_than_their_items(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *reports(tmp_path, [range(900)] * 5)]) == 0
    printed = capsys.readouterr().out
    assert "floor = 0.9966" in printed
    assert "as high as a perfect score of so few items shows" in printed


@pytest.mark.parametrize(
    ("rights", "fields", "said"),
    [
        (RIGHT[:4], {}, "4 runs; a reference takes at least 5"),
        (RIGHT[:1], {}, "1 runs"),
    ],
)
def test_too_few(
    rights: list[Any],
    fields: dict[str, Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["calibrate", *reports(tmp_path, rights, **fields)]) == 2
    assert said in capsys.readouterr().err


def sixth(folder: Path, its: Any, **fields: Any) -> str:
    values: dict[str, Any] = {"host": HOST, "versions": VERSIONS, "run_id": "six", **fields}
    return stored(folder, measured(its, **values), "sixth")


@pytest.mark.parametrize(
    ("its", "fields", "said"),
    [
        (answered(range(540), 900), {"run_id": "r0"}, "given twice"),
        (answered(range(540), 900), {"versions": {"vllm": "0.31.0"}}, "one engine"),
        (answered(range(540), 900), {"host": {"cpu": "another"}}, "one kind of host"),
        (answered(range(540), 900, weights="sha256:other"), {}, "weights"),
        (answered(range(540), 900, limit=900.0), {}, "--limit"),
        (answered(range(540), 901), {}, "not in the baseline"),
        (answered(range(540), 900, model_arguments={"dtype": "float16"}), {}, "arguments"),
    ],
)
def test_runs_of_different_things(
    its: Any,
    fields: dict[str, Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [*reports(tmp_path, RIGHT), sixth(tmp_path, its, **fields)]
    assert main(["calibrate", *paths]) == 2
    output = capsys.readouterr()
    assert said in output.err and output.out == ""


def test_reports_without_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [stored(tmp_path, run(results=[result()], run_id=str(n)), str(n)) for n in range(5)]
    assert main(["calibrate", *paths]) == 2
    assert "keeps an evaluation" in capsys.readouterr().err


def test_a_served_model_has_a_reference_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever port its server had; and runs of the two harnesses never make one."""
    limit = FLOOR.model_copy(update={"harness": "local-chat-completions"})
    served = [
        measured(
            answered(
                right, 900, harness="local-chat-completions",
                model_arguments={"base_url": f"http://127.0.0.1:{8000 + number}/v1"},
            ),
            limit=limit, run_id=f"r{number}", host=HOST, versions=VERSIONS,
        )
        for number, right in enumerate(RIGHT)
    ]  # fmt: skip
    paths = [stored(tmp_path, its, its.run_id) for its in served]
    out = tmp_path / "references"
    assert main(["calibrate", *paths, "--output", str(out)]) == 0
    assert 'harness = "local-chat-completions"' in capsys.readouterr().out
    (path,) = out.iterdir()
    assert path.name == f"{MODEL}.colours.local-chat-completions.json"
    offline = reports(tmp_path, RIGHT[:1])
    assert main(["calibrate", *paths[:4], *offline]) == 2
    said = capsys.readouterr().err
    assert "served-evaluation" in said and "4 runs; a reference takes at least 5" in said
