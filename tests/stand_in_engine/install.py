"""An interpreter that has the stand-in engine, weights it loads, and profiles that name them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGES = Path(__file__).with_name("packages")

# The tutorial's request costs 29 text and template tokens with the stand-in's tokenizer too.
PROFILE = """\
schema_version = 1
name = "{name}"
title = "Stand-in {name}"
family = "qwen3-vl"
reference = true
[weights]
path = {weights}
[image]
patch_size = 16
merge_size = 2
min_pixels = 9216
max_pixels = 1048576
tutorial_text_tokens = 29
source = "the stand-in engine"
[engine.cpu.environment]
STAND_IN = "{defects}"
[understanding]
items = {items}
agreement = 1.0
source = "the stand-in engine is always right"
[understanding.floors]
colour = 1.0
shape = 1.0
position = 1.0
which_image = 1.0
earlier_turn = 1.0
system_upper = 1.0
system_prefix = 1.0
count = 1.0
number = 1.0
text = 1.0
describe = 1.0
chat = 1.0
"""
DEPLOYMENT = """
[[deployments]]
name = "{mode}-{npus}npu"
mode = "{mode}"
npus = {npus}
images = 4
start_timeout = {start_timeout}
[deployments.arguments]
max_model_len = 4096
"""
LATENCY = """
[[latency]]
name = "text"
deployment = "serve-1npu"
num_prompts = 10
request_rate = 10.0
output_tokens = 4
warm_ups = 0
source = "made up for the tests"
"""


def stand_in_python(directory: Path, python: str = sys.executable) -> Path:
    """An executable that behaves like a Python with vLLM installed."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "python"
    places = shlex.quote(os.pathsep.join([str(PACKAGES), str(CHECKOUT)]))
    path.write_text(
        "#!/bin/sh\n"
        f"export PYTHONPATH={places}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        f'exec {shlex.quote(python)} "$@"\n'
    )
    path.chmod(0o755)
    return path


def write_weights(directory: Path) -> Path:
    """A directory that passes for a model's weights."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl"}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").write_bytes(b"")
    return directory


def write_profile(
    directory: Path,
    name: str,
    weights: Path,
    *,
    defects: Sequence[str] = (),
    deployments: Sequence[tuple[str, int]] = (("serve", 1),),
    items: int = 2,
    start_timeout: float = 120.0,
    latency: bool = False,
) -> Path:
    """A profile of the stand-in, with defects planted; deployments are (mode, npus)."""
    directory.mkdir(parents=True, exist_ok=True)
    text = PROFILE.format(
        name=name, weights=json.dumps(str(weights)), defects=",".join(defects), items=items
    )
    for mode, npus in deployments:
        text += DEPLOYMENT.format(mode=mode, npus=npus, start_timeout=start_timeout)
    path = directory / f"{name}.toml"
    path.write_text(text + (LATENCY if latency else ""))
    return path


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child pytest: nothing of the user's that could change its course."""
    dropped = ("PYTEST_", "ASCEND_", "QWENVL_", "STAND_IN", "HF_", "MODELSCOPE_", "COV_", "VLLM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # Devices are leased among the runs of one test, whatever else this machine does.
    locks = home / "tmp" / "pytest-qwenvl-leases"
    return {**kept, "HOME": str(home), "QWENVL_LOCK_DIRECTORY": str(locks), **(extra or {})}
