"""Build the shared engine environment: ``python -m pytest_qwenvl.engines.cpu.install``.

One virtual environment serves every checkout and every tox environment of a user, so that vLLM is
installed once. Its folder's name carries a hash of what goes in, so that another set of
requirements is another environment. ``--vllm=0.23.0`` builds that of another version of vLLM, which
``releases.toml`` describes. The interpreter's path is the last line of standard output; everything
else goes to standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_qwenvl.devices.inventory import signs_of_ascend
from pytest_qwenvl.errors import QwenVLError, UsageProblem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
RELEASES = Path(__file__).with_name("releases.toml")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_COMPLETE = "pytest-qwenvl-complete"
# Run by the environment's own interpreter, which alone has the distribution.
_DEPENDENCIES = """
import sys
from importlib.metadata import requires
print("\\n".join(line for line in requires(sys.argv[1]) or () if "extra ==" not in line))
"""


class Wanted(NamedTuple):
    """What goes into an engine environment.

    Attributes:
        requirements: what pip installs, with all that these depend on.
        alone: installed first, without its dependencies; empty if nothing is.
        replaced: the dependencies of ``alone`` that are not installed as it names them, since
            ``requirements`` has others in their place.
    """

    requirements: tuple[str, ...]
    alone: str = ""
    replaced: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of it, one item a line: what tells one environment from another."""
        first = [f"--no-deps {self.alone}"] if self.alone else []
        return [*first, *(f"replaced: {name}" for name in self.replaced), *self.requirements]


def engine_home() -> Path:
    """Folder of the shared environments: ``$QWENVL_ENGINE_HOME``, else in the user's cache."""
    given = os.environ.get("QWENVL_ENGINE_HOME")
    if given:
        return Path(given).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "pytest-qwenvl"


