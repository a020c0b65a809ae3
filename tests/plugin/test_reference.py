"""The generated pages of the documentation: whole, current, and noticed when they are not."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.options import OPTIONS
from pytest_qwenvl.reference import pages

CHECKOUT = Path(__file__).parents[2]


def test_the_pages_of_the_checkout_are_current():
    assert main(["reference", "--check", f"--root={CHECKOUT}"]) == 0


def test_pages_hold_what_there_is():
    written = pages()
    for option in OPTIONS:
        assert f"`{option.flag}=" in written["options.md"], option.flag
    for name in ("server", "openai_client", "preflight", "evidence", "deployment"):
        assert f"## {name}\n" in written["fixtures.md"]
    for name in ("environment", "engine_settings", "report_fields", "launchers"):
        assert f"## pytest_qwenvl_{name}\n" in written["hooks.md"]
    assert "## explain\n" in written["commands.md"]
    assert "| `npus` | `int` |" in written["profile.md"]
    assert "| `extensions` |" in written["report.md"]
    assert "``" not in "".join(written.values())


@pytest.mark.parametrize("file", ["hookspecs.py", "fixtures.py"])
def test_everything_public_is_explained(file):
    module = ast.parse((CHECKOUT / "pytest_qwenvl" / file).read_text())
    functions = [it for it in module.body if isinstance(it, ast.FunctionDef)]
    public = [it for it in functions if not it.name.startswith("_")]
    assert len(public) >= 5
    for function in public:
        assert len(ast.get_docstring(function) or "") >= 40, function.name


@pytest.mark.parametrize("what", ["changed", "missing", "foreign"])
def test_a_page_that_is_not_current(tmp_path, capsys, what):
    arguments = ["reference", f"--root={tmp_path}"]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    folder = tmp_path / "docs" / "reference"
    if what == "changed":
        page = folder / "hooks.md"
        page.write_text(page.read_text() + "\n")
    elif what == "missing":
        (folder / "markers.md").unlink()
    else:
        shutil.copy(folder / "markers.md", folder / "gone.md")
    assert main([*arguments, "--check"]) == 1
    said = capsys.readouterr().err
    assert ("remove it" if what == "foreign" else "run pytest-qwenvl reference") in said
