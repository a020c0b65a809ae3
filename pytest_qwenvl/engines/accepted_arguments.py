"""What one engine accepts: the options of its ``vllm serve``, the keyword arguments of its ``LLM``.

vLLM itself is asked, in a short child process of its interpreter. That imports torch and takes
about ten seconds, so the answer is kept in the user's cache until the interpreter's vLLM changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.cpu.install import engine_home
from pytest_qwenvl.engines.cpu.overlay import cpu_environment
from pytest_qwenvl.engines.interpreter import Interpreter
from pytest_qwenvl.errors import EngineError

_WORKER = Path(__file__).with_name("accepted_worker.py")
_TIMEOUT = 600.0  # seconds; imports take ten, and minutes from a cold network disk


@dataclass(frozen=True)
class Elsewhere:
    """How an interpreter that is in an image is asked.

    Attributes:
        identity: the image's id; a different image is asked anew.
        folder: where both the host and a container of the image read and write.
        contain: turns a command of the image's interpreter into one that runs a container.
    """

    identity: str
    folder: Path
    contain: Callable[[Launch], Launch]


class AcceptedOption(BaseModel):
    """One option of ``vllm serve``.

    Attributes:
        takes_value: False for a flag.
        several: whether it takes more than one value.
        choices: the only values there are, or None.
        forms: forms of text that it can read (``integer``, ``object`` …), or None for any.
        keys: of a table with fields of its own, their names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes_value: bool = True
    several: bool = False
    choices: tuple[str, ...] | None = None
    forms: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None


