"""More than fits: long prompts, huge bodies, bursts, and bad requests among good ones."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance import malformed
from conformance.asking import ask_all, chat, chat_body, context_length, object_of, tokens_of
from conformance.exchanges import COUNTING, ENDLESS, asking, require_endless
from conformance.malformed import CHAT, Case, content_case, fields_case, picture_url
from conformance.metrics import resident_bytes
from conformance.refusing import Refusing, check_still_serves, send_all
from fixtures.bank import Item, Picture, generate, render_png
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.protocol.image_tokens import prompt_tokens_of_images

pytestmark = pytest.mark.robustness

# Requests at once where the deployment does not bound max_num_seqs; else half again its bound.
BURST = 64
# A context longer than this takes minutes to fill; then only what exceeds it is sent (tokens).
LONGEST_PROMPT = 40_000
MEGABYTE = 1_000_000
# A body is read, decoded and parsed: a few times its size, never hundreds (bytes).
HUGE_BODY = 24 * MEGABYTE
MEMORY_FOR_IT = 400 * MEGABYTE


def _words(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "a " * count + "a"}]


@pytest.mark.smoke
@pytest.mark.requirement("QVL-ROB-023")
def test_context_overflow(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """A prompt that fills the context is answered; a longer one is refused, naming the limit."""
    limit = context_length(server, deployment)
    few, many = (
        tokens_of(chat(server, _words(count), max_tokens=1), "prompt_tokens")
        for count in (100, 300)
    )
    each = (many - few) / 200
    assert each > 0, f"200 more words: expected more prompt tokens, seen {few} and {many}"
    fitting = 100 + int((limit - 1 - few) / each)
    if limit <= LONGEST_PROMPT:
        seen = tokens_of(chat(server, _words(fitting), max_tokens=1), "prompt_tokens")
        evidence.record(longest_answered=seen)
        assert limit - 2 - each <= seen < limit, (
            f"expected a prompt just below {limit} tokens to count as such, seen {seen}"
        )
    beyond = fitting + 2 + int(2 / each)
    refused = server.request("POST", CHAT, json=chat_body(server, _words(beyond), max_tokens=1))
    evidence.record(
        max_model_len=limit, refusal=refused.text[:500], refusal_status=refused.status_code
    )
    assert refused.status_code == 400, (
        f"a prompt longer than {limit} tokens: expected 400, seen {refused.status_code}: "
        f"{refused.text[:300]}"
    )
    error = object_of(refused).get("error")
    message = str(error.get("message")) if isinstance(error, dict) else refused.text
    assert str(limit) in message, (
        f"expected an error message that names the limit {limit}, seen {message[:300]!r}"
    )
    check_still_serves(server, "a prompt that is too long")


@pytest.mark.requirement("QVL-ROB-024")
def test_context_overflow_by_pictures(
    server: Endpoint, deployment: PlannedDeployment, refuses: Refusing
) -> None:
    """Pictures that do not fit into the context are refused, not cut."""
    limit = context_length(server, deployment)
    constants, allowed = deployment.profile.image, deployment.deployment.images
    side = next(
        (
            side
            for side in range(256, 8192, 256)
            if prompt_tokens_of_images([(side, side)] * allowed, constants) > limit
        ),
        None,
    )
    if side is None:
        # Then no picture can overflow it; text before the pictures can.
        side, before = 256, _words(limit)[0]["content"]
    else:
        before = ""
    url = picture_url(render_png(Picture(side, side, (90, 90, 200), ())))
    picture = {"type": "image_url", "image_url": {"url": url}}
    text = [{"type": "text", "text": before}] if before else []
    (answer,) = refuses(
        [content_case(server, f"{allowed} pictures of {side}x{side}", *text, *[picture] * allowed)]
    )
    assert str(limit) in answer.message, (
        f"expected an error message that names the limit {limit}, seen {answer.message[:300]!r}"
    )


@pytest.mark.requirement("QVL-ROB-025")
def test_huge_body(server: Endpoint, refuses: Refusing, evidence: Evidence) -> None:
    """A body of megabytes is refused, and its memory is given back."""
    before = resident_bytes(server)
    text = "a " * (HUGE_BODY // 2)
    refuses(
        [
            fields_case(
                server, "a text of megabytes", messages=[{"role": "user", "content": text}]
            ),
            Case("megabytes of no JSON", b"[" * 10 + b" " * HUGE_BODY),
        ],
        form=False,
    )
    after = resident_bytes(server)
    evidence.record(body_bytes=HUGE_BODY, resident_before=before, resident_after=after)
    if before and after:
        assert after - before < MEMORY_FOR_IT, (
            f"after two bodies of {HUGE_BODY / MEGABYTE:.0f} MB: expected the server's process to "
            f"keep less than {MEMORY_FOR_IT / MEGABYTE:.0f} MB more, seen "
            f"{(after - before) / MEGABYTE:.0f} MB more"
        )


@pytest.mark.requirement("QVL-ROB-026")
def test_burst(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Of more requests at once than run together, each is answered, or refused as too many."""
    require_endless(server)
    bound = deployment.deployment.arguments.get("max_num_seqs")
    count = bound + bound // 2 if isinstance(bound, int) else BURST
    (item,) = generate("colour", 1)
    # Long enough for the first to run while the last are sent.
    bodies = [
        asking(server, COUNTING, max_tokens=256, **ENDLESS)
        if number % 4
        else chat_body(server, item.openai_messages(), max_tokens=4)
        for number in range(count)
    ]

    def ask(body: object) -> tuple[int, str]:
        response = server.request("POST", CHAT, json=body, timeout=120.0)
        return response.status_code, response.text

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, bodies))
    statuses = [status for status, _ in answers]
    evidence.record(
        requests=count,
        max_num_seqs=bound,
        seconds=time.monotonic() - began,
        statuses={str(status): statuses.count(status) for status in sorted(set(statuses))},
    )
    wrong = [
        f"{status}: {text[:150]}"
        for status, text in answers
        if not (status in (429, 503) or (status == 200 and json.loads(text).get("choices")))
    ]
    assert not wrong, (
        f"{count} requests at once: expected an answer, 429 or 503 for each, seen {len(wrong)} "
        "others\n  " + "\n  ".join(wrong[:3])
    )
    assert 200 in statuses, f"{count} requests at once: expected answers, seen only refusals"
    check_still_serves(server, "a burst")


