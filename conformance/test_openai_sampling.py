"""Sampling parameters do what they say: shown by answers, not by a status of 200.

Where chance has a part, a healthy server fails by chance less than once in a million runs. Of 64
answers of 48 tokens that ``COUNTING`` gets at temperature 2 from the reference checkpoint, two were
alike: two answers agree with a probability of at most 0.003 (95 % confidence), the most frequent
one has at most its root, 0.055, and six are all alike with at most 0.003 * 0.055 ** 4, below 3e-8,
eight below 1e-9. Published models have a larger vocabulary and spread more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from conformance.asking import chat, choice_of, text_of, tokens_of
from conformance.exchanges import (
    COUNTING,
    OPEN_QUESTIONS,
    answers_of,
    asking,
    choices_of,
    logprobs_of,
    require_endless,
)
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.openai

HOT = 2.0  # the highest temperature OpenAI allows
SAMPLED = 48  # tokens of an answer at that temperature
SEEDS = 4
# Tokens that are a printable ASCII character in Qwen's vocabulary and in the references'.
SINGLE_CHARACTERS = (40, 50, 60)
# Answers of printable ASCII characters alone, in Qwen's vocabulary and in the references': these do
# not end before they are cut, and small models, too, write one character after another.
CHARACTERS = {str(token): 100 for token in range(16, 90)}
PENALISED = 40  # tokens of such an answer
# A healthy server's eight answers have more different characters than that.
FEW = 5
# Without a penalty the shares are the same, but for a token that rounding tips in one of the eight
# texts; with it, those of the reference checkpoints are 0.2 apart.
MORE_VARIOUS = 0.03
ONE = (16, 24)  # the digit 1 in Qwen's vocabulary, and in the references'


@pytest.mark.requirement("QVL-OAI-012")
def test_n_choices(server: Endpoint, evidence: Evidence) -> None:
    """n choices come with indices 0 to n - 1, drawn independently of each other."""
    bodies = [
        asking(server, COUNTING, temperature=HOT, n=8, max_tokens=SAMPLED),
        asking(server, COUNTING, temperature=1.0, n=3, max_tokens=2),
        asking(server, COUNTING, max_tokens=2),
    ]
    answers = answers_of(server, bodies, evidence)
    for answer, n in zip(answers, (8, 3, 1), strict=True):
        indices = [choice.get("index") for choice in choices_of(answer)]
        assert indices == list(range(n)), f"{n=}: expected indices 0 to {n - 1}, seen {indices}"
    texts = [str(choice.get("message")) for choice in choices_of(answers[0])]
    assert len(set(texts)) > 1, f"n=8 at temperature {HOT}: eight equal answers, {texts[0][:300]}"


@pytest.mark.requirement("QVL-OAI-013")
def test_seed(server: Endpoint, evidence: Evidence) -> None:
    """Equal seeds give equal answers at temperature 2, other seeds others.

    One request at a time: in another batch, rounding may tip a token that is all but even.
    """

    def sampled(seed: int) -> str:
        messages = [{"role": "user", "content": COUNTING}]
        answer = chat(server, messages, temperature=HOT, seed=seed, max_tokens=SAMPLED)
        return str(choice_of(answer).get("message"))

    texts: dict[int, list[str]] = {}
    for _ in range(2):
        for seed in range(SEEDS):
            texts.setdefault(seed, []).append(sampled(seed))
    evidence.record(texts=texts)
    unequal = {seed: two for seed, two in texts.items() if two[0] != two[1]}
    # Three of four pairs are equal by chance with less than 4 * 0.003 ** 3, about 1e-7: a server
    # that ignores seeds does not pass, and one that once shares a batch with others does.
    assert len(unequal) <= 1, f"expected an equal answer for an equal seed, seen {unequal}"
    # One that ignores this seed alone gives a third answer; one that was disturbed, either again.
    for seed, two in unequal.items():
        third = sampled(seed)
        assert third in two, f"{seed=}: expected one answer, seen three: {[*two, third]}"
    assert len({two[0] for two in texts.values()}) > 1, (
        f"expected other answers for other seeds, seen {texts[0][0]!r} for each of {SEEDS}"
    )


@pytest.mark.requirement("QVL-OAI-014")
def test_temperature_zero(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """At temperature 0 each token is the likeliest one."""
    # What comes after a model's own end is the least certain, so that chance shows there first.
    further = {"ignore_eos": True} if capabilities.has("ignore_eos") else {}
    bodies = [
        asking(server, question, max_tokens=24, logprobs=True, top_logprobs=5, **further)
        for question in OPEN_QUESTIONS
    ]
    answers = answers_of(server, bodies, evidence)
    if not any(choice_of(answer).get("logprobs") for answer in answers):
        raise InconclusiveError(
            "no answer has logprobs, asked for with logprobs=true (QVL-OAI-019 decides that): it "
            "is not told which token was the likeliest"
        )
    wrong = []
    looked_at = 0
    for question, answer in zip(OPEN_QUESTIONS, answers, strict=True):
        for position, entry in enumerate(logprobs_of(answer)):
            ranked = sorted(entry["top_logprobs"], key=lambda top: float(top["logprob"]))
            if not ranked:
                continue
            likeliest = ranked[-1]
            looked_at += 1
            if entry["logprob"] < likeliest["logprob"] - 1e-4:
                wrong.append(f"  {question} token {position}: {entry['token']!r}, {likeliest=}")
    assert looked_at >= 24, f"expected at least 24 tokens with alternatives, seen {looked_at}"
    assert not wrong, "chosen although another was likelier:\n" + "\n".join(wrong[:5])


@pytest.mark.requirement("QVL-OAI-015")
def test_temperature_spreads(server: Endpoint, evidence: Evidence) -> None:
    """At a high temperature equal requests get different answers, at once and in turn."""
    body = asking(server, COUNTING, temperature=HOT, max_tokens=SAMPLED)
    at_once = answers_of(server, [body] * 8, evidence)
    # What is sent when the others were answered may be answered from a cache.
    in_turn = [answers_of(server, [body], evidence)[0] for _ in range(6)]
    for how, answers in (("at once", at_once), ("in turn", in_turn)):
        texts = [str(choice_of(it).get("message")) for it in answers]
        assert len(set(texts)) > 1, (
            f"{len(texts)} answers at temperature {HOT}, {how}: all {texts[0]!r}"
        )


@pytest.mark.requirement("QVL-OAI-016")
def test_top_p(server: Endpoint, evidence: Evidence) -> None:
    """The smallest nucleus holds one token, so the answer is the greedy one."""
    _check_greedy(server, {"top_p": 1e-4}, evidence)


@pytest.mark.requirement("QVL-OAI-029")
@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}], ids=["top_k", "min_p"])
def test_top_k_and_min_p(
    server: Endpoint,
    capabilities: Capabilities,
    evidence: Evidence,
    fields: dict[Literal["top_k", "min_p"], Any],
) -> None:
    """Where only the likeliest token may be drawn, the answer is the greedy one."""
    capabilities.require(*fields)
    _check_greedy(server, fields, evidence)


def _check_greedy(server: Endpoint, fields: Mapping[Any, Any], evidence: Evidence) -> None:
    body = asking(server, COUNTING, max_tokens=SAMPLED)
    sampled = [body | {"temperature": HOT, "seed": seed} | fields for seed in range(6)]
    greedy, *texts = (text_of(it) for it in answers_of(server, [body, *sampled], evidence))
    other = [text for text in texts if text != greedy]
    assert not other, f"{fields} at temperature {HOT}: expected {greedy!r}, seen {other[:2]}"


@pytest.mark.requirement("QVL-OAI-017")
def test_logit_bias(server: Endpoint, evidence: Evidence) -> None:
    """A bias of 100 makes a token the only answer, one of -100 takes it away again."""
    biases = [{str(token): 100} for token in SINGLE_CHARACTERS]
    without_one = {str(token): -100 for token in ONE}
    bodies = [asking(server, COUNTING, max_tokens=6, logit_bias=bias) for bias in biases]
    bodies += [
        asking(server, COUNTING, max_tokens=24),
        asking(server, COUNTING, max_tokens=24, logit_bias=without_one),
    ]
    *forced, plain, banned = (text_of(it) for it in answers_of(server, bodies, evidence))
    for bias, text in zip(biases, forced, strict=True):
        assert len(text) == 6 and len(set(text)) == 1, (
            f"logit_bias {bias}: expected one character six times, seen {text!r}"
        )
    assert len(set(forced)) == len(forced), f"expected another character for each, seen {forced}"
    assert "1" in plain, f"without a bias: expected an answer that counts, seen {plain!r}"
    assert "1" not in banned, f"logit_bias {without_one}: expected no 1, seen {banned!r}"


@pytest.mark.requirement("QVL-OAI-018")
@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties(server: Endpoint, evidence: Evidence, penalty: str) -> None:
    """A positive penalty makes answers more various than a negative one."""
    require_endless(server)
    bodies = [
        asking(server, question, max_tokens=PENALISED, logit_bias=CHARACTERS, **{penalty: value})
        for value in (2.0, -2.0)
        for question in OPEN_QUESTIONS
    ]
    texts = [text_of(answer) for answer in answers_of(server, bodies, evidence)]
    if min(map(len, texts)) < PENALISED or len(set("".join(texts))) < FEW:
        raise InconclusiveError(
            f"the answers are not {PENALISED} printable characters each: logit_bias had not its "
            f"effect (QVL-OAI-017 decides that), seen {texts[0]!r}"
        )
    half = len(OPEN_QUESTIONS)
    various, monotonous = (_variety(part) for part in (texts[:half], texts[half:]))
    evidence.record(penalty=penalty, variety_at_plus_2=various, variety_at_minus_2=monotonous)
    assert various > monotonous + MORE_VARIOUS, (
        f"{penalty}: expected more various answers at 2 than at -2, seen {various:.3f} and "
        f"{monotonous:.3f} (different pairs of characters, as a share of all)"
    )


def _variety(texts: list[str]) -> float:
    """How many of the texts' pairs of neighbouring characters differ, on average."""
    shares = []
    for text in texts:
        pairs = [text[at : at + 2] for at in range(len(text) - 1)]
        shares.append(len(set(pairs)) / max(len(pairs), 1))
    return sum(shares) / len(shares)


