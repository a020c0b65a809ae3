"""What a pytest process knows of the run it belongs to, made once and when first needed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_qwenvl.added_settings import plan_with_settings
from pytest_qwenvl.catalogue import Catalogue, load_catalogue
from pytest_qwenvl.config import Config, read_config
from pytest_qwenvl.devices.inventory import Inventory, take_inventory
from pytest_qwenvl.engine_session import EngineSession
from pytest_qwenvl.engines.finding import find_interpreter
from pytest_qwenvl.engines.launching import check_launcher_name, launchers_of
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.live import Steps, steps_of
from pytest_qwenvl.planning import Plan, make_plan
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.waivers import Waiver, load_waivers
from pytest_qwenvl.weights import FoundWeights, find_weights

if TYPE_CHECKING:
    from pytest_qwenvl.profile import ModelProfile
    from pytest_qwenvl.report.measurements import Measurements

_CONFIG = pytest.StashKey[Config]()
_PLAN = pytest.StashKey[Plan]()
_CATALOGUE = pytest.StashKey[Catalogue]()
_SESSION = pytest.StashKey[EngineSession]()
_WAIVERS = pytest.StashKey[tuple[Waiver, ...]]()
_BASELINE = pytest.StashKey["Measurements | None"]()
_RUN_ID = pytest.StashKey[str]()
WORKER_INPUT = "qwenvl"


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of an xdist run."""
    return hasattr(config, "workerinput")


def worker_input(config: pytest.Config) -> str:
    """What the controller sends its workers, as JSON."""
    return json.dumps(
        {
            "config": config_of(config).model_dump(mode="json"),
            "run_id": run_id_of(config),
            "root": str(report_root(config)),
        }
    )


def config_of(config: pytest.Config) -> Config:
    """What the user asked for; the controller's on a worker.

    Raises:
        pytest.UsageError: a value that cannot be used.
    """
    if _CONFIG not in config.stash:
        if is_worker(config):
            sent = json.loads(config.workerinput[WORKER_INPUT])  # type: ignore[attr-defined]
            config.stash[_CONFIG] = Config.model_validate(sent["config"])
        else:
            try:
                asked = read_config(config)
                check_launcher_name(config.pluginmanager, asked)
                config.stash[_CONFIG] = asked
            except UsageProblem as problem:
                raise pytest.UsageError(str(problem)) from None
    return config.stash[_CONFIG]


def run_id_of(config: pytest.Config) -> str:
    """Names this run: the same in the controller and its workers."""
    if _RUN_ID not in config.stash:
        if is_worker(config):
            sent = json.loads(config.workerinput[WORKER_INPUT])  # type: ignore[attr-defined]
            config.stash[_RUN_ID] = sent["run_id"]
        else:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            config.stash[_RUN_ID] = f"{stamp}-{uuid.uuid4().hex[:8]}"
    return config.stash[_RUN_ID]


def plan_of(config: pytest.Config) -> Plan:
    """What this run does.

    Raises:
        pytest.UsageError: profiles, weights, devices or options that do not allow the run.
    """
    if _PLAN not in config.stash:
        asked = config_of(config)
        try:
            if not asked.profile_directories:
                raise UsageProblem(
                    "no profiles: name a folder of them with --profiles, or run pytest in a "
                    "checkout of the suite"
                )
            profiles = load_profiles(asked.profile_directories)
            inventory = _inventory(asked)
            plan = make_plan(
                asked, profiles, inventory, lambda it: find_weights(it, asked.weights_root)
            )
            config.stash[_PLAN] = plan_with_settings(config.pluginmanager, asked, plan)
        except UsageProblem as problem:
            raise pytest.UsageError(str(problem)) from None
    return config.stash[_PLAN]


def plan_for(
    config: pytest.Config, inventory: Inventory, find: Callable[[ModelProfile], FoundWeights]
) -> Plan:
    """Plan this run for other devices and weights than this host's, before anything else does.

    Raises:
        UsageProblem: profiles, weights, devices or options that do not allow the run.
    """
    asked = config_of(config)
    plan = make_plan(asked, load_profiles(asked.profile_directories), inventory, find)
    config.stash[_PLAN] = plan
    return plan


def _inventory(asked: Config) -> Inventory:
    try:
        return take_inventory(asked.backend)
    except UsageProblem:
        if asked.endpoint is None:
            raise
        # Nothing is started here, so nothing on this host can stand in the way.
        return Inventory("cpu", (), (), None, "cpu", "an attached server needs no devices here")


def attach_run(config: pytest.Config) -> dict[str, str]:
    """Look at the server behind ``--endpoint`` once, before anything is collected.

    What it is found to call the model is remembered, and sent to workers with the options.
    Returns what it says of its version, for the report.

    Raises:
        UsageProblem: it cannot be reached, refuses the key or does not serve the model.
    """
    from pytest_qwenvl.engines.attached import attach_server, served_version

    asked, plan = config_of(config), plan_of(config)
    assert asked.endpoint is not None
    server = attach_server(
        asked.endpoint,
        expected=plan.profiles[0].name,
        model=asked.served_model_name,
        api_key=asked.endpoint_key,
        api_key_env=asked.api_key_env,
    )
    version = served_version(server)
    server.stop()
    config.stash[_CONFIG] = asked.model_copy(update={"served_model_name": server.model})
    return {"attached server": version} if version else {}


