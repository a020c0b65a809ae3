"""Hooks and options, nothing else: each hook routes to the module that knows."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_qwenvl.recording import Recording

_RECORDING: pytest.StashKey[Recording] = pytest.StashKey()

_MARKERS = (
    "requirement(id): the requirement of the catalogue that this test decides",
    "deployment_mode(mode): deployments of this mode, for a test that starts no engine itself",
    "npus(n): only deployments on n devices",
    "needs(what): launch, log, host or hardware: what an attached server (--endpoint) cannot give",
    "last(n=0): runs after the other tests of its deployment, since it may end the engine",
    "smoke: a few requirements, counted on the smallest deployments only: a verdict in two minutes",
    "environment: the host, its devices and versions",
    "offline: generation with an offline LLM",
    "serve: a server starts, is ready and answers",
    "openai: the OpenAI API and its schema",
    "streaming: event streams",
    "multi_image: several images in a prompt, limits and prompt tokens",
    "images: file formats, sizes and addresses of pictures",
    "grounding: boxes around what is asked for",
    "video: clips, and their limit",
    "consistency: equal questions get equal answers",
    "accuracy: evaluation tasks against floors",
    "latency: loads against budgets",
    "robustness: bad input and overload",
    "security: what a server must refuse",
    "soak: a server under load for minutes or hours, judged by what grows (--soak)",
    "qwenvl_unplanned: set by the plugin on a test without a deployment",
    "qwenvl_elsewhere: set by the plugin on a test that is another part's of the run",
    "qwenvl_held_back(reason): set by the plugin on a test of a deployment that cannot be run",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that plugins of vendors may implement."""
    from pytest_qwenvl import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins."""
    from pytest_qwenvl.options import add_options

    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and fixtures; read the options, so that a bad one ends the run here."""
    from pytest_qwenvl import fixtures
    from pytest_qwenvl.run import config_of

    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(fixtures, "qwenvl-fixtures")
    if config.pluginmanager.hasplugin("xdist"):
        from pytest_qwenvl.xdist_hooks import XdistHooks

        config.pluginmanager.register(XdistHooks(), "qwenvl-xdist")
    if hasattr(config, "workerinput"):
        from pytest_qwenvl.worker_end import die_with_controller

        die_with_controller()
    config_of(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name backend and devices in the first lines of output."""
    from pytest_qwenvl.run import config_of, plan_of, wants_suite

    if config_of(config).catalogue is None or not wants_suite(config):
        return []
    from pytest_qwenvl.resume_run import told_first

    plan = plan_of(config)
    inventory = plan.inventory
    continued = [f"qwenvl: {line}" for line in told_first(config)]
    if plan.endpoint is not None:
        return [f"qwenvl: attached to {plan.endpoint}; no engine is started", *continued]
    kind = "virtual devices, no NPU" if inventory.backend == "cpu" else "NPUs"
    return [
        f"qwenvl: {inventory.backend} backend, {plan.npus} of {len(inventory.devices)} {kind} "
        f"({inventory.chosen_because})",
        *continued,
    ]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before anything is collected or started: can this run be what was asked for?"""
    from pytest_qwenvl.run import check_launcher, is_worker, plan_of, wants_suite

    config = session.config
    if is_worker(config) or not wants_suite(config):
        return
    plan_of(config)
    if config.option.collectonly:
        return
    check_launcher(config)
    from pytest_qwenvl.live import keep_output
    from pytest_qwenvl.recording import begin_recording

    keep_output(config)
    config.stash[_RECORDING] = begin_recording(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise whatever asks for a deployment."""
    if "deployment" in metafunc.fixturenames:
        from pytest_qwenvl.collection import parametrize
        from pytest_qwenvl.run import plan_of

        parametrize(metafunc, plan_of(metafunc.config))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Drop what no deployment stands behind, check requirements, order and group the rest."""
    from pytest_qwenvl import selecting

    deciding = selecting.before_others(items)
    result = yield
    if deciding is not None:
        selecting.after_others(config, items, deciding)
    return result


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without workers, what the run claims is known here, before anything is started."""
    from pytest_qwenvl.recording import current
    from pytest_qwenvl.telling import state_of

    recording = current()
    if recording is not None and session.items:
        recording.take_carried(state_of(session.config, session.items))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test: would the engine accept what the profiles say?"""
    from pytest_qwenvl.arguments_first import check_before_tests

    check_before_tests(session)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the requirement's result, and what was started since, to pytest's report."""
    report = yield
    from pytest_qwenvl.telling import attach

    attach(item, report, call)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note what was asked of servers before this test, so that a failure shows what it asked."""
    if item.get_closest_marker("requirement"):
        from pytest_qwenvl.failing import note_start

        note_start(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Note where the engine's log ends, so that a failure shows what came after."""
    from pytest_qwenvl.outcomes import LOG_OFFSET, engine_of

    engine = engine_of(item)
    if engine is not None:
        item.stash[LOG_OFFSET] = engine.log_offset()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """On the controller: into the run's record."""
    from pytest_qwenvl.recording import current

    recording = current()
    if recording is not None:
        recording.take(report)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show outcomes that pytest has no word for as what they are."""
    carried = getattr(report, "qwenvl", {})
    outcome = carried.get("outcome")
    if carried.get("carried_over"):
        return "carried over", "c", f"CARRIED OVER ({outcome})"
    if outcome in {"INCONCLUSIVE", "INVALID", "WAIVED", "UNSUPPORTED"}:
        return outcome.lower(), "u" if outcome == "UNSUPPORTED" else outcome[0], outcome
    return None


def pytest_keyboard_interrupt() -> None:
    """Note in the report that a person ended the run."""
    from pytest_qwenvl.recording import current

    recording = current()
    if recording is not None:
        recording.recorder.interrupt("interrupted by the user (Ctrl-C)")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End every engine of this process; on the controller, judge and write the report."""
    from pytest_qwenvl.run import existing_engine_session, is_worker
    from pytest_qwenvl.telling import send_rest

    engines = existing_engine_session(session.config)
    if engines is not None:
        engines.stop()
    if is_worker(session.config):
        send_rest(session.config, session.items)
    recording = session.config.stash.get(_RECORDING, None)
    if recording is not None:
        session.exitstatus = recording.finish(int(exitstatus))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The verdict, on one screen."""
    recording = config.stash.get(_RECORDING, None)
    if recording is not None:
        recording.write_summary(terminalreporter)
