"""Several Ray nodes on this machine, in a process of their own: Ray is never in the tests'.

A program: ``python -m tests.fleet.ray_nodes RESOURCE DEVICES…`` starts a head node and a node for
each number of devices, all on loopback, and prints the address. ``kill ID`` on its standard
input ends the node whose id begins so, without a word to anybody; the end of its input ends all.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

CHECKOUT = Path(__file__).parents[2]
# Ray would else reach for this host's outer address.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class Nodes:
    """A running cluster."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self.address = address

    def kill(self, name: str) -> None:
        """End a node as a power cut does, by the name it has in a fleet; returns when it is gone.

        Names of nodes on one machine end with the beginning of their ids.
        """
        self._tell(f"kill {name.rpartition('-')[2]}")

    def add(self, devices: int) -> None:
        """Start one more node."""
        self._tell(f"add {devices}")

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert _answer(self._process.stdout) == "done"


@contextlib.contextmanager
def started(
    *devices: int,
    log: Path,
    environment: Mapping[str, str],
    resource: str = "qwenvl_cpu_device",
) -> Iterator[Nodes]:
    """A cluster with a node for each number of devices, gone at the end.

    Args:
        environment: of the nodes, and so of the child pytests.
    """
    # Not in the nodes' own temporary folder: the paths of sockets may not be long.
    session = Path(tempfile.mkdtemp(prefix="qwenvl-ray-"))
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.ray_nodes", resource, *map(str, devices)],
            cwd=CHECKOUT,
            env={**environment, **LOOPBACK, "RAY_TMPDIR": str(session)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
        )
    try:
        yield Nodes(process, _answer(process.stdout))
    finally:
        assert process.stdin is not None
        family = [process.pid, *_below(process.pid)]
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for pid in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(session, ignore_errors=True)


def _below(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [its.pid for its in psutil.Process(pid).children(recursive=True)]
    return []


def _answer(stream: IO[str] | None) -> str:
    assert stream is not None
    for line in stream:
        # Ray writes to standard output too.
        if line.startswith("{"):
            return str(json.loads(line)["answer"])
    raise RuntimeError("the cluster ended; see its log")


def _say(answer: str) -> None:
    sys.stdout.write(json.dumps({"answer": answer}) + "\n")
    sys.stdout.flush()


def main(resource: str, devices: Sequence[int]) -> None:
    """Start the nodes, and do what standard input says."""
    from ray.cluster_utils import Cluster

    def node(count: int) -> dict[str, object]:
        return {
            "num_cpus": 0,
            "resources": {resource: count} if count else {},
            "node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "object_store_memory": 80 << 20,
        }

    cluster = Cluster(initialize_head=True, head_node_args=node(0))
    try:
        nodes = [cluster.add_node(**node(count)) for count in devices]
        _say(cluster.address)
        for line in sys.stdin:
            command, what = line.split()
            if command == "kill":
                (victim,) = (its for its in nodes if its.node_id.startswith(what))
                nodes.remove(victim)
                cluster.remove_node(victim, allow_graceful=False)
            else:
                nodes.append(cluster.add_node(**node(int(what))))
            _say("done")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], [int(its) for its in sys.argv[2:]])
