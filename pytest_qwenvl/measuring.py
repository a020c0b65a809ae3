"""Running lm-eval and vLLM's bench for a deployment, and reading what they left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import AccuracyFloor, LatencyWorkload

if TYPE_CHECKING:
    from pytest_qwenvl.engines.server import AttachedServer, Server
    from pytest_qwenvl.measure.accuracy import Evaluation
    from pytest_qwenvl.measure.latency import LoadResult


def _empty(directory: Path) -> Path:
    """``directory``, without what an earlier run left: old results must not be judged again."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
