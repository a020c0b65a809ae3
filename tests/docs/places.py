"""Where the blocks of a page are run: ``<!-- place: NAME -->``.

Each is made afresh: a copy of what a user has in a checkout, and beside it what the page assumes.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from fixtures.hosts.playing import PlayedHost
from pytest_qwenvl.engines.cpu.install import engine_home
from tests.docs.blocks import CHECKOUT
from tests.docs.reports import write_reports
from tests.stand_in_engine.install import clean_environment

_COPIED = ("conformance", "pyproject.toml", "conftest.py", "tox.ini", "README.md")
Environment = dict[str, str]


def checkout(folder: Path, home: Path) -> Environment:
    """A checkout and nothing else; the commands of this interpreter are on the path."""
    folder.mkdir(parents=True)
    for name in _COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    # Large, and only read.
    (folder / "fixtures").symlink_to(CHECKOUT / "fixtures")
    home.mkdir(parents=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return clean_environment(
        home,
        {
            "PATH": path,
            "COLUMNS": "80",
            "QWENVL_ENGINE_HOME": str(engine_home()),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def reports(folder: Path, home: Path) -> Environment:
    """A checkout with stored reports beside it, small ones with invented measurements."""
    environment = checkout(folder, home)
    write_reports(folder)
    return environment


def npus(folder: Path, home: Path) -> Environment:
    """A checkout on a played A2 host with eight NPUs: its ``npu-smi`` is a recording."""
    environment = checkout(folder, home)
    host = PlayedHost("a2-8x910b3", home / "host")
    path = os.pathsep.join([str(host.path), environment["PATH"]])
    return {**environment, **host.environment, "PATH": path}


PLACES: dict[str, Callable[[Path, Path], Environment]] = {
    "checkout": checkout,
    "reports": reports,
    "npus": npus,
}
