"""What a refusal must be: a 4xx with the error object, soon, and the next request answered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from conformance.asking import chat, choice_of
from conformance.known_faults import KnownFault
from conformance.malformed import Case, hello
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import EngineDiedError
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.protocol.body import read_json

# A refusal takes milliseconds; a server that works on one for this long hangs (seconds).
PATIENCE = 30.0
_TOGETHER = 8
_FORMLESS = "no error object"


@dataclass(frozen=True)
class Answer:
    """What came back for a case.

    Attributes:
        status: 0 when nothing did; ``text`` then says why.
        seconds: from sending to the whole body.
    """

    case: Case
    status: int
    text: str
    seconds: float

    @property
    def message(self) -> str:
        """The message of its error object; empty where it has none."""
        body, _ = read_json(self.text) if self.text else (None, [])
        error = body.get("error") if body else None
        message = error.get("message") if isinstance(error, dict) else None
        return message if isinstance(message, str) else ""

    @property
    def fault(self) -> str:
        """What is wrong with it as a refusal: a status, or what it lacks; empty for nothing."""
        if self.case.answered and self.status == 200:
            body, _ = read_json(self.text)
            return "" if body and body.get("choices") else "200 without choices"
        if not 400 <= self.status < 500:
            return str(self.status) if self.status else "no answer"
        return "" if self.message.strip() else _FORMLESS


def send(server: Endpoint, case: Case, patience: float = PATIENCE) -> Answer:
    """Send one case and wait for its answer.

    Raises:
        EngineDiedError: the engine is gone.
    """
    import requests

    # A server may drop a connection after a failure of its own, and so fail the next request on it.
    headers = {"Connection": "close"}
    if case.content_type:
        headers["Content-Type"] = case.content_type
    began = time.monotonic()
    try:
        response = server.request(
            "POST", case.path, data=case.body, headers=headers, timeout=patience
        )
        status, text = response.status_code, response.text
    except EngineDiedError:
        raise
    except requests.RequestException as problem:
        status, text = 0, str(problem)
    return Answer(case, status, text, time.monotonic() - began)


def send_all(server: Endpoint, cases: Iterable[Case], patience: float = PATIENCE) -> list[Answer]:
    """Send cases together; their answers in order."""
    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(lambda case: send(server, case, patience), cases))


def check_still_serves(server: Endpoint, after: str) -> None:
    """Assert that a good request is answered now."""
    body = hello(server)
    answer = chat(server, body["messages"], max_tokens=body["max_tokens"])
    assert choice_of(answer), f"expected the request after {after} to be answered"


class Refusing:
    """Judges refusals for one test, with what is known of the engine's version.

    Args:
        faults: what the engine is known to get wrong in the test's requirement.
    """

    def __init__(
        self, server: Endpoint, evidence: Evidence, faults: Sequence[KnownFault] = ()
    ) -> None:
        self.server = server
        self.evidence = evidence
        self.faults = faults

    def __call__(
        self, cases: Sequence[Case], patience: float = PATIENCE, *, form: bool = True
    ) -> list[Answer]:
        """Assert that every case is refused, and that the server then still serves.

        Args:
            form: whether a refusal must bring the error object; where the requirement does not
                say so, a bare 4xx is one, too.
        """
        assert cases, "no request to send"
        answers = send_all(self.server, cases, patience)
        self.judge(answers, form=form)
        check_still_serves(self.server, "these refusals")
        return answers

    def judge(self, answers: Iterable[Answer], *, form: bool = True) -> None:
        """Assert that each answer is a refusal, or a known fault; keeps all as evidence."""
        wrong = []
        for answer in answers:
            entry: dict[str, Any] = {
                "case": answer.case.name,
                "status": answer.status,
                "seconds": round(answer.seconds, 3),
                "body": answer.text[:300],
            }
            fault = answer.fault
            if fault and (form or fault != _FORMLESS):
                known = self.known(answer.case.name, fault, answer.text)
                entry["known_fault" if known else "fault"] = known.why if known else fault
                if known is None:
                    wrong.append(_describe(answer))
            self.evidence.append("refusals", entry)
        assert not wrong, (
            f"expected a 4xx{' with an error object' if form else ''}"
            + "".join(f"\n  {line}" for line in wrong[:10])
            + (f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        )

    def known(self, case: str, seen: str, text: str) -> KnownFault | None:
        """The known fault that this is."""
        return next((fault for fault in self.faults if fault.covers(case, seen, text)), None)


def _describe(answer: Answer) -> str:
    seen = f"{answer.status}" if answer.status else "no answer"
    return f"{answer.case.name}: seen {seen} after {answer.seconds:.1f} s: {answer.text[:200]!r}"
