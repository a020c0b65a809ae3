"""Copied beside an engine as its ``sitecustomize``: makes CUDA builds tolerable to CPU torch.

Standard library only. ``qwenvl_overlay.json`` in the same folder says what to do: ``hide`` names
packages that cannot be imported and are better not found; ``declare_torchvision_operators``
declares the two operators whose missing declaration ends torchvision's import. A ``sitecustomize``
further down the path still runs.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(_HERE, "qwenvl_overlay.json"), encoding="utf-8") as _file:
    _SETTINGS = json.load(_file)
_HIDDEN = frozenset(_SETTINGS["hide"])
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_operators() -> None:
    import torch

    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SCHEMA)


class _Finder(PathFinder):
    """The usual finder, blind to hidden packages, that prepares torchvision's import."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname in _HIDDEN:
            return None
        spec = super().find_spec(fullname, path, target)
        prepare = _SETTINGS["declare_torchvision_operators"] and fullname == "torchvision"
        if prepare and spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def prepared(module: ModuleType) -> None:
                _declare_operators()
                execute(module)

            spec.loader.exec_module = prepared  # type: ignore[method-assign]
        return spec


def _run_the_shadowed_one() -> None:
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


sys.meta_path[:] = [_Finder if finder is PathFinder else finder for finder in sys.meta_path]
_run_the_shadowed_one()
