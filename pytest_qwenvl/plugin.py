"""Hooks and options, nothing else: each hook routes to the module that knows."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_qwenvl.recording import Recording

_RECORDING: pytest.StashKey[Recording] = pytest.StashKey()
_WORKERS = pytest.StashKey[Any]()

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
        config.pluginmanager.register(XdistHooks(), "qwenvl-xdist")
    if hasattr(config, "workerinput"):
        from pytest_qwenvl.worker_end import die_with_controller

        die_with_controller()
    config_of(config)


class XdistHooks:
    """Hooks that exist only with xdist."""

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        """Send the worker what the user asked for, as it was read here."""
        from pytest_qwenvl.run import WORKER_INPUT, worker_input
        from pytest_qwenvl.scheduling import PAUSES

        _show_workers(node.config)
        node.workerinput[WORKER_INPUT] = worker_input(node.config)
        node.workerinput[PAUSES] = _schedules(node.config)

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give deployments to workers whole, unless another way was asked for with ``--dist``."""
        if not _schedules(config):
            return None
        from pytest_qwenvl.run import plan_of
        from pytest_qwenvl.scheduling import DeploymentScheduling

        return DeploymentScheduling(config, log, plan_of(config))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """On a worker, before the first test: have something to wait at between deployments."""
        from pytest_qwenvl.scheduling import PAUSES, append_pause

        if getattr(session.config, "workerinput", {}).get(PAUSES):
            append_pause(session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Nothing is run, and nothing reported, of a pause."""
        from pytest_qwenvl.scheduling import Pause

        return True if isinstance(item, Pause) else None

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker had not sent with a report of a test."""
        from pytest_qwenvl.recording import current

        recording = current()
        if recording is not None:
            recording.take_rest(getattr(node, "workeroutput", {}))


def _show_workers(config: pytest.Config) -> None:
    """Once a run with workers: show what they are at, until the end."""
    from pytest_qwenvl.live import steps_of
    from pytest_qwenvl.live_workers import WorkerDisplay
    from pytest_qwenvl.run import steps_folder, wants_suite

    if _WORKERS in config.stash or not wants_suite(config):
        return
    display = WorkerDisplay(steps_folder(config), steps_of(config))
    config.stash[_WORKERS] = display
    display.__enter__()
    config.add_cleanup(lambda: display.__exit__(None, None, None))


def _schedules(config: pytest.Config) -> bool:
    """Whether tests are handed to workers by deployment; ``load`` is what ``-n`` alone means."""
    from pytest_qwenvl.run import wants_suite

    return config.option.dist in {"load", "loadgroup"} and wants_suite(config)


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
    from pytest_qwenvl import collection
    from pytest_qwenvl.recording import keep_held_back
    from pytest_qwenvl.run import catalogue_of, config_of, plan_of

    collection.drop(items, "qwenvl_unplanned")
    deciding = [item for item in items if collection.requirement_of(item)]
    if not deciding and not any(collection.planned_of(item) for item in items):
        return (yield)
    collection.narrow_smoke(items)
    result = yield
    if config_of(config).endpoint is not None:
        _drop_undecidable(config, items)
    dropped = collection.drop(items, "qwenvl_held_back")
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        keep_held_back(config, collection.held_back(dropped))
    if not deciding:
        collection.drop(items, "qwenvl_elsewhere")
    else:
        catalogue = catalogue_of(config)
        groups = {}
        for item in deciding:
            name = collection.requirement_of(item)
            assert name is not None
            if name not in catalogue:
                raise pytest.UsageError(
                    f"{item.nodeid} decides {name}, which is not in {config_path(config)}"
                )
            groups[name] = catalogue[name].group
        left_out = collection.drop_inapplicable(items, catalogue, plan_of(config).inventory.backend)
        left_out += collection.decide_once(items, catalogue)
        if config_of(config).baseline is None:
            left_out += collection.drop_comparisons(items, catalogue)
        if config_of(config).soak is None:
            left_out += _drop_soaks(items)
        left_out += collection.drop(items, "qwenvl_elsewhere")
        if left_out:
            config.hook.pytest_deselected(items=left_out)
        if any(collection.planned_of(item) for item in items):
            collection.order(items, plan_of(config), groups)
        if config_of(config).resume is not None:
            from pytest_qwenvl.resume_run import carry_over

            carry_over(config, items)
    return result


def _drop_soaks(items: list[pytest.Item]) -> list[pytest.Item]:
    from pytest_qwenvl.collection import drop_soaks
    from pytest_qwenvl.errors import UsageProblem

    try:
        return drop_soaks(items)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


def _drop_undecidable(config: pytest.Config, items: list[pytest.Item]) -> None:
    from pytest_qwenvl import needs
    from pytest_qwenvl.errors import UsageProblem
    from pytest_qwenvl.recording import keep_undecided
    from pytest_qwenvl.run import catalogue_of, config_of, plan_of, why_no_bench, why_no_lm_eval

    plan = plan_of(config)
    catalogue = catalogue_of(config) if config_of(config).catalogue else None
    try:
        why_not = {
            "bench": lambda: why_no_bench(config),
            "evaluate_served": lambda: why_no_lm_eval(config),
        }
        dropped = needs.drop_undecidable(items, catalogue, why_not)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    if dropped:
        config.hook.pytest_deselected(items=[item for item, _ in dropped])
        keep_undecided(config, needs.undecided(dropped, items, plan))


def config_path(config: pytest.Config) -> str:
    """Where the catalogue lies, for messages."""
    from pytest_qwenvl.run import config_of

    return str(config_of(config).catalogue)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without workers, what the run claims is known here, before anything is started."""
    from pytest_qwenvl.recording import current, state_of

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
    from pytest_qwenvl.recording import attach

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
    from pytest_qwenvl.recording import send_rest
    from pytest_qwenvl.run import existing_engine_session, is_worker

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
