"""Asking docker or podman: is it there, does it have the image, what is in the image."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_qwenvl.engines.container import Runtime
from pytest_qwenvl.engines.container_farewell import main as remove
from pytest_qwenvl.engines.interpreter import Interpreter, probe
from pytest_qwenvl.errors import UsageProblem

_TIMEOUT = 60.0  # seconds; a daemon that takes longer to say what it has will not start an engine
_PROBE_TIMEOUT = 300.0  # seconds; the first container of a large image can take minutes
_START_UP = {
    "docker": "start it (systemctl start docker), see that this user may reach its socket (group "
    "docker), or choose --container-runtime=podman",
    "podman": "`podman info` says more, or choose --container-runtime=docker",
}


@dataclass(frozen=True)
class Image:
    """An image that the host has.

    Attributes:
        reference: as it was asked for.
        id: what ``run`` is given: a tag that is moved in mid-run changes nothing, and nothing is
            pulled by an id.
        digest: the registry's digest (``name@sha256:…``); empty for one that came from no registry.
    """

    reference: str
    id: str
    digest: str

    def described(self) -> str:
        """The image for a report: what was asked for and what it was."""
        return f"{self.reference} ({self.digest or self.id})"


def find_image(runtime: Runtime, reference: str) -> Image:
    """The image, as the host has it; never pulled.

    Raises:
        UsageProblem: the runtime is not installed or cannot be reached, or has no such image;
            with what to do.
    """
    if shutil.which(runtime) is None:
        raise UsageProblem(
            f"--launcher=container: {runtime} is not installed, or not on PATH; install it, or "
            "choose the other of docker and podman with --container-runtime"
        )
    asked = _ask(runtime, "image", "inspect", reference)
    if asked.returncode == 0:
        try:
            (found,) = json.loads(asked.stdout)
            digests = found.get("RepoDigests") or [""]
            return Image(reference, found["Id"], digests[0])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UsageProblem(
                f"--image {reference}: `{runtime} image inspect` gave no answer that can be read: "
                f"{asked.stdout[:200]!r}"
            ) from None
    reached = _ask(runtime, "ps", "--quiet")
    if reached.returncode != 0:
        raise UsageProblem(
            f"--launcher=container: {runtime} is installed but does not work: "
            f"{_last_words(reached)}; {_START_UP[runtime]}"
        )
    raise UsageProblem(
        f"--image {reference}: {runtime} has no such image ({_last_words(asked)}), and the suite "
        f"pulls none; get it with `{runtime} pull {reference}`, or from an archive with "
        f"`{runtime} load --input FILE`"
    )


def probe_image(
    runtime: Runtime, image: Image, python: Path, options: Sequence[str] = ()
) -> Interpreter:
    """What the image's interpreter has, found out in a short container.

    Args:
        python: the interpreter in the image, a path or a name on the image's PATH.
        options: further options of ``run``.

    Raises:
        UsageProblem: the container could not be run, or the interpreter has no vLLM.
    """
    name = f"qwenvl-probe-{uuid.uuid4().hex[:12]}"
    command = [runtime, "run", "--rm", f"--name={name}", "--network=none", "--log-driver=none"]
    try:
        return probe(
            python,
            run_by=[*command, "--label=pytest-qwenvl.kind=probe", *options, image.id],
            within=f"image {image.reference}",
            timeout=_PROBE_TIMEOUT,
        )
    except BaseException:
        # Without its client it would go on: nobody reads what it says any more.
        remove(runtime, name)
        raise


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise UsageProblem(f"{command[0]} cannot be executed: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise UsageProblem(
            f"`{' '.join(command)}` gave no answer within {_TIMEOUT:.0f} s; {_START_UP[command[0]]}"
        ) from None


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}, and no word"
