"""The hooks that a vendor's plugin may implement.

A plugin is anything pytest loads: a ``conftest.py`` beside the tests or at the root, a module named
with ``-p``, an installed package with a ``pytest11`` entry point. Every hook is optional, and takes
only those of its arguments that it names. What several plugins answer is joined; where two say
different things of one name, the run ends before anything is started, with exit code 4 and both
plugins' names, and so it does for a hook that raises or answers something of the wrong type.

Hooks never change what a profile says: a profile is policy that a verdict rests on, and is changed
by an overlay that a reader can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_qwenvl.added_settings import EngineSettings
    from pytest_qwenvl.config import Config
    from pytest_qwenvl.engines.launching import LauncherFactory
    from pytest_qwenvl.preflight.checks import Check
    from pytest_qwenvl.profile import Deployment, ModelProfile
    from pytest_qwenvl.profile_fields import BackendName
    from pytest_qwenvl.report.results import RunRecord


def pytest_qwenvl_environment(asked: Config) -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Facts of the host that a report is to tell: firmware of a board, a rack, a driver's build.

    Called once a run, on the controller, before anything is started. The facts stand in the
    report's ``host`` beside the shipped ones, and ``extensions`` says which plugin told them.

    Args:
        asked: the options of the run.

    Returns:
        JSON values by name. A name that the suite itself reports is refused.
    """


def pytest_qwenvl_engine_settings(
    asked: Config, profile: ModelProfile, deployment: Deployment, backend: BackendName
) -> EngineSettings | None:
    """Engine arguments and environment that a deployment needs on this vendor's hosts.

    Called for each deployment of the run, in the controller and in every xdist worker, so the same
    arguments must give the same answer. What is added is held against the engine's own parser
    before anything is started, is shown by ``pytest-qwenvl explain --plugin``, and stands in the
    report under ``extensions``. Not called with ``--endpoint``, where nothing is started.

    Args:
        asked: the options of the run.
        profile: of the model; not to be changed.
        deployment: as the profile has it.
        backend: ``npu`` or ``cpu``.

    Returns:
        An :class:`~pytest_qwenvl.added_settings.EngineSettings`, or None for nothing. Something
        that the profile or the suite sets already is refused.
    """


def pytest_qwenvl_report_fields(asked: Config, run: RunRecord) -> Mapping[str, Any]:  # type: ignore[empty-body]
    """What a report is to hold beside the suite's own record, such as a ticket or a build number.

    Called once a run, on the controller, when the last result is in. The fields stand in
    ``report.json`` under ``extensions.PLUGIN.fields``; no verdict looks at them. A hook that fails
    here costs its fields, not the results: the report is written, and pytest ends with code 4.

    Args:
        asked: the options of the run.
        run: everything the report holds, judged; not to be changed.

    Returns:
        JSON values by name.
    """


def pytest_qwenvl_preflight_checks(asked: Config) -> Mapping[str, Check]:  # type: ignore[empty-body]
    """Checks of the host that a vendor knows and the suite does not.

    ``pytest-qwenvl doctor --plugin`` makes them after the shipped ones; in a run a test with the
    ``preflight`` fixture decides a requirement of the vendor's catalogue by them.

    Args:
        asked: the options of the run, or of ``doctor``.

    Returns:
        :class:`~pytest_qwenvl.preflight.checks.Check` by the id of the requirement that it decides;
        ids of shipped checks are refused.
    """


def pytest_qwenvl_launchers(asked: Config) -> Mapping[str, LauncherFactory]:  # type: ignore[empty-body]
    """Where engines may run beside ``local`` and ``container``, for ``--launcher NAME``.

    Args:
        asked: the options of the run.

    Returns:
        By name, what makes a :class:`~pytest_qwenvl.engines.launching.Launcher` of a
        :class:`~pytest_qwenvl.engines.launching.LaunchContext`. It is called in every process of
        the run that starts engines.
    """
