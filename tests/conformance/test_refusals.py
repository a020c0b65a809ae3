"""What counts as a refusal, and what is excused."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.known_faults import KnownFault, load_known_faults
from conformance.malformed import Case
from conformance.refusing import Answer, Refusing
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.outcomes import Evidence

REFUSAL = '{"error": {"message": "max_tokens must be at least 1"}}'
WHY = "a reason that is long enough to be one"


def _answer(status: int, text: str, *, answered: bool = False) -> Answer:
    return Answer(Case("a case", b"{}", answered=answered), status, text, 0.01)


@pytest.mark.parametrize(
    ("status", "text", "answered", "fault"),
    [
        (400, REFUSAL, False, ""),
        (422, REFUSAL, True, ""),
        (200, '{"choices": [{}]}', True, ""),
        (200, '{"choices": [{}]}', False, "200"),
        (200, "{}", True, "200 without choices"),
        (200, "", True, "200 without choices"),
        (500, REFUSAL, True, "500"),
        (501, REFUSAL, False, "501"),
        (302, "", False, "302"),
        (0, "timed out", False, "no answer"),
        (400, '{"detail": "no"}', False, "no error object"),
        (400, '{"error": "no"}', False, "no error object"),
        (400, '{"error": {"message": " "}}', False, "no error object"),
        (400, "no", False, "no error object"),
    ],
)
def test_fault(status: int, text: str, answered: bool, fault: str) -> None:
    assert _answer(status, text, answered=answered).fault == fault


def test_a_known_fault_is_excused_and_no_other() -> None:
    known = KnownFault(
        requirement="QVL-ROB-001", case="a*", seen="500", text="at least", since="0.23.0", why=WHY
    )
    evidence = Evidence()
    refusing = Refusing(Endpoint("http://127.0.0.1:1", "m"), evidence, [known])
    refusing.judge([_answer(500, REFUSAL), _answer(400, REFUSAL)])
    assert evidence.values["refusals"][0]["known_fault"] == WHY
    for status, text in ((503, REFUSAL), (500, "{}"), (0, REFUSAL)):
        with pytest.raises(AssertionError, match="a case: seen"):
            refusing.judge([_answer(status, text)])


def test_faults_hold_for_their_versions(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(_table(GOOD | {"until": "0.30.2"}))
    versions = ("0.22.1", "0.23.0", "0.30.2+cpu", "0.31.0", "")
    assert [len(load_known_faults(file, version)) for version in versions] == [0, 1, 1, 0, 1]


GOOD = {
    "requirement": "QVL-ROB-001",
    "case": "a",
    "seen": "500",
    "since": "0.23.0",
    "why": WHY,
}
BAD = ({"requirement": "ROB"}, {"since": "x"}, {"why": "no"}, {"case": ""}, {"so": "1"})


def _table(fields: dict[str, str]) -> str:
    return "[[fault]]\n" + "".join(f'{key} = "{value}"\n' for key, value in fields.items())


@pytest.mark.parametrize("text", ["no TOML", "fault = 1", *(_table(GOOD | wrong) for wrong in BAD)])
def test_bad_files_are_usage_problems(tmp_path: Path, text: str) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(text)
    with pytest.raises(UsageProblem, match=r"faults\.toml"):
        load_known_faults(file)


def test_the_shipped_faults_name_requirements_of_the_catalogue() -> None:
    from pytest_qwenvl.catalogue import load_catalogue

    catalogue = load_catalogue(Path("conformance/requirements.toml").resolve())
    faults = load_known_faults()
    assert faults
    assert {fault.requirement for fault in faults} <= set(catalogue.groups)
