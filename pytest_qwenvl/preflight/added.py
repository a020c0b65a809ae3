"""Checks of the host that plugins of vendors add to the shipped ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.config import Config
from pytest_qwenvl.errors import InconclusiveError, UsageProblem
from pytest_qwenvl.extensions import by_name
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.checks import CHECKS, Check
from pytest_qwenvl.preflight.examination import devices_now
from pytest_qwenvl.preflight.finding import Examined
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable, load_table

if TYPE_CHECKING:
    from pluggy import PluginManager

    from pytest_qwenvl.engine_session import EngineSession
    from pytest_qwenvl.outcomes import Evidence

_HOOK = "pytest_qwenvl_preflight_checks"
_TABLE = "compatibility.toml"


def added_checks(manager: PluginManager, asked: Config) -> dict[str, Check]:
    """The checks of plugins, by the requirement each decides.

    Raises:
        UsageProblem: a hook that raised or answered something else; an id of a shipped check, or
            of another plugin's.
    """
    found = by_name(
        manager,
        _HOOK,
        asked,
        own=CHECKS,
        fits=lambda value: isinstance(value, Check),
        needs="a Check of pytest_qwenvl.preflight.checks",
    )
    return {name: replace(check, run=_guarded(name, check)) for name, check in found.items()}


def _guarded(requirement: str, check: Check) -> Callable[..., Examined]:
    """The check, whose own mistakes are told as what they are."""
    where = f"the check of {requirement} ({check.title}), {_HOOK}"

    def run(*arguments: Any, **options: Any) -> Examined:
        try:
            examined = check.run(*arguments, **options)
        except (InconclusiveError, UsageProblem):
            raise
        except Exception as error:
            raise UsageProblem(f"{where}, raised {type(error).__name__}: {error}") from error
        if not isinstance(examined, Examined):
            raise UsageProblem(
                f"{where}: needs to return an Examined, returned {type(examined).__name__}"
            )
        return examined

    return run


def deciding(
    manager: PluginManager, session: EngineSession, evidence: Evidence
) -> Callable[..., None]:
    """What the fixture ``preflight`` gives: decides a requirement by a plugin's check.

    What was looked at is evidence, a finding is a failed assertion, a check that cannot tell is
    INCONCLUSIVE. The table is the suite's ``compatibility.toml`` where it has one.

    Raises:
        UsageProblem: from the function returned: no plugin has such a check, it raised, or it
            returned no :class:`~pytest_qwenvl.preflight.finding.Examined`.
    """

    def decide(requirement: str, subject: PlannedDeployment | None = None) -> None:
        checks = added_checks(manager, session.config)
        if requirement not in checks:
            raise UsageProblem(
                f"preflight({requirement!r}): no plugin has a check of it ({_HOOK})"
                f"{nearest(requirement, checks)}"
            )
        check = checks[requirement]
        if check.of_deployment and subject is None:
            raise UsageProblem(
                f"preflight({requirement!r}): decided for a deployment; give it as the second "
                "argument"
            )
        host, table = _host(session), _table(session.config)
        examined = (
            check.run(host, table, subject) if check.of_deployment else check.run(host, table)
        )
        evidence.record(seen=examined.seen, findings=[str(it) for it in examined.findings])
        assert not examined.findings, "\n".join(str(it) for it in examined.findings)

    return decide


def _host(session: EngineSession) -> Host:
    inventory, leased = devices_now(session.plan.inventory.backend)
    return Host(
        inventory=inventory,
        interpreter=session.interpreter,
        environment=os.environ,
        leased=leased,
        contained=session.container is not None,
    )


def _table(asked: Config) -> CompatibilityTable | None:
    file = None if asked.suite is None else asked.suite / _TABLE
    return load_table(file) if file is not None and file.is_file() else None
