"""The list of known deviations: read strictly, and true for the versions it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.protocol.findings import Deviation, load_deviations, release_number

SHIPPED = Path(__file__).parents[2] / "conformance" / "deviations.toml"
ENTRY = """
[[deviation]]
object = "chat.completion"
path = "x"
kind = "extra"
since = "0.11.0"
why = "for a test"
"""


def test_versions_bound_a_deviation() -> None:
    each = Deviation("chat.completion", "x", "extra", "0.11.0", "0.22.1", "for a test")
    versions = ["0.10.2", "0.11.0rc3", "0.11.0", "0.22.1.post1", "0.23.0", "0.32.0+cpu", ""]
    assert [version for version in versions if each.holds_for(version)] == [
        "0.11.0rc3", "0.11.0", "0.22.1.post1", "",
    ]  # fmt: skip


def test_versions_compare_as_numbers() -> None:
    assert release_number("0.9.2") < release_number("0.10") < release_number("v0.32.0+cpu")
    assert release_number("0.10") == release_number("0.10.0")
    with pytest.raises(ValueError, match="no version"):
        release_number("main")


def test_shipped_list_by_version() -> None:
    def paths(version: str) -> set[tuple[str, str]]:
        return {(each.object, each.path) for each in load_deviations(SHIPPED, version)}

    assert ("chat.completion", "ec_transfer_params") in paths("0.32.0+cpu") - paths("0.23.0")
    assert ("chat.completion", "choices[].message.reasoning_content") in paths("0.12.0")
    assert ("chat.completion", "choices[].message.reasoning_content") not in paths("0.23.0")
    everything = load_deviations(SHIPPED)
    assert len({(each.object, each.path, each.kind) for each in everything}) == len(everything)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "deviation"),
        ("a = ", "cannot be read"),
        ("deviation = 1", "expected a list"),
        (ENTRY + "\n[other]\n", "nothing else"),
        (ENTRY.replace('why = "for a test"', ""), "why"),
        (ENTRY.replace("why", "wye"), "why, wye"),
        (ENTRY.replace('"x"', "1"), "path is 1"),
        (ENTRY.replace('"x"', '""'), "path is ''"),
        (ENTRY.replace('"extra"', '"extras"'), "extras"),
        (ENTRY.replace('"0.11.0"', '"soon"'), "'soon' is no version"),
        (ENTRY + 'until = "later"', "'later' is no version"),
    ],
)
def test_malformed_list_names_the_file_and_the_problem(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "deviations.toml"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=problem) as raised:
        load_deviations(path)
    assert str(path) in str(raised.value)


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="cannot be read"):
        load_deviations(tmp_path / "none.toml")
