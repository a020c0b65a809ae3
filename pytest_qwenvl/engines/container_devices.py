"""What a container needs of an Ascend host beside the leased devices, by generation.

From the ``docker run`` lines of vllm-ascend's tutorials: Qwen-VL-Dense for A2, A3, 310P and 950DT,
and for the whole driver folder on A5 the launch line that was checked on eight 950PR
(vllm-project/recipes, pull request 907: HCCL reads its topology there).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_DRIVER = "/usr/local/Ascend/driver"
_TOOLS = (
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/sbin/npu-smi",
    "/etc/ascend_install.info",
    "/etc/hccn.conf",
)


@dataclass(frozen=True)
class HostAccess:
    """Device nodes and paths of the host that go into a container, read-only where they can.

    Attributes:
        nodes: device nodes beside ``/dev/davinciN``.
        needed: paths without which no engine works.
        wanted: paths that are taken along where they exist.
        shm_size: of ``/dev/shm``, through which the ranks of one engine talk.
    """

    nodes: tuple[str, ...]
    needed: tuple[str, ...]
    wanted: tuple[str, ...]
    shm_size: str


_PCIE = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
_LIBRARIES = (f"{_DRIVER}/lib64", f"{_DRIVER}/version.info")
_HCCN_TOOL = f"{_DRIVER}/tools/hccn_tool"
_COMMON = HostAccess(_PCIE, _LIBRARIES, (*_TOOLS, _HCCN_TOOL), "1g")
_ACCESS = {
    "310p": HostAccess(_PCIE, _LIBRARIES, (*_TOOLS, _HCCN_TOOL), "10g"),
    "a5": HostAccess(
        ("/dev/davinci_manager", "/dev/hisi_hdc", "/dev/ummu", "/dev/uburma"),
        (_DRIVER,),
        (
            *_TOOLS,
            "/etc/hixlep",
            "/etc/hccl_rootinfo.json",
            "/usr/bin/urma_admin",
            "/lib/route.conf",
        ),
        "1g",
    ),
}


def host_access(generation: str) -> HostAccess:
    """What engines on this generation need; that of A2 and A3 for one that is not known."""
    return _ACCESS.get(generation, _COMMON)


def device_nodes(generation: str, devices: Sequence[int]) -> list[str]:
    """Every device node of a container that may use ``devices`` (numbers of ``/dev/davinciN``)."""
    return [*(f"/dev/davinci{number}" for number in devices), *host_access(generation).nodes]


def missing(
    generation: str,
    devices: Sequence[int],
    exists: Callable[[str], bool] = os.path.exists,
) -> list[str]:
    """Device nodes and needed paths that this host lacks."""
    paths = [*device_nodes(generation, devices), *host_access(generation).needed]
    return [path for path in paths if not exists(path)]
