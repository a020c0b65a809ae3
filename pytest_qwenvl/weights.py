"""Where a profile's weights lie on this host, and whether they are whole enough to load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile import ModelProfile


@dataclass(frozen=True)
class FoundWeights:
    """What was found for one profile.

    Attributes:
        location: the directory, or None where the weights are not at hand.
        looked_in: every place that was tried, for the message.
        problem: what is wrong with a directory that is there but cannot be loaded.
    """

    location: Path | None
    looked_in: tuple[str, ...] = ()
    problem: str = ""

    @property
    def reason(self) -> str:
        """Why the weights cannot be used; empty when they can."""
        if self.problem:
            return self.problem
        if self.location is None:
            return "weights not at hand; looked in " + ", ".join(self.looked_in)
        return ""


def find_weights(
    profile: ModelProfile, weights_root: Path | None, environment: Mapping[str, str] | None = None
) -> FoundWeights:
    """Look for ``profile``'s weights: beside the suite, ``--weights-root``, then the hub caches.

    Nothing is downloaded; a host without network must behave as one with it.

    Raises:
        UsageProblem: ``weights_root`` is not a directory.
    """
    environment = os.environ if environment is None else environment
    candidates: list[Path] = []
    if profile.weights.path is not None:
        candidates.append((profile.path.parent / profile.weights.path).resolve())
    hub_ids = [it for it in (profile.weights.huggingface, profile.weights.modelscope) if it]
    if weights_root is not None:
        if not weights_root.is_dir():
            raise UsageProblem(f"--weights-root {weights_root}: no such directory")
        for hub_id in dict.fromkeys(hub_ids):
            candidates += [weights_root / hub_id, weights_root / hub_id.split("/")[-1]]
        candidates.append(weights_root / profile.name)
    candidates += _hub_caches(profile, environment)
    looked_in = tuple(dict.fromkeys(str(path) for path in candidates))
    for path in dict.fromkeys(candidates):
        if path.is_dir():
            return FoundWeights(path, looked_in, _problem_of(path))
    return FoundWeights(None, looked_in)


def _hub_caches(profile: ModelProfile, environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HOME") or Path.home())
    found: list[Path] = []
    if profile.weights.huggingface:
        hugging_face = Path(environment.get("HF_HOME") or home / ".cache" / "huggingface")
        hub = Path(environment.get("HF_HUB_CACHE") or hugging_face / "hub")
        repository = hub / f"models--{profile.weights.huggingface.replace('/', '--')}"
        snapshots = sorted(repository.glob("snapshots/*"), key=lambda path: path.stat().st_mtime)
        found += reversed(snapshots) if snapshots else [repository / "snapshots"]
    if profile.weights.modelscope:
        model_scope = Path(
            environment.get("MODELSCOPE_CACHE") or home / ".cache" / "modelscope" / "hub"
        )
        # ModelScope writes a dot in a name as three underscores.
        for name in (profile.weights.modelscope, profile.weights.modelscope.replace(".", "___")):
            found.append(model_scope / "models" / name)
    return found


def _problem_of(directory: Path) -> str:
    """What keeps ``directory`` from being loaded; empty when nothing is seen."""
    if not any(directory.iterdir()):
        return f"{directory}: is empty; the weights were never copied there"
    config = directory / "config.json"
    if not config.is_file():
        return f"{directory}: has no config.json; it holds no model"
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        architectures = content["architectures"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return f"{config}: is broken ({type(problem).__name__}: {problem}); copy it again"
    if not architectures:
        return f"{config}: names no architecture; copy it again"
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
            return f"{index}: is broken ({type(problem).__name__}: {problem}); copy it again"
        missing = sorted(shard for shard in shards if not (directory / shard).is_file())
        if missing:
            shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
            return f"{directory}: {len(missing)} of {len(shards)} shards are missing: {shown}"
    elif not any(directory.glob("*.safetensors")):
        return f"{directory}: has no *.safetensors; the weights were not copied whole"
    return ""
