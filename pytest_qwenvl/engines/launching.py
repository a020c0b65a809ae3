"""Where an engine's process runs: the protocol of launchers, and those that plugins bring.

``local`` runs a command as it is; ``container`` is
:class:`~pytest_qwenvl.engines.container_launcher.ContainerLauncher`; a plugin's launcher changes
the commands of this host in its own way, for example to run them below a job scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.errors import EngineStartError, UsageProblem
from pytest_qwenvl.extensions import by_name
from pytest_qwenvl.nearest import nearest
from pytest_qwenvl.planning import PlannedDeployment

if TYPE_CHECKING:
    from pluggy import PluginManager

Kind = Literal["serve", "offline", "lm-eval", "bench"]
SHIPPED = ("local", "container")
_HOOK = "pytest_qwenvl_launchers"


@dataclass(frozen=True)
class LaunchContext:
    """What a launcher may need to know of the run.

    Attributes:
        run_directory: what engines write to.
        run_id: names the run, the same in all its processes.
    """

    asked: Config
    inventory: Inventory
    run_directory: Path
    run_id: str


@runtime_checkable
class Launcher(Protocol):
    """Runs commands of this host's interpreter somewhere, or in some way."""

    def check(self) -> None:
        """Refuse a run whose engines could not be started, before anything is.

        Raises:
            UsageProblem: what is missing, and what to do.
        """

    def contain(
        self, kind: Kind, planned: PlannedDeployment, lease: Lease | None
    ) -> Callable[[Launch], Launch]:
        """What turns a command for this deployment into the one that is run.

        The command that is run must last as long as the engine, hand on its standard input and
        output, and end it when it is ended; what it runs outside of its own process tree is ended
        by the launch's ``farewell``. Leased devices and the port are those of this host.
        """


LauncherFactory = Callable[[LaunchContext], Launcher]


def launchers_of(manager: PluginManager, asked: Config) -> dict[str, LauncherFactory]:
    """The launchers of plugins, by name.

    Raises:
        UsageProblem: a hook that raised or answered something else; a name that is taken.
    """
    return by_name(manager, _HOOK, asked, own=SHIPPED, fits=callable, needs="what makes a launcher")


def check_launcher_name(manager: PluginManager, asked: Config) -> None:
    """Refuse a ``--launcher`` that neither the suite nor a plugin has.

    Raises:
        UsageProblem: with the names there are.
    """
    if asked.launcher in SHIPPED:
        return
    known = [*SHIPPED, *launchers_of(manager, asked)]
    if asked.launcher not in known:
        raise UsageProblem(
            f"--launcher {asked.launcher}: needs one of {', '.join(known)}"
            f"{nearest(asked.launcher, known)}"
        )


def plugin_launcher(
    factories: Mapping[str, LauncherFactory], context: LaunchContext
) -> PluginLauncher | None:
    """The launcher that ``--launcher`` names, where a plugin has it; None for a shipped one.

    Raises:
        UsageProblem: the plugin could not make it, or made something else.
    """
    name = context.asked.launcher
    if name in SHIPPED:
        return None
    try:
        launcher = factories[name](context)
    except UsageProblem:
        raise
    except Exception as error:
        raise UsageProblem(
            f"--launcher {name}: its plugin could not make it ({_HOOK}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(launcher, Launcher):
        raise UsageProblem(
            f"--launcher {name}: {_HOOK} made a {type(launcher).__name__}, which has no check() "
            "and contain()"
        )
    return PluginLauncher(name, launcher)


class PluginLauncher:
    """A plugin's launcher, whose own mistakes are told as what they are."""

    def __init__(self, name: str, launcher: Launcher) -> None:
        self._name = name
        self._launcher = launcher

    def check(self) -> None:
        """As :meth:`Launcher.check`; whatever it raises is a usage problem."""
        try:
            self._launcher.check()
        except UsageProblem as problem:
            raise UsageProblem(f"--launcher {self._name}: {problem}") from problem
        except Exception as error:
            raise UsageProblem(self._broke("check", error)) from error

    def contain(
        self, kind: Kind, planned: PlannedDeployment, lease: Lease | None
    ) -> Callable[[Launch], Launch]:
        """As :meth:`Launcher.contain`.

        Raises:
            EngineStartError: from the function returned: it raised, or gave no launch.
        """

        def contained(launch: Launch) -> Launch:
            try:
                wrapped: Any = self._launcher.contain(kind, planned, lease)(launch)
            except Exception as error:
                raise EngineStartError(self._broke("contain", error), argv=launch.argv) from error
            if not isinstance(wrapped, Launch):
                raise EngineStartError(
                    f"--launcher {self._name}: contain() gave a {type(wrapped).__name__} for a "
                    "Launch",
                    argv=launch.argv,
                )
            return wrapped

        return contained

    def _broke(self, what: str, error: Exception) -> str:
        return f"--launcher {self._name}: {what}() raised {type(error).__name__}: {error}"
