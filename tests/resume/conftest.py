from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.suite import Suite

# This package may be worked on while its tests run; here it stays as it is.
UNCHANGED = """\
from pathlib import Path
from pytest_qwenvl import resume_inputs
resume_inputs._PACKAGE = Path(__file__).parent / "package"
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    suite = Suite(tmp_path / "checkout")
    (suite.suite / "conftest.py").write_text(UNCHANGED)
    return suite
