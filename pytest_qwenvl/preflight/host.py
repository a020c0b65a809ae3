"""The host as checks see it: every path, variable and fact comes from here.

So a host can be a folder in a test, and no check reads what it was not given.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.npu import Generation
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.errors import InconclusiveError

_INSTALL_INFO = "/etc/ascend_install.info"
_DEFAULT_INSTALLATION = "/usr/local/Ascend"


class Space(NamedTuple):
    """Room in a file system, in bytes."""

    total: int
    free: int


def space_of(path: Path) -> Space:
    """The room in the file system of ``path``, for a user without privileges."""
    usage = os.statvfs(path)
    return Space(usage.f_blocks * usage.f_frsize, usage.f_bavail * usage.f_frsize)


def may_use(path: Path) -> bool:
    """Whether this process may read and write ``path``, a device node for example."""
    return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True)
class Host:
    """A host, before anything is started on it.

    Attributes:
        inventory: the devices this process may use.
        interpreter: what the engine's interpreter has; None where no engine was found.
        environment: the caller's variables.
        leased: devices that some run of a suite holds, by their host-wide identity: they are given
            back, so what is on them now is no fault of the host.
        root: the folder that stands for ``/``. Weights and the interpreter's packages are outside
            of it: they are where the caller says.
        contained: whether engines run in containers of an image that ``interpreter`` is in; CANN is
            then the image's, and the caller's variables do not reach the engine.
        troubles: why there is no inventory or no interpreter, by ``npus`` and ``interpreter``.
        space: the room in a file system.
        usable: whether a device node may be used.
    """

    inventory: Inventory
    interpreter: Interpreter | None
    environment: Mapping[str, str]
    leased: frozenset[str] = frozenset()
    root: Path = Path("/")
    contained: bool = False
    troubles: Mapping[str, str] = field(default_factory=dict)
    space: Callable[[Path], Space] = space_of
    usable: Callable[[Path], bool] = may_use

    def path(self, absolute: str | Path) -> Path:
        """Where ``absolute`` lies on this host."""
        return self.root / str(absolute).lstrip("/")

    def text(self, absolute: str | Path) -> str | None:
        """The text of a file; None where there is none, or it is a folder, or unreadable."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def which(self, program: str) -> str | None:
        """Where the caller's ``PATH`` has ``program``; None where it has not."""
        entries = self.environment.get("PATH", os.defpath).split(os.pathsep)
        # A folder that stands for the root has a PATH of its own, or the real one.
        places = [str(self.path(entry)) for entry in entries if entry]
        return shutil.which(program, path=os.pathsep.join(places))

    @property
    def driver_installation(self) -> str:
        """Where driver and firmware are installed, as ``/etc/ascend_install.info`` says."""
        named = re.search(
            r"^Driver_Install_Path_Param=(\S+)", self.text(_INSTALL_INFO) or "", re.MULTILINE
        )
        return named[1] if named else _DEFAULT_INSTALLATION

    def known_interpreter(self) -> Interpreter:
        """The engine's interpreter.

        Raises:
            InconclusiveError: there is none to look at.
        """
        if self.interpreter is None:
            raise InconclusiveError("there is no engine interpreter to look at")
        return self.interpreter

    def generation(self) -> Generation:
        """The generation of the host's NPUs.

        Raises:
            InconclusiveError: npu-smi did not list them.
        """
        if not self.inventory.npus:
            raise InconclusiveError("npu-smi lists no NPU, so its generation is not known")
        return self.inventory.npus[0].generation
