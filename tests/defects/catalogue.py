"""All defects, in the order of the modules that hold them."""

from __future__ import annotations

from tests.defects import (
    answers,
    connections,
    crowds,
    endpoints,
    outside,
    pictures,
    refusals,
    safety,
    settings,
    streams,
)
from tests.defects.planting import DEFECTS, Defect

MODULES = (
    pictures,
    settings,
    answers,
    streams,
    refusals,
    endpoints,
    crowds,
    connections,
    safety,
    outside,
)

__all__ = ["DEFECTS", "MODULES", "Defect"]
