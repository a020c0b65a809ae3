"""Which xdist worker runs what: every test of one model on one worker.

Each engine then starts once, and served answers can be compared with offline ones. xdist's own
``loadgroup`` is not used: its workers hand the group over in a private field of pytest's items,
which newer versions of pytest do not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pytest_qwenvl.planning import Plan


class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out a model's tests together, and every other test by itself.

    Args:
        models: the model of each planned deployment, by the id tests are parametrised with.
    """

    def __init__(self, config: pytest.Config, log: Any, models: Mapping[str, str]) -> None:
        super().__init__(config, log)
        self._models = models

    def _split_scope(self, nodeid: str) -> str:
        _, bracket, parameters = nodeid.partition("[")
        for deployment in sorted(self._models, key=len, reverse=True):
            if bracket and deployment in parameters:
                return self._models[deployment]
        return nodeid


def model_scheduling(config: pytest.Config, log: Any, plan: Plan) -> ModelScheduling:
    """The scheduler of a run over a plan."""
    return ModelScheduling(config, log, {one.id: one.profile.name for one in plan.deployments})
