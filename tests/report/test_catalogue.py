from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_qwenvl.catalogue import (
    Catalogue,
    check_against_tests,
    find_tests,
    load_catalogue,
    render_markdown,
)
from pytest_qwenvl.errors import UsageProblem

ENTRY = {
    "id": "QVL-SRV-001",
    "group": "serve",
    "level": "core",
    "since": "1.0",
    "must": "The server MUST start.",
    "rationale": "Nothing else works without.",
    "source": "the tutorial, step 3",
}


def entry(**fields: object) -> str:
    values = {key: value for key, value in {**ENTRY, **fields}.items() if value is not None}
    return "[[requirement]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requirements.toml"


def load(path: Path, *entries: str, version: str = 'version = "1.0"\n') -> Catalogue:
    path.write_text(version + "".join(entries))
    return load_catalogue(path)


def test_entries_keep_their_order_and_are_found_by_id(path: Path) -> None:
    other = entry(id="QVL-IMG-003", group="multi_image", level="extended", test="test_limit")
    catalogue = load(path, entry(), other)
    assert catalogue.version == "1.0"
    assert [requirement.id for requirement in catalogue] == ["QVL-SRV-001", "QVL-IMG-003"]
    assert catalogue["QVL-IMG-003"].level == "extended"
    assert "QVL-SRV-001" in catalogue
    assert catalogue.groups == {"QVL-SRV-001": "serve", "QVL-IMG-003": "multi_image"}
    assert catalogue.tests == {"QVL-IMG-003": "test_limit"}
    assert len(catalogue) == 2
    with pytest.raises(KeyError):
        catalogue["QVL-SRV-999"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rationael": "x"}, "unknown key 'rationael'; did you mean rationale?"),
        ({"zzz": "x"}, "unknown key 'zzz'; known: id, group"),
        ({"source": None}, "lacks source"),
        ({"source": " "}, "source: needs text"),
        ({"since": 1.0}, "since: needs text, has 1.0"),
        ({"id": "QVL-srv-001"}, "not of the form QVL-GROUP-001"),
        ({"id": "QVL-SRV-0001"}, "not of the form"),
        ({"level": "kern"}, "level: 'kern' is neither of core and extended"),
        ({"must": "The server must start."}, "has no MUST"),
        ({"must": "The server is MUSTY."}, "has no MUST"),
    ],
)
def test_broken_entry_names_file_entry_and_key(
    path: Path, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageProblem) as problem:
        load(path, entry(id="QVL-SRV-009"), entry(**fields))
    assert str(problem.value).startswith(f"{path}: requirement 2 (QVL-")
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks version, requirement"),
        ('version = "1"\n', "lacks requirement"),
        ("version = 1\n" + entry(), "version: needs a text"),
        ('version = "1"\nrequirement = "x"\n', "needs tables"),
        ('version = "1"\nrequirments = 1\n' + entry(), "did you mean requirement?"),
        ('version = "1\n', "no TOML"),
        ('version = "1"\n' + entry() + entry(), "requirement 2 (QVL-SRV-001): id: "),
    ],
)
def test_broken_file_is_named(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageProblem) as problem:
        load_catalogue(path)
    message = str(problem.value).replace(": requirement 2: id", ": requirement 2 (QVL-SRV-001): id")
    assert str(path) in message
    assert said in message


def test_missing_and_undecodable_files_are_named(path: Path) -> None:
    with pytest.raises(UsageProblem, match="no such file"):
        load_catalogue(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageProblem, match="no TOML"):
        load_catalogue(path)


def test_catalogue_and_tests_must_fit(path: Path) -> None:
    catalogue = load(path, entry(), entry(id="QVL-SRV-002"), entry(id="QVL-SRV-003"))
    good = {"QVL-SRV-001": ["a"], "QVL-SRV-002": ["b"], "QVL-SRV-003": ["c", "c"]}
    assert check_against_tests(catalogue, good) == []
    bad = {"QVL-SRV-001": ["a"], "QVL-SRV-002": ["b", "x"], "QVL-SRV-04": ["d"]}
    problems = check_against_tests(catalogue, bad)
    assert len(problems) == 3
    assert problems[0] == "QVL-SRV-002: decided by 2 tests, needs exactly one: b, x"
    assert problems[1].startswith("QVL-SRV-003: no test decides it")
    assert problems[2].startswith("d: decides QVL-SRV-04")
    assert "did you mean QVL-SRV-00" in problems[2]


def test_entry_may_name_its_test(path: Path) -> None:
    catalogue = load(path, entry(test="test_serve.py::test_up"))
    fits = {"QVL-SRV-001": ["conformance/test_serve.py::test_up"]}
    assert check_against_tests(catalogue, fits) == []
    wrong = {"QVL-SRV-001": ["conformance/test_serve.py::test_down"]}
    assert "names the test test_serve.py::test_up" in check_against_tests(catalogue, wrong)[0]


def test_tests_are_found_in_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "conformance" / "deep"
    folder.mkdir(parents=True)
    (folder / "test_serve.py").write_text(
        "import pytest\nimport torch_that_is_not_there\n"
        "@pytest.mark.serve\n@pytest.mark.requirement('QVL-SRV-001')\ndef test_up(): ...\n"
        "@pytest.mark.requirement('QVL-SRV-001')\nasync def test_again(): ...\n"
        "class TestMore:\n    @pytest.mark.requirement('QVL-SRV-002')\n    def test_in(self): ...\n"
        "def test_without(): ...\n"
    )
    assert find_tests(tmp_path / "conformance") == {
        "QVL-SRV-001": [
            "conformance/deep/test_serve.py::test_up",
            "conformance/deep/test_serve.py::test_again",
        ],
        "QVL-SRV-002": ["conformance/deep/test_serve.py::TestMore::test_in"],
    }


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("@pytest.mark.requirement(NAME)\ndef test_x(): ...\n", "write the one id out"),
        ("@pytest.mark.requirement\ndef test_x(): ...\n", "write the one id out"),
        ("def test_x(:\n", "cannot be read as Python"),
    ],
)
def test_unreadable_marker_is_named(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "test_x.py").write_text(code)
    with pytest.raises(UsageProblem, match=said) as problem:
        find_tests(tmp_path)
    assert "test_x.py" in str(problem.value)


def test_page_holds_every_requirement_by_group(path: Path) -> None:
    offline = entry(id="QVL-OFF-001", group="offline", level="extended", must="It MUST\n  answer.")
    other = entry(id="QVL-NEW-001", group="grounding")
    page = render_markdown(load(path, entry(), other, offline), {"QVL-SRV-001": ["t.py::test"]})
    places = [page.index(f"## {group}\n") for group in ("offline", "serve", "grounding")]
    assert places == sorted(places)
    assert "**It MUST answer.**" in page
    assert "`t.py::test`" in page
    assert page.count("none yet") == 2
    assert "3 requirements, 2 of them core" in page
