"""What a run's record says of the plugins of vendors that took part in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.config import Config
from pytest_qwenvl.extensions import environment_facts, report_fields
from pytest_qwenvl.report.results import Extension, RunRecord

if TYPE_CHECKING:
    from pluggy import PluginManager

    from pytest_qwenvl.planning import Plan
    from pytest_qwenvl.report.evidence import Redactor


def told_at_start(
    manager: PluginManager, asked: Config, plan: Plan, own: Collection[str]
) -> tuple[dict[str, Any], dict[str, Extension]]:
    """Facts of the host that plugins tell; and which plugin told or set what.

    Args:
        own: names of the facts that the suite reports itself.

    Raises:
        UsageProblem: a hook that raised, or whose answer cannot be used.
    """
    by_plugin = environment_facts(manager, asked, own)
    facts = {name: value for its in by_plugin.values() for name, value in its.items()}
    settings: dict[str, dict[str, tuple[str, ...]]] = {}
    for planned in plan.deployments:
        for name, plugin in planned.added:
            its = settings.setdefault(plugin, {})
            its[planned.id] = (*its.get(planned.id, ()), name)
    return facts, {
        plugin: Extension(
            environment=tuple(by_plugin.get(plugin, ())), settings=settings.get(plugin, {})
        )
        for plugin in dict.fromkeys([*by_plugin, *settings])
    }


def told_at_end(
    manager: PluginManager, asked: Config, run: RunRecord, redactor: Redactor
) -> tuple[dict[str, Extension], list[str]]:
    """The run's extensions with the fields that plugins give; and what went wrong with any."""
    fields, problems = report_fields(manager, asked, run)
    extensions = dict(run.extensions)
    for plugin, its in fields.items():
        before = extensions.get(plugin, Extension())
        extensions[plugin] = before.model_copy(update={"fields": redactor.value(its)})
    return extensions, problems
