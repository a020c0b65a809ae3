"""A load is read strictly, invalid ones are never judged, valid ones by an exact test."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.bench_result import LoadResult, read_bench
from pytest_qwenvl.measure.latency import judge_latency, judge_load
from pytest_qwenvl.measure.load_summary import summary_ms
from pytest_qwenvl.measure.validity import check_validity, unanswered
from pytest_qwenvl.profile_latency import LatencyBudget
from pytest_qwenvl.report.results import Outcome
from tests.measure.loads import SAMPLES, TEXT, budget, looked_after, made, workload

Edit = Callable[[Any], object]


def edited(tmp_path: Path, edit: Edit, source: Path = TEXT) -> Path:
    data = json.loads(source.read_text())
    edit(data)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("name", ["bench-text.json", "bench-image.json"])
def test_recorded_loads_are_valid(name: str) -> None:
    load = looked_after(read_bench(SAMPLES / name))
    assert check_validity(load, workload()) == []
    assert (load.completed, load.failed, len(load.rows)) == (12, 0, 12)
    assert load.client_times
    for metric, percentiles in summary_ms(load).items():
        for name, value in percentiles.items():
            assert value == pytest.approx(load.reported[f"{name}_{metric}_ms"], abs=1e-3)


def test_a_server_that_fails_every_request_is_not_fast() -> None:
    path = SAMPLES / "bench-all-failed.json"
    # The client itself reports a p99 of 0 ms for it.
    assert json.loads(path.read_text())["p99_ttft_ms"] == 0.0
    load = looked_after(read_bench(path))
    judgement = judge_load(load, workload())
    assert judgement.outcome is Outcome.FAIL
    assert "0 of 12 requests completed" in judgement.sentence
    assert "request 0: Not Found" in judgement.sentence
    assert summary_ms(load) == {}
    for limit in (0.001, 1e6):
        judgement = judge_latency(load, workload(), budget(budget_ms=limit))
        assert judgement.outcome is Outcome.INVALID


def test_tpot_is_per_token_after_the_first() -> None:
    row = read_bench(TEXT).rows[0]
    assert row.tpot == pytest.approx((row.e2el - row.ttft) / 7)
    assert row.e2el == pytest.approx(row.ttft + sum(row.itls), abs=1e-6)


def fail_one(data: Any) -> None:
    """One request fails, as the client writes it down; its percentiles leave that one out."""
    data.update(completed=11, failed=1)
    for key, value in (("ttfts", 0.0), ("itls", []), ("output_lens", 0), ("errors", "Bad Gateway"),
                       ("latencies", 0.0)):  # fmt: skip
        data[key][3] = value


INVALID: dict[str, tuple[Edit, str]] = {
    "one failed": (fail_one, "1 requests failed"),
    "one failed, its error": (fail_one, "request 3: Bad Gateway"),
    "one missing": (lambda data: data.update(completed=11), "11 of 12 requests completed"),
    "failures not counted": (lambda data: data.pop("failed"), "does not count failed requests"),
    "an answer cut short": (lambda data: data["output_lens"].__setitem__(4, 7),
                            "1 answers are not the 8 tokens"),
    "an answer too long": (lambda data: data["output_lens"].__setitem__(4, 9), "(9 to 9)"),
    "another rate asked": (lambda data: data.update(request_rate=4.0), "at 4 requests/s"),
    "all at once": (lambda data: data.update(request_rate="inf"), "at inf requests/s"),
    "held back": (lambda data: data.update(max_concurrency=4), "max_concurrency 4"),
    "sent too slowly": (lambda data: data.update(
        start_times=[2 * each for each in data["start_times"]]), "it takes 7.6/s"),
    "one sending time": (lambda data: data.update(start_times=[1.0] * 12), "same sending time"),
    "another p99": (lambda data: data.update(p99_ttft_ms=1.0), "p99_ttft_ms is reported"),
    "another mean": (lambda data: data.update(mean_tpot_ms=1.0), "mean_tpot_ms is reported"),
    "another median": (lambda data: data.update(median_e2el_ms=1.0), "median_e2el_ms"),
    "a longer p99 than the rows": (lambda data: data.update(
        p99_e2el_ms=data["p99_e2el_ms"] + 1), "p99_e2el_ms is reported"),
    "a clock that jumped forward": (lambda data: data.update(duration=0.5), "jumped forward"),
    "a clock that jumped back": (lambda data: data["start_times"].__setitem__(5, 0.0),
                                 "jumped back"),
    "an answer after the end": (lambda data: data["start_times"].__setitem__(
        11, data["start_times"][11] + 5), "took 1.54 s: the client's clock jumped"),
    "faster rows": (lambda data: data["ttfts"].__setitem__(8, 0.001), "p99_ttft_ms"),
    "slower gaps": (lambda data: data["itls"][0].__setitem__(0, 5.0), "mean_itl_ms"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_load_is_neither_pass_nor_fail(name: str, tmp_path: Path) -> None:
    edit, reason = INVALID[name]
    load = looked_after(read_bench(edited(tmp_path, edit)))
    reasons = check_validity(load, workload())
    assert any(reason in each for each in reasons), reasons
    for limit in (0.001, 1e6):  # one that every request breaks, one that none does
        for vouched in (True, False):
            judgement = judge_latency(load, workload(), budget(budget_ms=limit, vouched=vouched))
            assert judgement.outcome is Outcome.INVALID
            assert reason in judgement.sentence
    assert judge_load(load, workload()).outcome in (Outcome.INVALID, Outcome.FAIL)


def test_failed_requests_make_nothing_look_quick(tmp_path: Path) -> None:
    whole = summary_ms(read_bench(TEXT))

    def fail_most(data: Any) -> None:
        data.update(completed=3, failed=9)
        for index in range(9):
            data["ttfts"][index], data["itls"][index], data["errors"][index] = 0.0, [], "gone"
        for key in [key for key in data if key.endswith("_ms")]:
            del data[key]

    load = looked_after(read_bench(edited(tmp_path, fail_most)))
    rows = load.rows[9:]
    assert summary_ms(load)["ttft"]["p50"] == pytest.approx(sorted(r.ttft for r in rows)[1] * 1000)
    assert summary_ms(load)["ttft"]["p50"] > whole["ttft"]["p50"] / 2
    reasons = check_validity(load, workload())
    assert not any("is reported" in each for each in reasons)
    assert any("9 requests failed" in each for each in reasons)


def test_another_number_of_requests_is_invalid() -> None:
    reasons = check_validity(read_bench(TEXT), workload(num_prompts=20))
    assert any("20 requests were to be sent" in each for each in reasons)


def test_an_older_client_counts_the_usage_chunk(tmp_path: Path) -> None:
    def older(data: Any) -> None:
        del data["latencies"], data["queue_times"]
        for key in data:
            if key.endswith(("e2el_ms", "tpot_ms")):
                data[key] += 0.5

    assert check_validity(looked_after(read_bench(edited(tmp_path, older))), workload()) == []

    def faster(data: Any) -> None:
        older(data)
        data["p99_e2el_ms"] -= 5

    reasons = check_validity(looked_after(read_bench(edited(tmp_path, faster))), workload())
    assert len(reasons) == 1
    assert "p99_e2el_ms is reported" in reasons[0]


UNREADABLE: dict[str, tuple[Edit, str]] = {
    **{
        f"no {key}": (lambda data, key=key: data.pop(key), key)  # type: ignore[misc]
        for key in ("num_prompts", "completed", "duration", "request_rate", "ttfts", "itls",
                    "start_times", "input_lens", "output_lens", "errors")
    },
    "NaN ttft": (lambda data: data["ttfts"].__setitem__(0, float("nan")), "NaN"),
    "infinite gap": (lambda data: data["itls"][0].__setitem__(0, float("inf")), "Infinity"),
    "NaN percentile": (lambda data: data.update(p99_ttft_ms=float("nan")), "NaN"),
    "negative ttft": (lambda data: data["ttfts"].__setitem__(0, -0.1), r"ttfts\[0\] is -0.1"),
    "negative gap": (lambda data: data["itls"][2].__setitem__(0, -1e-9), r"itls\[2\]"),
    "text for a time": (lambda data: data["ttfts"].__setitem__(0, "0.1"), "'0.1'"),
    "bool for a length": (lambda data: data["output_lens"].__setitem__(0, True), "True"),
    "null length": (lambda data: data["output_lens"].__setitem__(0, None), "None"),
    "a row short": (lambda data: data["ttfts"].pop(), "differ in length"),
    "negative completed": (lambda data: data.update(completed=-1), "completed is -1; expected"),
    "completed without a first token": (lambda data: data["ttfts"].__setitem__(0, 0.0),
                                        "only 11 have a time"),
    "completed with an error": (lambda data: data["errors"].__setitem__(0, "x"), "only 11"),
    "no number for failed": (lambda data: data.update(failed="0"), "failed is '0'"),
    "rate zero": (lambda data: data.update(request_rate=0), "request_rate is 0"),
    "text for a concurrency": (lambda data: data.update(max_concurrency="4"), "max_concurrency"),
    "ttfts no list": (lambda data: data.update(ttfts=0.1), "not a list"),
    "queue times short": (lambda data: data["queue_times"].pop(), "11 queue_times"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_measurement_is_an_error(name: str, tmp_path: Path) -> None:
    edit, problem = UNREADABLE[name]
    path = edited(tmp_path, edit)
    with pytest.raises(MeasurementError, match=problem) as raised:
        read_bench(path)
    assert str(path) in str(raised.value)


def test_a_number_beyond_floats_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    first = json.loads(TEXT.read_text())["ttfts"][0]
    path.write_text(TEXT.read_text().replace(str(first), "1e999"))
    with pytest.raises(MeasurementError, match="inf"):
        read_bench(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", TEXT.read_text()[:2000]])
def test_truncated_or_foreign_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(MeasurementError, match=r"bench\.json"):
        read_bench(path)


def test_nothing_completed_is_not_taken_for_speed(tmp_path: Path) -> None:
    load = read_bench(edited(tmp_path, lambda data: data.update(completed=0)))
    assert "0 of 12 requests completed" in unanswered(load, workload())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no readable result"):
        read_bench(tmp_path / "none.json")


def judged(load: LoadResult, limit: LatencyBudget) -> tuple[Outcome, dict[str, Any]]:
    shape = workload(num_prompts=len(load.rows), request_rate=10.0, output_tokens=2)
    assert check_validity(load, shape) == []
    judgement = judge_latency(load, shape, limit)
    json.dumps(judgement.evidence)
    return judgement.outcome, dict(judgement.evidence)


def spread_out(slow: list[float], quick: list[float]) -> list[float]:
    """Both, mixed, so that nothing drifts over the run."""
    mixed = slow + quick
    random.Random(3).shuffle(mixed)
    return mixed


@pytest.mark.parametrize(
    ("n", "over", "outcome"),
    [(299, 0, Outcome.PASS), (298, 0, Outcome.INCONCLUSIVE), (299, 1, Outcome.INCONCLUSIVE),
     (473, 1, Outcome.PASS), (200, 8, Outcome.FAIL), (200, 200, Outcome.FAIL)],
)  # fmt: skip
def test_exact_judgement_of_p99(n: int, over: int, outcome: Outcome) -> None:
    load = made(spread_out([0.2] * over, [0.05] * (n - over)))
    found, evidence = judged(load, budget(percentile=99, budget_ms=100))
    assert found is outcome
    assert (evidence["over_budget"], evidence["requests"]) == (over, n)


def test_a_request_at_the_budget_is_within_it(tmp_path: Path) -> None:
    load = made([0.125] * 299)
    assert judged(load, budget(percentile=99, budget_ms=125))[0] is Outcome.PASS


def test_every_metric_has_its_own_values(tmp_path: Path) -> None:
    load = made([0.05] * 20, gap=0.02)
    for metric, value in (("ttft", 50), ("tpot", 20), ("e2el", 70)):
        assert judged(load, budget(metric, budget_ms=value + 1))[0] is Outcome.PASS  # type: ignore[arg-type]
        assert judged(load, budget(metric, budget_ms=value - 1))[0] is Outcome.FAIL  # type: ignore[arg-type]


def test_inconclusive_says_what_it_takes(tmp_path: Path) -> None:
    shape = workload(num_prompts=50, request_rate=10.0, output_tokens=2)
    few = judge_latency(made([0.05] * 50), shape, budget(percentile=99))
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "it takes 299 requests" in few.sentence
    assert few.evidence["requests_at_this_share"] == 299
    near = judge_latency(made([1.0, *[0.05] * 49]), shape, budget(percentile=99))
    assert near.outcome is Outcome.INCONCLUSIVE
    assert "473 requests would, with no more than 1 over" in near.sentence
    assert near.evidence["requests_at_this_share"] is None


@pytest.mark.parametrize("limit", [1.0, 1000.0])
def test_what_nobody_vouches_for_is_reported_only(limit: float, tmp_path: Path) -> None:
    load = made([0.05] * 20)
    found, evidence = judged(load, budget(budget_ms=limit, vouched=False))
    assert found is Outcome.SKIPPED
    assert evidence["observed_ms"] == pytest.approx(50)


def test_gaps_are_not_independent_and_not_gated(tmp_path: Path) -> None:
    load = made([0.05] * 20, gap=0.02)
    assert judged(load, budget("itl", budget_ms=1))[0] is Outcome.INCONCLUSIVE
    assert judged(load, budget("itl", budget_ms=1, vouched=False))[0] is Outcome.SKIPPED


def test_tpot_of_one_token_is_invalid() -> None:
    shape = workload(output_tokens=1)
    judgement = judge_latency(looked_after(read_bench(TEXT)), shape, budget("tpot"))
    assert judgement.outcome is Outcome.INVALID
    assert "at least two output tokens" in judgement.sentence


def test_only_one_budget_gates() -> None:
    two = [budget("ttft"), budget("tpot", budget_ms=10)]
    with pytest.raises(ValueError, match=r"2 budgets for cpu with 1 devices that gate; one may"):
        workload(budgets=two)
    reported = [two[0], two[1].model_copy(update={"vouched": False})]
    assert len(workload(budgets=reported).budgets) == 2
