"""Hooks that exist only with pytest-xdist: each routes to the module that knows."""

from __future__ import annotations

from typing import Any

import pytest

_WORKERS = pytest.StashKey[Any]()


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