def environment_folder(release: str = "") -> Path:
    """The folder that this version of vLLM, its requirements and this Python version belong in.

    Args:
        release: a version of vLLM that ``releases.toml`` has; empty for that of the default.

    Raises:
        UsageProblem: there is no such version.
    """
    content = "\n".join([*wanted(release).lines, platform.python_version(), platform.machine()])
    return engine_home() / f"engine-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def requirements() -> list[str]:
    """The pinned requirements of the default environment, without comments."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def wanted(release: str = "") -> Wanted:
    """What the environment of a version of vLLM consists of; the default one when it is empty.

    Raises:
        UsageProblem: ``releases.toml`` does not have this version.
    """
    if not release:
        return Wanted(tuple(requirements()))
    known = tomllib.loads(RELEASES.read_text(encoding="utf-8"))
    if release not in known:
        raise UsageProblem(
            f"--vllm={release}: no such engine environment; known are {', '.join(known)}, and the "
            "default one without --vllm"
        )
    entry = known[release]
    own = [entry["alone"], *entry["requirements"]]
    named = {_name_of(line) for line in own}
    # The evaluation harness and its like are the same beside every version.
    shared = [line for line in requirements() if _name_of(line) not in named]
    beside = (*entry["requirements"], *shared)
    return Wanted(beside, entry["alone"], tuple(entry["replaced"]))


def _name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    return found.group() if found else ""


def installed_interpreter(release: str = "") -> Path | None:
    """The shared environment's interpreter; None when it was not built, or only half.

    Raises:
        UsageProblem: there is no such version; see :func:`wanted`.
    """
    folder = environment_folder(release)
    python = folder / "bin" / "python"
    return python if (folder / _COMPLETE).is_file() and python.exists() else None


def install(release: str = "") -> Path:
    """Build a shared environment unless it is complete; its interpreter.

    Only one process builds; others wait for it and use the result.

    Raises:
        UsageProblem: the folder cannot be written, or pip failed, with what pip said last; or there
            is no such version.
    """
    from filelock import FileLock, Timeout

    folder = environment_folder(release)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _say(f"another process is building {folder}; waiting for it")
            lock.acquire()
        try:
            return installed_interpreter(release) or _build(folder, wanted(release))
        finally:
            lock.release()
    except OSError as error:
        raise UsageProblem(
            f"cannot write the engine environment {folder}: {error}; choose another folder with "
            "QWENVL_ENGINE_HOME"
        ) from error


def _build(folder: Path, content: Wanted) -> Path:
    begun = time.monotonic()
    _say(f"building the engine environment {folder} (once; about 3 minutes and 4 to 7 GB)")
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--progress-bar", "off"]
    items = list(content.requirements)
    if content.alone:
        _run([*pip, "--no-deps", content.alone])
        items += _dependencies(python, content)
    said = _run([*pip, *items], may_fail=True)
    if said is not None:
        if "torch==" not in said:
            raise UsageProblem(f"pip could not install {', '.join(items)}:\n{said}")
        _say(f"the configured index has no CPU build of torch; asking {TORCH_CPU_INDEX} too")
        _run([*pip, *items, "--extra-index-url", TORCH_CPU_INDEX])
    (folder / _COMPLETE).write_text("\n".join(content.lines) + "\n", encoding="utf-8")
    _say(f"engine environment complete after {time.monotonic() - begun:.0f} s")
    return python


def _dependencies(python: Path, content: Wanted) -> list[str]:
    """What the distribution that was installed alone depends on, without what is replaced."""
    command = [str(python), "-c", _DEPENDENCIES, _name_of(content.alone)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if _name_of(line) not in content.replaced]


def _run(command: Sequence[str], *, may_fail: bool = False) -> str | None:
    """Run a command, its output on standard error; None, or the last lines when it failed."""
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            last = [*last[-19:], line.rstrip()]
            # One line for each package, not one for each of pip's remarks about it.
            if line.startswith(("Collecting", "Installing", "Successfully", "ERROR")):
                _say(line.rstrip()[:200])
    if process.returncode == 0:
        return None
    said = "\n".join(last)
    if not may_fail:
        raise UsageProblem(
            f"{' '.join(command)} ended with exit code {process.returncode}:\n{said}"
        )
    return said


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, or with ``--print`` only name, the interpreter; exit code 1 when there is none."""
    parser = argparse.ArgumentParser(prog="python -m pytest_qwenvl.engines.cpu.install")
    parser.add_argument(
        "--print",
        dest="only_print",
        action="store_true",
        help="print the interpreter if the environment is complete, build nothing",
    )
    parser.add_argument(
        "--vllm",
        default="",
        metavar="VERSION",
        help="the environment of this version of vLLM instead of the default one's",
    )
    parser.add_argument("--anyway", action="store_true", help="build it on an Ascend host too")
    options = parser.parse_args(arguments)
    signs = signs_of_ascend(os.environ)
    if signs and not (options.anyway or options.only_print):
        _say(
            f"this is an Ascend host ({signs[0]}), so no CPU engine is built; name the interpreter "
            "that has vllm-ascend with --engine-python"
        )
        return 0
    release = options.vllm
    try:
        python = installed_interpreter(release) if options.only_print else install(release)
    except UsageProblem as problem:
        _say(f"error: {problem}")
        return 1
    if python is None:
        _say(f"{environment_folder(release)} is not built; run this command without --print")
        return 1
    if not options.only_print and any("vllm" in line for line in wanted(release).lines):
        _ask_what_it_accepts(python)
    print(python)  # noqa: T201
    return 0


def _ask_what_it_accepts(python: Path) -> None:
    """Every run needs the answer, and getting it takes ten seconds: so once, and here."""
    from pytest_qwenvl.engines.accepted_arguments import accepted_arguments, cached_arguments
    from pytest_qwenvl.engines.interpreter import probe

    try:
        interpreter = probe(python)
        if cached_arguments(interpreter) is None:
            _say(f"asking vLLM {interpreter.vllm_version} what it accepts")
            accepted_arguments(interpreter)
    except QwenVLError as problem:
        # Runs ask again, and say so; the environment itself is complete.
        _say(f"warning: {problem}")


if __name__ == "__main__":
    sys.exit(main())
