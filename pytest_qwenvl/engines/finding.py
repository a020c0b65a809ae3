"""Which interpreter the engines of a run use."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qwenvl.config import Config

if TYPE_CHECKING:
    from pytest_qwenvl.engines.interpreter import Interpreter


def find_interpreter(config: Config) -> Interpreter:
    """The interpreter engines run in.

    ``--engine-python``; else the one that runs pytest, if it has vLLM; else that of the shared
    engine environment, if it was built.

    Raises:
        UsageProblem: it is no Python, or has no vLLM; with what to install or to attach.
    """
    from pytest_qwenvl.engines.cpu.install import installed_interpreter
    from pytest_qwenvl.engines.interpreter import probe

    own = Path(sys.executable)
    if config.engine_python is not None:
        return probe(config.engine_python)
    if importlib.util.find_spec("vllm") is not None:
        return probe(own)
    return probe(installed_interpreter() or own)
