"""Reading ``/metrics``: Prometheus' text format, as far as vLLM writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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
        ValueError: a line that is none of it, quoted in the message.
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
        try:
            if match is None:
                raise ValueError
            value = float(match["value"])
        except ValueError:
            raise ValueError(f"expected Prometheus' text format, seen {line[:200]!r}") from None
        labels = dict(_LABEL.findall(match["labels"] or ""))
        samples.append(Sample(match["name"], labels, value))
    return Metrics(tuple(samples), types)
