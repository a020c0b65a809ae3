"""Which deployment goes where: what fits, what waits, what is kept for whom."""

from __future__ import annotations

from dataclasses import replace

from pytest_qwenvl.fleet.durations import learned_seconds, with_durations
from pytest_qwenvl.fleet.placing import (
    Busy,
    Host,
    Job,
    in_order,
    lower_bound,
    place,
    why_not,
)
from pytest_qwenvl.report.results import AttemptRecord
from tests.report.records import result, run

MODELS = frozenset({"m"})


def host(name: str, devices: int = 8, **more: object) -> Host:
    return Host(id=name, name=name, devices=devices, models=MODELS, **more)  # type: ignore[arg-type]


def job(name: str, devices: int = 1, seconds: float = 10.0, **more: object) -> Job:
    return Job(f"m/{name}", "m", devices, seconds, **more)  # type: ignore[arg-type]


def placed(*arguments: object, **more: object) -> dict[str, str]:
    return {its.id: where.id for its, where in place(*arguments, **more)}  # type: ignore[arg-type]


def test_dearest_first_and_the_same_every_time():
    jobs = [job("short", 8, 1.0), job("long", 1, 9.0), job("wide", 4, 9.0)]
    assert [its.id for its in in_order(jobs)] == ["m/wide", "m/long", "m/short"]
    assert in_order(reversed(jobs)) == in_order(jobs)


def test_large_holes_are_left_for_what_needs_them():
    found = placed([job("small", 2), job("large", 8)], [host("a"), host("b", 2)], [], 0.0)
    assert found == {"m/small": "b", "m/large": "a"}


def test_no_host_is_given_more_than_it_has():
    busy = [Busy("a", 7, 50.0)]
    found = placed([job("one"), job("two"), job("three", 2)], [host("a")], busy, 0.0)
    assert found == {"m/one": "a"}


def test_a_host_is_kept_for_what_is_large_unless_the_small_is_over_by_then():
    busy = [Busy("a", 4, 30.0)]
    large = job("large", 8, 100.0)
    assert placed([large, job("small", 1, 31.0)], [host("a")], busy, 0.0) == {}
    assert placed([large, job("small", 1, 30.0)], [host("a")], busy, 0.0) == {"m/small": "a"}


def test_the_fleet_holds_no_more_than_it_may():
    jobs = [job("a", 4), job("b", 4), job("c", 1)]
    found = placed(jobs, [host("x"), host("y")], [Busy("x", 2, 9.0)], 0.0, most=7)
    assert found == {"m/a": "x", "m/c": "x"}


def test_elsewhere_where_there_is_an_elsewhere():
    lost = {"m/a": {"x"}}
    assert placed([job("a")], [host("x", 1), host("y")], [], 0.0, avoided=lost) == {"m/a": "y"}
    busy = [Busy("y", 8, 5.0)]
    assert placed([job("a")], [host("x"), host("y")], busy, 0.0, avoided=lost) == {}
    assert placed([job("a")], [host("x")], [], 0.0, avoided=lost) == {"m/a": "x"}


def test_hosts_that_lost_attempts_come_last():
    assert placed([job("a")], [host("x", 1), host("y")], [], 0.0, trouble={"x": 1}) == {"m/a": "y"}


def test_hardware_labels_and_weights_decide():
    a3 = host("a3", hardware="a3", labels=(("rack", "7"),))
    wanted = job("a", hardware=("a3",), labels=(("rack", "7"),))
    assert placed([wanted], [host("a2", hardware="a2"), a3], [], 0.0) == {"m/a": "a3"}
    assert why_not(wanted, replace(a3, hardware="a2")) == "is a2, not a3"
    assert why_not(wanted, replace(a3, labels=())) == "lacks the label rack=7"
    assert why_not(wanted, replace(a3, models=frozenset())) == "lacks the weights of m"
    assert why_not(replace(wanted, devices=9), a3) == "has 8 of 9 devices"
    assert why_not(wanted, a3) == ""


def test_what_suffers_from_neighbours_has_a_host_alone():
    alone = job("a", whole_host=True)
    assert placed([alone], [host("x")], [Busy("x", 1, 5.0)], 0.0) == {}
    assert placed([alone, job("b")], [host("x")], [], 0.0) == {"m/a": "x"}


def test_bound():
    jobs = [job("a", 8, 10.0), job("b", 8, 10.0), job("c", 1, 12.0)]
    assert lower_bound(jobs, [host("x")]) == (80 + 80 + 12) / 8
    assert lower_bound(jobs, [host("x", 100)]) == 12.0


def test_durations_are_learned():
    tests = run(results=[
        result(duration=2.0, setup=1.0), result("QVL-SRV-002", duration=4.0),
        result(model="", deployment="", duration=99.0),
    ])  # fmt: skip
    assert learned_seconds([tests]) == {"qwen3-vl-tiny/serve-1npu": 7.0}
    attempt = AttemptRecord(
        model="qwen3-vl-tiny", deployment="serve-1npu", number=1, node="x",
        started=100.0, ended=130.0, outcome="taken",
    )  # fmt: skip
    lost = attempt.model_copy(update={"outcome": "lost", "ended": 101.0})
    fleet = tests.model_copy(update={"attempts": [attempt, lost]})
    assert learned_seconds([tests, fleet]) == {"qwen3-vl-tiny/serve-1npu": 30.0}
    known, unknown = with_durations([job("a", seconds=5.0), job("b", seconds=6.0)], {"m/a": 50.0})
    assert (known.seconds, unknown.seconds) == (50.0, 6.0)