class AcceptedArguments(BaseModel):
    """What one version of vLLM accepts.

    Attributes:
        vllm: its version.
        vllm_ascend: that of the plugin, which may add to what is accepted; None without it.
        options: of ``vllm serve``, by name without leading dashes.
        llm_keywords: of ``vllm.LLM``, those of ``EngineArgs`` included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vllm: str
    vllm_ascend: str | None = None
    options: dict[str, AcceptedOption]
    llm_keywords: frozenset[str]

    @property
    def engine(self) -> str:
        """Its version, for messages."""
        plugin = f" with vllm-ascend {self.vllm_ascend}" if self.vllm_ascend else ""
        return f"vLLM {self.vllm}{plugin}"

    def to_json(self) -> str:
        """As text that :meth:`from_json` reads: one name a line, so that two can be compared."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        options = content.pop("options")
        keywords = content.pop("llm_keywords")
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
        rows = ",\n".join(f"    {json.dumps(name)}" for name in sorted(keywords))
        lines.append(f'  "llm_keywords": [\n{rows}\n  ]')
        rows = ",\n".join(f"    {json.dumps(k)}: {json.dumps(options[k])}" for k in sorted(options))
        lines.append(f'  "options": {{\n{rows}\n  }}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> AcceptedArguments:
        """What :meth:`to_json` wrote; raises ValueError for anything else."""
        return cls.model_validate_json(text)


def cached_arguments(
    interpreter: Interpreter, elsewhere: Elsewhere | None = None
) -> AcceptedArguments | None:
    """What the interpreter's vLLM accepts, if it was asked before; None when it was not."""
    return _cached(_cache_file(interpreter, elsewhere))


def accepted_arguments(
    interpreter: Interpreter, elsewhere: Elsewhere | None = None
) -> AcceptedArguments:
    """What the interpreter's vLLM accepts: from the cache, else asked and kept there.

    Args:
        elsewhere: how it is asked where it is in an image.

    Raises:
        EngineError: its vLLM cannot be imported, or has no parser where one is known to be.
    """
    file = _cache_file(interpreter, elsewhere)
    known = _cached(file)
    if known is not None:
        return known
    if file is None:
        return read_accepted(interpreter, elsewhere)
    from filelock import FileLock

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire()
    except OSError:
        # A cache that cannot be written costs ten seconds a run, nothing else.
        return read_accepted(interpreter, elsewhere)
    try:
        known = _cached(file)
        if known is None:
            known = read_accepted(interpreter, elsewhere)
            written = file.with_suffix(".new")
            written.write_text(known.to_json(), encoding="utf-8")
            written.replace(file)
        return known
    finally:
        lock.release()


def read_accepted(
    interpreter: Interpreter, elsewhere: Elsewhere | None = None
) -> AcceptedArguments:
    """Ask the interpreter's vLLM what it accepts; see :func:`accepted_arguments`."""
    answer = _ask(interpreter, (), elsewhere)
    return AcceptedArguments(
        vllm=interpreter.vllm_version,
        vllm_ascend=interpreter.versions.get("vllm_ascend"),
        **answer,
    )


def parser_complaints(
    interpreter: Interpreter,
    commands: Sequence[Sequence[str]],
    elsewhere: Elsewhere | None = None,
) -> list[str | None]:
    """What vLLM's own parser says of each list of arguments of ``vllm serve``.

    Returns:
        for each its complaint; None where it accepts them.

    Raises:
        EngineError: it cannot be asked.
    """
    said: list[str | None] = _ask(interpreter, commands, elsewhere)["complaints"]
    return said


def _ask(
    interpreter: Interpreter, commands: Sequence[Sequence[str]], elsewhere: Elsewhere | None
) -> dict[str, Any]:
    place = None if elsewhere is None else elsewhere.folder
    with tempfile.TemporaryDirectory(prefix="qwenvl-accepted-", dir=place) as folder:
        result = Path(folder) / "result.json"
        settings = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
        if interpreter.platform == "cpu":
            settings.update(cpu_environment(interpreter, Path(folder) / "overlay"))
        command = [str(interpreter.path), str(_WORKER), str(result)]
        if commands:
            command.append(json.dumps([list(arguments) for arguments in commands]))
        launch = Launch(tuple(command), settings)
        if elsewhere is not None:
            launch = elsewhere.contain(launch)
        try:
            code, output = _run(launch, folder, {**os.environ, **launch.environment})
        except subprocess.TimeoutExpired:
            said = f"did not end within {_TIMEOUT:.0f} s"
        except OSError as problem:
            said = f"cannot be started: {problem.strerror}"
        else:
            if code == 0 and result.is_file():
                answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
                return answer
            tail = "\n".join(output.splitlines()[-20:])
            said = f"ended with exit code {code} and said:\n{tail}"
        raise EngineError(
            f"{interpreter.path} cannot say what its vLLM {interpreter.vllm_version} accepts: the "
            f"process that builds its parser {said}",
            argv=launch.argv,
        )


def _run(launch: Launch, folder: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; its exit code and what it said."""
    # A container goes on for as long as its standard input is open, and ends with it.
    read, write = os.pipe()
    try:
        done = subprocess.run(
            launch.argv,
            cwd=folder,
            env=environment,
            stdin=read,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
        return done.returncode, done.stdout
    except BaseException:
        if launch.farewell:
            subprocess.run(launch.farewell, stdin=subprocess.DEVNULL, check=False)
        raise
    finally:
        os.close(write)
        os.close(read)


def _cached(file: Path | None) -> AcceptedArguments | None:
    try:
        return None if file is None else AcceptedArguments.from_json(file.read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def _cache_file(interpreter: Interpreter, elsewhere: Elsewhere | None) -> Path | None:
    """Where the answer is kept; None for an interpreter whose changes would not be noticed.

    Named after what was installed and when: pip writes ``RECORD`` anew whenever it installs. What
    an image holds never changes.
    """
    stamps = []
    if elsewhere is not None:
        stamps.append((elsewhere.identity, 0))
    else:
        if not (interpreter.site_packages / "vllm").is_dir():
            return None
        for distribution in (interpreter.distribution, "vllm-ascend"):
            pattern = f"{distribution.replace('-', '_')}-*.dist-info/RECORD"
            for record in sorted(interpreter.site_packages.glob(pattern)):
                stamps.append((record.parent.name, record.stat().st_mtime_ns))
    if not stamps:
        return None
    worker = _WORKER.read_bytes()
    identity = json.dumps([str(interpreter.path), interpreter.versions, stamps]).encode()
    name = hashlib.sha256(identity + worker).hexdigest()[:16]
    return engine_home() / "accepted" / f"vllm-{interpreter.vllm_version}-{name}.json"