@pytest.mark.requirement("QVL-OAI-030")
def test_extended_ends(server: Endpoint, capabilities: Capabilities, evidence: Evidence) -> None:
    """ignore_eos, min_tokens and include_stop_str_in_output move the end of an answer."""
    capabilities.require("ignore_eos", "min_tokens", "include_stop_str_in_output")
    whole = text_of(chat(server, [{"role": "user", "content": COUNTING}]))
    stop = whole[20:24]
    bodies = [
        asking(server, "Say hello.", ignore_eos=True, max_tokens=48),
        asking(server, "Say hello.", min_tokens=40, max_tokens=48),
        asking(server, COUNTING, stop=stop, include_stop_str_in_output=True),
    ]
    ignoring, minimal, including = answers_of(server, bodies, evidence)
    written = tokens_of(ignoring, "completion_tokens")
    assert written == 48, f"ignore_eos with max_tokens 48: expected 48 tokens, seen {written}"
    written = tokens_of(minimal, "completion_tokens")
    assert 40 <= written <= 48, f"min_tokens 40: expected 40 to 48 tokens, seen {written}"
    expected = whole[: whole.find(stop) + len(stop)]
    assert text_of(including) == expected, (
        f"include_stop_str_in_output with {stop!r}: expected {expected!r}, seen "
        f"{text_of(including)!r}"
    )
