"""Requirements that have a meaning on one backend only, and when the environment is decided."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.catalogue import load_catalogue, render_markdown
from pytest_qwenvl.errors import UsageProblem
from tests.engines.support import PATIENCE
from tests.preflight.planted import write_checkpoint
from tests.stand_in_engine.install import (
    CHECKOUT,
    clean_environment,
    stand_in_python,
    write_profile,
)

CATALOGUE = """\
version = "1.0"
[[requirement]]
id = "QVL-ENV-001"
group = "environment"
level = "core"
since = "1.0"
must = "It MUST be."
rationale = "a test"
source = "a test"
{more}
"""


def write(tmp_path: Path, more: str = "") -> Path:
    path = tmp_path / "requirements.toml"
    path.write_text(CATALOGUE.format(more=more))
    return path


def test_without_a_word_everywhere(tmp_path):
    catalogue = load_catalogue(write(tmp_path))
    assert catalogue["QVL-ENV-001"].applies_to == ("npu", "cpu")
    assert "backend" not in render_markdown(catalogue, {})


def test_one_backend(tmp_path):
    catalogue = load_catalogue(write(tmp_path, 'applies_to = ["npu"]'))
    assert catalogue["QVL-ENV-001"].applies_to == ("npu",)
    assert "- level: core, since 1.0, on the npu backend\n" in render_markdown(catalogue, {})


@pytest.mark.parametrize("value", ['"npu"', "[]", '["gpu"]', "[1]", "true"])
def test_what_is_no_list_of_backends(tmp_path, value):
    path = write(tmp_path, f"applies_to = {value}")
    with pytest.raises(UsageProblem, match="applies_to: needs a list of npu and cpu") as caught:
        load_catalogue(path)
    assert str(caught.value).startswith(f"{path}: requirement 1 (QVL-ENV-001): ")


def test_the_environment_is_decided_before_any_engine(tmp_path):
    write_checkpoint(tmp_path / "weights")
    deployments = [("offline", 1), ("serve", 1)]
    for name in ("alpha", "beta"):
        profiles = tmp_path / "profiles"
        write_profile(profiles, name, tmp_path / "weights", deployments=deployments)
    files = ("conformance/test_offline.py", "conformance/test_environment.py")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *files, "--collect-only", "-q", "--backend=cpu"),
            *("-p", "no:cacheprovider", "--model=alpha", "--model=beta"),
            f"--profiles={tmp_path / 'profiles'}",
            f"--engine-python={stand_in_python(tmp_path / 'bin')}",
        ],
        cwd=CHECKOUT,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    order = [line.split("::")[0] for line in done.stdout.splitlines() if "::" in line]
    first_engine = order.index("conformance/test_offline.py")
    assert first_engine > 4
    assert "conformance/test_environment.py" not in order[first_engine:]