def why_no_bench(config: pytest.Config) -> str:
    """Why ``vllm bench serve`` cannot make loads on an attached server; empty when it can."""
    planned = plan_of(config).deployments[0]
    if planned.weights is None:
        return "needs the model's tokenizer here (--weights-root)"
    try:
        find_interpreter(config_of(config))
    except UsageProblem:
        return "needs `vllm bench serve` here (--engine-python)"
    return ""


def why_no_lm_eval(config: pytest.Config) -> str:
    """Why lm-eval cannot evaluate an attached server; empty when it can."""
    try:
        found = find_interpreter(config_of(config))
    except UsageProblem:
        found = None
    if found is None or not found.has_lm_eval:
        return "needs lm-eval here (--engine-python)"
    return ""


def catalogue_of(config: pytest.Config) -> Catalogue:
    """The suite's requirements.

    Raises:
        pytest.UsageError: the catalogue cannot be read, or none is configured.
    """
    if _CATALOGUE not in config.stash:
        path = config_of(config).catalogue
        try:
            if path is None:
                raise UsageProblem(
                    "a test decides a requirement, but the ini value qwenvl_catalogue names no "
                    "catalogue"
                )
            config.stash[_CATALOGUE] = load_catalogue(path)
        except UsageProblem as problem:
            raise pytest.UsageError(str(problem)) from None
    return config.stash[_CATALOGUE]


def baseline_of(config: pytest.Config) -> Measurements | None:
    """What the run of ``--baseline`` measured; None without one.

    Raises:
        pytest.UsageError: the report cannot be read, or keeps no measurement.
    """
    if _BASELINE not in config.stash:
        from pytest_qwenvl.report.measurements import Measurements
        from pytest_qwenvl.report.reading import read_report

        path = config_of(config).baseline
        try:
            found = None if path is None else Measurements(read_report(path))
        except UsageProblem as problem:
            raise pytest.UsageError(f"--baseline: {problem}") from None
        if found is not None and not found:
            raise pytest.UsageError(
                f"--baseline {path}: keeps no measurement to compare with; give the report of a "
                "run with the groups accuracy or latency"
            )
        config.stash[_BASELINE] = found
    return config.stash[_BASELINE]


def waivers_of(config: pytest.Config) -> tuple[Waiver, ...]:
    """The known failures of ``--waivers``.

    Raises:
        pytest.UsageError: the file cannot be read.
    """
    if _WAIVERS not in config.stash:
        path = config_of(config).waivers
        try:
            config.stash[_WAIVERS] = () if path is None else load_waivers(path)
        except UsageProblem as problem:
            raise pytest.UsageError(str(problem)) from None
    return config.stash[_WAIVERS]


def engine_session_of(config: pytest.Config) -> EngineSession:
    """The engines of this process."""
    if _SESSION not in config.stash:
        config.stash[_SESSION] = EngineSession(
            config_of(config),
            plan_of(config),
            report_root(config) / "engines",
            _steps_of(config),
            run_id_of(config),
            launchers_of(config.pluginmanager, config_of(config)),
        )
    return config.stash[_SESSION]


def steps_folder(config: pytest.Config) -> Path:
    """Where workers tell what they are at, and the controller looks."""
    return report_root(config) / "steps"


def _steps_of(config: pytest.Config) -> Steps:
    if not is_worker(config):
        return steps_of(config)
    from pytest_qwenvl.live_workers import RelayedStep

    worker = str(config.workerinput["workerid"])  # type: ignore[attr-defined]
    return lambda title: RelayedStep(title, steps_folder(config), worker)


def check_launcher(config: pytest.Config) -> None:
    """Before anything is started: could engines be, where they were asked to run?

    Raises:
        pytest.UsageError: no container could be, with what to do.
    """
    if config_of(config).launcher == "local":
        return
    engines = engine_session_of(config)
    try:
        launcher = engines.container or engines.launcher
        assert launcher is not None, "the name was checked"
        launcher.check()
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


def existing_engine_session(config: pytest.Config) -> EngineSession | None:
    """The engines of this process, if any was ever asked for."""
    return config.stash.get(_SESSION, None)


def report_root(config: pytest.Config) -> Path:
    """The report directory; where none was asked for, pytest's own temporary one.

    The same in the controller and its workers, which leave there what others compare with.
    """
    report = config_of(config).report_directory
    if report is not None:
        return report
    if is_worker(config):
        return Path(json.loads(config.workerinput[WORKER_INPUT])["root"])  # type: ignore[attr-defined]
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    return factory.getbasetemp() / "qwenvl"


def wants_suite(config: pytest.Config) -> bool:
    """Whether this run was pointed at the conformance suite, and not only at other tests."""
    suite = config_of(config).suite
    if suite is None:
        return False
    for argument in config.args:
        path = Path(str(argument).split("::")[0])
        path = path if path.is_absolute() else config.invocation_params.dir / path
        if suite == path or suite in path.parents or path in suite.parents:
            return True
    return False
