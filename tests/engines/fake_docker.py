"""Plays docker's client for tests: ``run`` runs the command on this host, under the name it gets.

``FAKE_DOCKER`` is a folder: ``calls`` gets a line a call; ``NAME.pid`` stands for a container;
while ``down`` exists the daemon cannot be reached, while ``no-device`` exists engines are refused
one. It has the image ``stand-in:1``.
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_DOCKER", "absent"))
IMAGE = "stand-in:1"
ID = "sha256:" + "1a" * 32
DIGEST = "registry.example/stand-in@sha256:" + "2b" * 32


def install(directory: Path) -> None:
    """Make this program the ``docker`` of whoever has the directory on PATH."""
    directory.mkdir()
    path = directory / "docker"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {__file__} "$@"\n')
    path.chmod(0o755)


def fail(code: int, words: str) -> int:
    print(words, file=sys.stderr)
    return code


def run(arguments: list[str]) -> int:
    options = []
    while arguments[0].startswith("-"):
        options.append(arguments.pop(0))
    image, *command = arguments
    if "--nonsense" in options:
        return fail(125, "unknown flag: --nonsense\nSee 'docker run --help'.")
    if image != ID:
        return fail(125, f"Unable to find image '{image}' locally")
    if (FOLDER / "no-device").exists() and "-c" not in command:
        return fail(
            125,
            "docker: Error response from daemon: error gathering device information while adding "
            'custom device "/dev/davinci0": no such file or directory.\n\n'
            "Run 'docker run --help' for more information",
        )
    environment = dict(os.environ)
    for option in options:
        if option.startswith("--env="):
            name, _, value = option.removeprefix("--env=").partition("=")
            environment[name] = value or os.environ.get(name, "")
    (name,) = (it.removeprefix("--name=") for it in options if it.startswith("--name="))
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    place = FOLDER / f"{name}.pid"
    place.write_text(str(process.pid))
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    code = process.wait()
    if (FOLDER / "down").exists():
        return fail(125, "docker: unexpected EOF")
    place.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def main(command: str, *rest: str) -> int:
    with (FOLDER / "calls").open("a") as calls:
        print(json.dumps([command, *rest]), file=calls)
    if (FOLDER / "down").exists():
        print("[]")
        return fail(
            1,
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
            "daemon running?",
        )
    if command == "image":
        if rest[1] != IMAGE:
            print("[]")
            return fail(1, f"Error response from daemon: No such image: {rest[1]}")
        print(json.dumps([{"Id": ID, "RepoDigests": [DIGEST]}]))
        return 0
    if command == "run":
        return run(list(rest))
    if command == "ps":
        print(*(path.stem for path in FOLDER.glob("*.pid") if f"name={path.stem}" in rest))
        return 0
    name = rest[-1]
    place = FOLDER / f"{name}.pid"
    if not place.exists():
        return fail(1, f"Error response from daemon: No such container: {name}")
    if command == "inspect":
        print("true", place.read_text())
        return 0
    os.killpg(int(place.read_text()), signal.SIGKILL)
    if command == "rm":
        place.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
