"""A measured figure beside its bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, how much it was, and how much it may be."""

    what: str
    value: float
    bound: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the figure keeps the promise."""
        return self.value <= self.bound

    def line(self) -> str:
        """The figure as one line."""
        word = "ok    " if self.holds else "MISSED"
        return f"{word} {self.what}: {self.value:.3g} {self.unit} (at most {self.bound:g})"
