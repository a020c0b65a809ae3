"""Engine arguments and variables that plugins of vendors add to deployments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pytest_qwenvl.config import Config
from pytest_qwenvl.extensions import Answer, answers
from pytest_qwenvl.profile import Deployment, Engine, ModelProfile
from pytest_qwenvl.profile_fields import ArgumentValue, BackendName, Model

if TYPE_CHECKING:
    from pluggy import PluginManager

    from pytest_qwenvl.planning import Plan

# What engines/command.py decides of every deployment, whatever a profile says.
_OWN_ARGUMENTS = frozenset(
    {"host", "limit_mm_per_prompt", "model", "port", "served_model_name", "tensor_parallel_size"}
)
_OWN_VARIABLES = frozenset(
    {
        "ASCEND_RT_VISIBLE_DEVICES",
        "HF_HUB_OFFLINE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_NO_USAGE_STATS",
        "VLLM_USE_MODELSCOPE",
    }
)


class EngineSettings(Model):
    """What a plugin adds to a deployment, from ``pytest_qwenvl_engine_settings``.

    Attributes:
        arguments: vLLM's own names with underscores, as in a profile, for example
            ``{"enable_prefix_caching": False}``.
        environment: variables of the engine's process.
    """

    arguments: dict[str, ArgumentValue] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every argument and variable, in order."""
        return (*self.arguments, *self.environment)


def add_settings(
    manager: PluginManager,
    asked: Config,
    profile: ModelProfile,
    deployment: Deployment,
    backend: BackendName,
) -> tuple[Deployment, dict[str, str]]:
    """The deployment with what plugins add to it; and which plugin added what, by its name.

    Raises:
        UsageProblem: a hook that raised or answered something else; a setting of the profile, of
            the suite or of another plugin.
    """
    added: dict[str, str] = {}
    settings = EngineSettings()
    engine = profile.engine.get(backend, Engine())
    arguments = {*engine.arguments, *deployment.arguments}
    variables = {*engine.environment, *deployment.environment}
    for answer in answers(
        manager,
        "pytest_qwenvl_engine_settings",
        asked=asked,
        profile=profile,
        deployment=deployment,
        backend=backend,
    ):
        its = answer.value
        if not isinstance(its, EngineSettings):
            raise answer.wrong(f"needs an EngineSettings, answered {type(its).__name__}")
        where = f"{profile.name}/{deployment.name}"
        _refuse(answer, its.arguments, arguments, _OWN_ARGUMENTS, where)
        _refuse(answer, its.environment, variables, _OWN_VARIABLES, where)
        for name in its.names:
            if name in added:
                raise answer.wrong(f"{name} is set for {where} by plugin {added[name]} too")
            added[name] = answer.plugin
        settings = EngineSettings(
            arguments={**settings.arguments, **its.arguments},
            environment={**settings.environment, **its.environment},
        )
    if not added:
        return deployment, added
    return deployment.model_copy(
        update={
            "arguments": {**deployment.arguments, **settings.arguments},
            "environment": {**deployment.environment, **settings.environment},
        }
    ), added


def plan_with_settings(manager: PluginManager, asked: Config, plan: Plan) -> Plan:
    """The plan with what plugins add to its deployments; an attached server's stays as it is.

    Raises:
        UsageProblem: as :func:`add_settings`.
    """
    if plan.endpoint is not None:
        return plan
    deployments = []
    for one in plan.deployments:
        deployment, added = add_settings(
            manager, asked, one.profile, one.deployment, plan.inventory.backend
        )
        deployments.append(replace(one, deployment=deployment, added=tuple(added.items())))
    return replace(plan, deployments=tuple(deployments))


def _refuse(
    answer: Answer,
    given: Iterable[str],
    of_profile: Iterable[str],
    of_suite: Iterable[str],
    where: str,
) -> None:
    for name in given:
        if "-" in name:
            raise answer.wrong(f"{name}: write {name.replace('-', '_')}, as profiles do")
        if name in of_suite:
            raise answer.wrong(f"{name} is the suite's to set, from the lease and the profile")
        if name in of_profile:
            raise answer.wrong(
                f"{name} is set by the profile of {where}; change it there, with an overlay"
            )
