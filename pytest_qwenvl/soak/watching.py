"""Looking at a server every few seconds: its processes, its counters, its log, the host."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pytest_qwenvl.measure.soak import (
    CACHE,
    DEVICE_MEMORY,
    MEMORY,
    OTHERS,
    RUNNING,
    WAITING,
    WHOLE_MEMORY,
)
from pytest_qwenvl.measure.soak_record import Overstay, Thinning, Watched
from pytest_qwenvl.soak.processes import EngineProcesses, ProcessLook, busy_seconds

if TYPE_CHECKING:
    from pytest_qwenvl.engines.endpoint import Endpoint

# Three lines of some thousand are wanted, and reading them all would be most of a look's cost.
_GAUGES = {
    "vllm:num_requests_running": (RUNNING, ""),
    "vllm:num_requests_waiting": (WAITING, ""),
    "vllm:kv_cache_usage_perc": (CACHE, "of all"),
}
_GAUGE = re.compile(rf"^({'|'.join(_GAUGES)})(?:\{{[^\n]*\}})? (\S+)$", re.MULTILINE)
_ERROR = re.compile(r"\bERROR\b")
_DEVICES_EVERY = 60.0  # seconds: npu-smi takes seconds of a core
_MOST_LINES = 20
_MOST_OVERSTAYS = 50
_LONGEST_LINE = 300

Devices = Callable[[], Mapping[str, float]]
"""MiB used, by device."""


class Watch:
    """Looks at a server from a thread of its own, and keeps what it saw.

    Args:
        processes: None where they cannot be seen.
        devices: None where there are none.
        under_way: the most requests that clients waited for since it was last called.
        interval: seconds between looks.
    """

    def __init__(
        self,
        server: Endpoint,
        processes: EngineProcesses | None,
        devices: Devices | None,
        under_way: Callable[[], int],
        interval: float,
    ) -> None:
        self._server = server
        self._processes = processes
        self._devices = devices
        self._under_way = under_way
        self._interval = interval
        self._series: dict[tuple[str, str], Thinning] = {}
        self._overstays: list[Overstay] = []
        self._over: Overstay | None = None
        self._first: set[str] | None = None
        self._host: tuple[float, float, float] | None = None
        self._devices_at = float("-inf")
        self._log_at = server.log_offset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwenvl-soak-watch", daemon=True)
        self._began = time.monotonic()
        self.failure: Exception | None = None
        self.unreadable = ""
        self.gone: tuple[str, ...] = ()
        self.log_errors = 0
        self.log_lines: list[str] = []
        self.processor = 0.0
        """Seconds of processor time that looking took."""

    def start(self) -> None:
        """Begin; times count from here."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End, after a last look."""
        self._stop.set()
        self._thread.join()
        self._close_overstay()

    @property
    def overstays(self) -> tuple[Overstay, ...]:
        """When there were requests in the engine that no client waited for."""
        return tuple(self._overstays)

    def watched(self) -> tuple[Watched, ...]:
        """Every series; to be asked for when it has ended."""
        return tuple(series.watched() for series in self._series.values())

    def gauges(self) -> dict[str, float]:
        """Running, waiting and cache use now, as far as ``/metrics`` tells."""
        import requests

        try:
            response = self._server.request("GET", "/metrics", timeout=self._interval + 10)
        except requests.RequestException as problem:
            self.unreadable = f"/metrics: {problem}"
            return {}
        if response.status_code != 200:
            self.unreadable = f"/metrics answered HTTP {response.status_code}"
            return {}
        found: dict[str, float] = {}
        for name, value in _GAUGE.findall(response.text):
            quantity, _ = _GAUGES[name]
            try:
                found[quantity] = found.get(quantity, 0.0) + float(value)
            except ValueError:
                self.unreadable = f"/metrics: {name} is {value!r}"
        if not found:
            self.unreadable = "/metrics has no vllm:num_requests_running"
        return found

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while True:
                self._look(time.monotonic() - self._began)
                self.processor = time.thread_time()
                due = max(due + self._interval, time.monotonic())
                if self._stop.wait(due - time.monotonic()):
                    break
        except Exception as problem:
            # Whoever ends the watch tells it.
            self.failure = problem

    def _look(self, at: float) -> None:
        seen = self._processes.look() if self._processes is not None else []
        for process in seen:
            self._keep(at, MEMORY, process.role, "MiB", process.memory)
            self._keep(at, "descriptors", process.role, "", process.descriptors)
            self._keep(at, "threads", process.role, "", process.threads)
            self._keep(at, "sockets", process.role, "", process.sockets)
            if process.proportional is not None:
                self._keep(at, WHOLE_MEMORY, process.role, "MiB", process.proportional)
        self._note_gone({process.role for process in seen})
        if self._processes is not None:
            self._look_at_host(at, seen)
        self._look_at_requests(at)
        self._look_at_log()
        if self._devices is not None and at - self._devices_at >= _DEVICES_EVERY:
            self._devices_at = at
            for device, used in self._devices().items():
                self._keep(at, DEVICE_MEMORY, device, "MiB", used)

    def _keep(self, at: float, quantity: str, of: str, unit: str, value: float) -> None:
        key = quantity, of
        if key not in self._series:
            self._series[key] = Thinning(quantity, of, unit)
        self._series[key].add(at, value)

    def _note_gone(self, roles: set[str]) -> None:
        if self._first is None:
            self._first = roles
        # A server that ends on its own is told by the load, with its log.
        self.gone = tuple(sorted(self._first - roles - {"API server"}))

    def _look_at_host(self, at: float, seen: list[ProcessLook]) -> None:
        busy = busy_seconds()
        if busy is None:
            return
        own = sum(process.processor for process in seen) + time.process_time()
        before, self._host = self._host, (at, busy, own)
        if before is not None and at > before[0]:
            others = (busy - before[1]) - (own - before[2])
            share = others / (at - before[0]) / (os.cpu_count() or 1)
            self._keep(at, OTHERS, "", "of all", min(1.0, max(0.0, share)))

    def _look_at_requests(self, at: float) -> None:
        self._under_way()
        found = self.gauges()
        # What is under way while the server counts is counted on both sides of the question.
        waited_for = self._under_way()
        for quantity, value in found.items():
            self._keep(at, quantity, "", dict(_GAUGES.values())[quantity], value)
        if RUNNING not in found:
            return
        inside = found[RUNNING] + found.get(WAITING, 0.0)
        if inside <= 0:
            self._close_overstay()
            return
        stay = self._over or Overstay(at, at, inside, 0, 0)
        fewest, over = min(stay.requests, inside), stay.over + (inside > waited_for)
        self._over = Overstay(stay.since, at, fewest, stay.looks + 1, over)

    def _close_overstay(self) -> None:
        if self._over is not None and self._over.over > 1:
            self._overstays.append(self._over)
            self._overstays.sort(key=lambda stay: stay.since - stay.until)
            del self._overstays[_MOST_OVERSTAYS:]
        self._over = None

    def _look_at_log(self) -> None:
        end = self._server.log_offset()
        if end <= self._log_at:
            return
        text = self._server.log_since(self._log_at)
        self._log_at = end
        for line in text.splitlines():
            if _ERROR.search(line):
                self.log_errors += 1
                if len(self.log_lines) < _MOST_LINES:
                    self.log_lines.append(line[:_LONGEST_LINE])
