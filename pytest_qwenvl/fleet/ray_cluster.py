"""Orders run by Ray: a task each, on the node the head names, with the devices Ray gives it.

Ray sets ``ASCEND_RT_VISIBLE_DEVICES`` for the resource ``NPU``; for virtual devices of the CPU
backend any resource does that the nodes were started with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.child import run_order
from pytest_qwenvl.fleet.facts import Facts, Question, facts_here
from pytest_qwenvl.fleet.orders import Ended, Event, Lost, Order
from pytest_qwenvl.fleet.placing import Host

NPU = "NPU"
CPU_DEVICE = "qwenvl_cpu_device"
"""The resource that stands for a virtual device, unless another is named."""

_ASK_SECONDS = 1800.0
_LONGEST_REASON = 300


def _run(order: Order) -> Iterator[Event]:
    yield from run_order(order)


class RayCluster:
    """A cluster that was joined.

    Args:
        ray: the module, as :func:`pytest_qwenvl.fleet.connecting.connect` gives it.
        cpu_resource: what stands for virtual devices.
    """

    def __init__(self, ray: Any, cpu_resource: str = CPU_DEVICE) -> None:
        self._ray = ray
        self._cpu_resource = cpu_resource
        self._resource = NPU
        self._generators: list[Any] = []

    def hosts(self, backend: str) -> tuple[str, list[Host]]:
        """The backend that the cluster has devices for, and every node that has some.

        Args:
            backend: as asked for: ``auto``, ``npu`` or ``cpu``.

        Raises:
            UsageProblem: no node has a device, with what the nodes do have.
        """
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        wanted = {"npu": [NPU], "cpu": [self._cpu_resource]}.get(backend, [NPU, self._cpu_resource])
        for resource in wanted:
            fit = [node for node in nodes if node["Resources"].get(resource, 0) >= 1]
            if fit:
                self._resource = resource
                return ("npu" if resource == NPU else "cpu"), _named(fit, resource)
        seen = sorted({name for node in nodes for name in node["Resources"] if ":" not in name})
        raise UsageProblem(
            f"--address: the cluster has {len(nodes)} nodes and none with {' or '.join(wanted)} "
            f"(they have: {', '.join(seen) or 'nothing'}); start nodes with `ray start "
            f"--resources='{{\"{wanted[0]}\": 8}}'`, or where there is no NPU with "
            f"{self._cpu_resource} and --backend=cpu"
        )

    def ask(self, question: Question, hosts: Sequence[Host]) -> dict[str, Facts | str]:
        """What each host says of itself, by its name; text for one that cannot, with the reason."""
        remote = self._ray.remote(facts_here)
        asked = {
            host.name: remote.options(
                num_cpus=0, max_retries=0, scheduling_strategy=self._on(host), name="qwenvl facts"
            ).remote(question)
            for host in hosts
        }
        answers: dict[str, Facts | str] = {}
        for name, reference in asked.items():
            try:
                answers[name] = self._ray.get(reference, timeout=_ASK_SECONDS)
            except Exception as error:
                # Whatever a node raises, from a missing package on, is what a person has to read.
                answers[name] = _words(error)
        return answers

    def alive(self) -> set[str]:
        """Ids of the nodes that live; none when the cluster itself is gone."""
        try:
            return {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        except Exception:
            # Whatever Ray raises: without its head no node can be reached.
            return set()

    def begin(self, order: Order, host: Host, devices: int) -> Hashable:
        """Submit an order as a task that streams its events."""
        remote = self._ray.remote(_run)
        generator = remote.options(
            num_cpus=0,
            resources={self._resource: devices},
            num_returns="streaming",
            # Attempts are counted by the head, which knows what was lost.
            max_retries=0,
            scheduling_strategy=self._on(host),
            name=f"qwenvl {order.id}",
        ).remote(order)
        self._generators.append(generator)
        return id(generator)

    def events(self, timeout: float) -> list[tuple[Hashable, Event]]:
        """What has happened, waited for at most ``timeout`` seconds."""
        if not self._generators:
            return []
        try:
            some, _ = self._ray.wait(
                self._generators, num_returns=1, timeout=timeout, fetch_local=False
            )
            ready, _ = self._ray.wait(
                self._generators, num_returns=len(self._generators), timeout=0, fetch_local=False
            )
        except Exception as error:
            # Not of one task: this process has lost the cluster, and with it all it ran there.
            gone = [id(generator) for generator in self._generators]
            self._generators.clear()
            return [(handle, Lost(f"the cluster is gone: {_words(error)}")) for handle in gone]
        if not some:
            return []
        found: list[tuple[Hashable, Event]] = []
        for generator in ready or some:
            event = self._next(generator)
            found.append((id(generator), event))
            if isinstance(event, (Ended, Lost)):
                self._generators.remove(generator)
        return found

    def cancel(self, handle: Hashable) -> None:
        """End a task at once; the guardian on its node ends the child and its engines."""
        for generator in list(self._generators):
            if id(generator) == handle:
                self._ray.cancel(generator, force=True)
                self._generators.remove(generator)

    def close(self) -> None:
        """Leave the cluster; tasks that still run are ended by it."""
        for generator in list(self._generators):
            self.cancel(id(generator))
        self._ray.shutdown()

    def _next(self, generator: Any) -> Event:
        try:
            event: Event = self._ray.get(next(generator))
        except StopIteration:
            return Lost("its task ended without a last word")
        except Exception as error:
            # A node that died, a worker that was killed, a task that cannot be placed any more.
            return Lost(_words(error))
        return event

    def _on(self, host: Host) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(host.id, soft=False)


def _named(nodes: Sequence[Mapping[str, Any]], resource: str) -> list[Host]:
    """Hosts with names of their own, though several nodes may run on one machine."""
    repeated = Counter(node["NodeManagerHostname"] for node in nodes)
    return [
        Host(
            id=node["NodeID"],
            name=node["NodeManagerHostname"]
            + (f"-{node['NodeID'][:6]}" if repeated[node["NodeManagerHostname"]] > 1 else ""),
            devices=int(node["Resources"][resource]),
            address=node["NodeManagerAddress"],
            labels=tuple(sorted((node.get("Labels") or {}).items())),
        )
        for node in nodes
    ]


def _words(error: BaseException) -> str:
    """What an error of Ray says, in one bounded line."""
    # What was raised on a node, where Ray's own text is a whole traceback.
    error = getattr(error, "cause", None) or error
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:_LONGEST_REASON]
