"""A run's engine arguments are checked before its first test, so that nothing is lost to a typo."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_qwenvl.collection import planned_of
from pytest_qwenvl.errors import EngineStartError, UsageProblem
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.run import engine_session_of, is_worker, plan_of, wants_suite

# Every fixture that starts an engine asks for one of these.
_STARTERS = {"start_server", "start_offline_llm", "evaluate"}


def check_before_tests(session: pytest.Session) -> None:
    """Hold the arguments of every deployment that the run starts against the engine's parser.

    With xdist the controller does it, before a worker starts an engine. Where the engine cannot
    say what it accepts, the run goes on and says so: the engine itself refuses what is wrong, only
    later.

    Raises:
        pytest.UsageError: an argument or variable that the engine would not accept.
    """
    config = session.config
    if is_worker(config) or config.option.collectonly:
        return
    deployments = _started(session)
    if not deployments or plan_of(config).endpoint is not None:
        return
    refused = []
    try:
        arguments = engine_session_of(config).arguments
        for planned in deployments:
            try:
                arguments.check(planned.profile, planned.deployment)
            except EngineStartError as problem:
                refused += [str(problem), *_by_plugins(planned)]
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    if refused:
        raise pytest.UsageError("\n".join([*refused, "Nothing was started."]))
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if arguments.problem and reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"qwenvl: engine arguments were not checked: {arguments.problem}")


def _by_plugins(planned: PlannedDeployment) -> list[str]:
    """Whose the settings are that no file of a profile has."""
    if not planned.added:
        return []
    return ["  added by plugins: " + ", ".join(f"{name} ({by})" for name, by in planned.added)]


def _started(session: pytest.Session) -> Sequence[PlannedDeployment]:
    if session.items:
        starting = [it for it in session.items if _STARTERS & set(getattr(it, "fixturenames", ()))]
        found = [planned for planned in map(planned_of, starting) if planned is not None]
        return list({planned.id: planned for planned in found}.values())
    distributed = getattr(session.config.option, "tx", None)
    return (
        plan_of(session.config).deployments if distributed and wants_suite(session.config) else ()
    )