@pytest.mark.requirement("QVL-ROB-027")
def test_bad_among_good(server: Endpoint, evidence: Evidence) -> None:
    """Good requests in the company of bad ones get the answers they get alone."""
    items = generate("colour", 6, seed=3) + generate("chat", 6)
    alone = ask_all(server, items)
    bad = [
        *malformed.field_ranges(server),
        *malformed.picture_bytes(server),
        *malformed.parts(server),
    ]
    _check_among(server, items, alone, bad, evidence)


@pytest.mark.requirement("QVL-ROB-032")
def test_untokenizable_among_good(server: Endpoint, evidence: Evidence) -> None:
    """Texts that no tokenizer takes fail alone, whatever is tokenized together with them."""
    items = generate("chat", 12) + generate("colour", 4, seed=3)
    bad = [case for case in malformed.unusual_text(server) if "surrogate" in case.name]
    assert bad, "no text that cannot be tokenized"
    _check_among(server, items, ask_all(server, items), bad * 20, evidence)


def _check_among(
    server: Endpoint,
    items: list[Item],
    alone: list[str],
    bad: list[Case],
    evidence: Evidence,
) -> None:
    """Assert that what is answered right alone is answered right while ``bad`` is refused."""
    with ThreadPoolExecutor(2) as pool:
        refusals = pool.submit(send_all, server, bad)
        among = pool.submit(ask_all, server, items).result()
        refusals.result()
    evidence.record(alone=alone, among=among, bad=len(bad))
    different = [
        f"{item.id}: alone {one!r}, among bad requests {other!r}"
        for item, one, other in zip(items, alone, among, strict=True)
        if not item.accepts(other) and item.accepts(one)
    ]
    assert not different, "expected right answers to stay right\n  " + "\n  ".join(different[:5])
