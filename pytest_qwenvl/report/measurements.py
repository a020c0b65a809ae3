"""The measurements a report keeps whole, found by the results that were judged from them.

A result's evidence has ``measurement``: an object with ``kind`` and ``name``, or, where another
result of the same deployment keeps it, the text ``KIND NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pytest_qwenvl.errors import MeasurementError
from pytest_qwenvl.measure.accuracy_evidence import KIND as EVALUATION
from pytest_qwenvl.measure.accuracy_evidence import SERVED_KIND as SERVED_EVALUATION
from pytest_qwenvl.measure.accuracy_evidence import evaluation_from
from pytest_qwenvl.measure.load_evidence import KIND as LOAD
from pytest_qwenvl.measure.load_evidence import load_from
from pytest_qwenvl.measure.soak_record import KIND as SOAK
from pytest_qwenvl.measure.soak_record import soak_from
from pytest_qwenvl.report.results import Result, RunRecord

MEASUREMENT = "measurement"
BASELINE = "baseline_measurement"
"""Key of evidence that keeps what the measurement was compared with."""

# What a merged report adds to the name of a measurement that several of its runs made.
_OF_RUN = " of run "
_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    EVALUATION: evaluation_from,
    SERVED_EVALUATION: evaluation_from,
    LOAD: load_from,
    SOAK: soak_from,
}


class Key(NamedTuple):
    """Which measurement: of which deployment, and what its kind and name are."""

    model: str
    deployment: str
    text: str

    @property
    def kind(self) -> str:
        """``evaluation``, ``served-evaluation``, ``load`` or ``soak``."""
        return self.text.partition(" ")[0]

    @property
    def alike(self) -> Key:
        """The key that the same measurement has in any run of its own."""
        return self._replace(text=self.text.partition(_OF_RUN)[0])

    def __str__(self) -> str:
        return f"{self.text} on {self.model}/{self.deployment}"


class Measurements(Mapping[Key, Any]):
    """Every measurement of a run, read when it is first asked for and then kept."""

    def __init__(self, run: RunRecord) -> None:
        self._raw: dict[Key, Mapping[str, Any]] = {}
        self._read: dict[Key, Any] = {}
        for result in run.results:
            raw = result.evidence.get(MEASUREMENT)
            key = key_of(result)
            if key is not None and isinstance(raw, dict):
                self._raw.setdefault(key, raw)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._raw)

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __getitem__(self, key: Key) -> Any:
        """The measurement, as its kind has it.

        Raises:
            KeyError: the report keeps none.
            MeasurementError: it keeps one that cannot be read.
        """
        if key not in self._read:
            self._read[key] = read_measurement(self._raw[key])
        return self._read[key]

    def __len__(self) -> int:
        return len(self._raw)


def named_of_run(name: str, run_id: str) -> str:
    """The name of a measurement in a report of several runs that each made it."""
    return name if _OF_RUN in name else f"{name}{_OF_RUN}{run_id}"


def key_of(result: Result) -> Key | None:
    """The measurement that a result was judged from; None for a result of none."""
    kept = result.evidence.get(MEASUREMENT)
    if isinstance(kept, dict):
        kept = f"{kept.get('kind')} {kept.get('name')}"
    return Key(result.model, result.deployment, kept) if isinstance(kept, str) else None


def read_measurement(raw: Mapping[str, Any]) -> Any:
    """One measurement from its JSON values; raises MeasurementError for what is none."""
    reader = _READERS.get(str(raw.get("kind")))
    if reader is None:
        raise MeasurementError(
            f"a measurement of kind {raw.get('kind')!r}; this version knows {', '.join(_READERS)}"
        )
    return reader(raw)
