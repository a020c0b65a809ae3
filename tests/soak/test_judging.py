"""What a soak's record comes to, requirement by requirement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_qwenvl.measure.soak import SOAK_JUDGES
from pytest_qwenvl.measure.soak_record import Answer, Overstay, Probe, Soak, Tally, Wrong
from pytest_qwenvl.report.results import Outcome
from tests.soak.records import CLEAN, LOAD, RIGHT, level, rising, series, soak

PASS, FAIL = Outcome.PASS, Outcome.FAIL
INCONCLUSIVE, INVALID = Outcome.INCONCLUSIVE, Outcome.INVALID


def judged(soak: Soak) -> dict[str, Outcome]:
    return {name: judge(soak, LOAD).outcome for name, judge in SOAK_JUDGES.items()}


def sentence(name: str, soak: Soak) -> str:
    return SOAK_JUDGES[name](soak, LOAD).sentence


def test_a_clean_soak_passes_all_that_was_seen() -> None:
    outcomes = judged(CLEAN)
    assert outcomes.pop("soak-device-memory") is INCONCLUSIVE
    assert set(outcomes.values()) == {PASS}


@pytest.mark.parametrize(
    ("watched", "name"),
    [
        (rising("memory", 300), "soak-memory"),
        (rising("device memory", 300, "npu0"), "soak-device-memory"),
        (rising("descriptors", 60, value=80), "soak-descriptors"),
        (rising("threads", 60, value=30), "soak-descriptors"),
        (rising("sockets", 60, value=12), "soak-descriptors"),
        (rising("latency", 0.2, "colour", 0.1), "soak-latency"),
    ],
)
def test_what_grows_fails_one_requirement(watched: Any, name: str) -> None:
    outcomes = judged(soak(watched))
    assert [it for it, outcome in outcomes.items() if outcome is FAIL] == [name]
    assert "an hour" in sentence(name, soak(watched))
    assert watched.of in sentence(name, soak(watched))


def test_one_process_of_several_is_named() -> None:
    grown = soak(level("memory"), rising("memory", 300, "VLLM::EngineCore"))
    said = sentence("soak-memory", grown)
    assert "memory of VLLM::EngineCore changed by +300 MiB an hour" not in said  # it has no unit
    assert "memory of VLLM::EngineCore changed by +300 an hour" in said
    assert "API server" not in said


def test_a_short_soak_is_told_how_long_it_takes() -> None:
    short = replace(CLEAN, duration=240.0, minutes=4.0)
    assert judged(short)["soak-memory"] is PASS, "its series are an hour long all the same"
    watched = tuple(
        replace(
            one,
            times=one.times[:48],
            values=one.values[:48],
            lows=one.lows[:48],
            highs=one.highs[:48],
        )
        for one in CLEAN.watched
    )
    short = replace(short, watched=watched)
    assert judged(short)["soak-memory"] is INCONCLUSIVE
    assert "--soak 10 would tell" in sentence("soak-memory", short)


@pytest.mark.parametrize("name", ["soak-memory", "soak-descriptors", "soak-latency"])
def test_nothing_seen_is_no_pass(name: str) -> None:
    blind = replace(CLEAN, watched=(), unseen={"memory": "the server is attached"})
    assert judged(blind)[name] is INCONCLUSIVE
    assert "the server is attached" in sentence("soak-memory", blind)


@pytest.mark.parametrize(
    ("changed", "outcome", "said"),
    [
        ({"settled": None, "left": 2.0}, FAIL, "2 requests still ran or waited"),
        ({"overstays": (Overstay(600, 700, 1, 20, 15),)}, FAIL, "from minute 10.0 to 11.7"),
        ({"overstays": (Overstay(600, 630, 1, 6, 6),)}, PASS, "left the engine"),
        ({"overstays": (Overstay(600, 700, 1, 20, 5),)}, PASS, "left the engine"),
        ({"foreign": 3.0}, INCONCLUSIVE, "somebody else uses the server"),
        ({"left": None, "settled": None, "unseen": {"requests running": "no /metrics"}},
         INCONCLUSIVE, "no /metrics"),
    ],
)  # fmt: skip
def test_requests_that_stay(changed: dict[str, Any], outcome: Outcome, said: str) -> None:
    found = replace(CLEAN, **changed)
    assert judged(found)["soak-requests"] is outcome
    assert said in sentence("soak-requests", found)


def probe(*answers: tuple[str, bool, int]) -> Soak:
    given = tuple(Answer(text, right, times, 60.0, 90.0) for text, right, times in answers)
    return replace(CLEAN, probes=(Probe("colour", sum(it.times for it in given), given),))


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (probe(("Red.", True, 200)), PASS),
        (probe(("Red.", True, 199), ("It is red.", True, 1)), FAIL),
        (probe(("Red.", True, 199), ("Blue.", False, 1)), FAIL),
        (probe(("Blue.", False, 200)), PASS),
        (probe(("Red.", True, 1)), INCONCLUSIVE),
        (replace(CLEAN, probes=()), INCONCLUSIVE),
        (replace(CLEAN, probes=(RIGHT, Probe("chat", 9, ()))), INCONCLUSIVE),
    ],
)
def test_answers(found: Soak, outcome: Outcome) -> None:
    assert judged(found)["soak-answers"] is outcome


def test_agreement_allows_other_words_and_no_wrong_answer() -> None:
    load = LOAD.model_copy(update={"agreement": 0.9})
    judge = SOAK_JUDGES["soak-answers"]
    assert judge(probe(("Red.", True, 195), ("It is red.", True, 5)), load).outcome is PASS
    assert judge(probe(("Red.", True, 195), ("Blue.", False, 5)), load).outcome is FAIL


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"died": "it ended with signal 9"}, "signal 9"),
        ({"gone": ("VLLM::EngineCore",)}, "VLLM::EngineCore ended"),
        (
            {
                "requests": {"text": Tally(100, 1, 0)},
                "wrong": (Wrong(61.0, "text", "expected 200, seen HTTP 500"),),
            },
            "1 of 100 requests, and 0 probes",
        ),
        (
            {"wrong": (Wrong(61.0, "probe chat", "HTTP 500"),), "probes": (
                Probe("chat", 3, (Answer("Hi.", True, 2, 1.0, 9.0),)),)},
            "and 1 probes",
        ),
    ],
)  # fmt: skip
def test_what_does_not_survive(changed: dict[str, Any], said: str) -> None:
    found = replace(CLEAN, **changed)
    assert judged(found)["soak-survival"] is FAIL
    assert said in sentence("soak-survival", found)


@pytest.mark.parametrize(
    "changed",
    [{"requests": {"text": Tally(50, 0, 50)}}, {"requests": {}}, {"died": "gone"}],
)
def test_another_load_passes_nothing(changed: dict[str, Any]) -> None:
    outcomes = judged(replace(CLEAN, **changed))
    assert PASS not in outcomes.values()


def test_a_leak_counts_whatever_the_load() -> None:
    found = replace(soak(rising("memory", 300)), requests={"text": Tally(50, 0, 50)})
    assert judged(found)["soak-memory"] is FAIL
    assert judged(replace(CLEAN, requests=found.requests))["soak-memory"] is INVALID


@pytest.mark.parametrize(
    ("others", "outcome"), [(0.05, FAIL), (0.4, INCONCLUSIVE), (None, INCONCLUSIVE)]
)
def test_a_busy_or_unseen_host_takes_the_blame(others: float | None, outcome: Outcome) -> None:
    slower = rising("latency", 0.2, "colour", 0.1)
    host = [] if others is None else [series("cores used by others", "", lambda at: others)]
    found = soak(slower, *host)
    if others is None:
        seen = tuple(it for it in found.watched if it.quantity != "cores used by others")
        found = replace(found, watched=seen)
    assert judged(found)["soak-latency"] is outcome
