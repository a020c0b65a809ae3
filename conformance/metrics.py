"""Reading ``/metrics``: Prometheus' text format, as far as vLLM writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_qwenvl.engines.endpoint import Endpoint

_SAMPLE = re.compile(
    r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?"
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line: a number under a name and labels."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Metrics:
    """What ``/metrics`` said at one moment.

    Attributes:
        types: the type of each family (``counter``, ``gauge``, ``histogram``), by name.
    """

    samples: tuple[Sample, ...]
    types: Mapping[str, str]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over the samples of a name that have these labels; None when there is none."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == name
            and all(sample.labels.get(key) == value for key, value in labels.items())
        ]
        return sum(values) if values else None


def read_metrics(text: str) -> Metrics:
    """Read Prometheus' text format.

    Raises:
        AssertionError: a line that is none of it.
    """
    samples: list[Sample] = []
    types: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            words = line.split()
            if len(words) == 4 and words[1] == "TYPE":
                types[words[2]] = words[3]
            continue
        match = _SAMPLE.fullmatch(line)
        assert match is not None, f"/metrics: expected Prometheus' text format, seen {line[:200]!r}"
        labels = dict(_LABEL.findall(match["labels"] or ""))
        samples.append(Sample(match["name"], labels, float(match["value"])))
    return Metrics(tuple(samples), types)


def metrics_of(server: Endpoint) -> Metrics:
    """What the server's ``/metrics`` says now.

    Raises:
        AssertionError: it is not there, or no text that Prometheus reads.
    """
    response = server.request("GET", "/metrics")
    assert response.status_code == 200, f"/metrics: expected 200, seen {response.status_code}"
    content_type = response.headers.get("content-type", "")
    assert content_type.startswith("text/plain"), (
        f"/metrics: expected content-type text/plain, seen {content_type!r}"
    )
    return read_metrics(response.text)


def resident_bytes(server: Endpoint) -> float | None:
    """Resident memory of the process that answers HTTP (bytes), as far as it says so."""
    response = server.request("GET", "/metrics")
    if response.status_code != 200:
        return None
    match = re.search(r"^process_resident_memory_bytes (\S+)$", response.text, re.MULTILINE)
    return float(match[1]) if match else None
