"""What a page may name: options, markers, subcommands, tox environments, extras, profiles."""

from __future__ import annotations

import configparser
import contextlib
import functools
import io
import itertools
import re
import subprocess
import sys

from pytest_qwenvl.cli import main
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.profile_loading import load_profiles
from tests.docs.blocks import CHECKOUT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Programs of the reader's own that pages use and that nothing here can tell the options of.
OTHER_PROGRAMS = frozenset(
    {"bash", "cat", "cd", "cosign", "cp", "curl", "docker", "echo", "export", "find", "git", "ls",
     "mkdir", "mv", "npu-smi", "podman", "python", "ray", "rm", "rsync", "scp", "sed", "sha256sum",
     "ssh", "tar", "test", "true", "unshare", "unzip", "vllm"}
)  # fmt: skip
_OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*|-[A-Za-z])(?![\w-])")


@functools.cache
def pytest_options() -> frozenset[str]:
    """The options of pytest with the plugin and xdist."""
    # The help shows one of the two ways to write this one.
    return frozenset({*_OPTION.findall(_pytest("--help")), "--junitxml"})


@functools.cache
def markers() -> frozenset[str]:
    """The markers of the suite and of pytest."""
    return frozenset(re.findall(r"^@pytest\.mark\.(\w+)", _pytest("--markers"), re.MULTILINE))


def _pytest(option: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", option, "-p", "no:cacheprovider"],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@functools.cache
def subcommands() -> frozenset[str]:
    """The subcommands of ``pytest-qwenvl``."""
    found = re.findall(r"^ {4}([a-z][a-z-]*)(?: |$)", _help(), re.MULTILINE)
    return frozenset(found)


@functools.cache
def command_options(subcommand: str) -> frozenset[str]:
    """The options of one of them."""
    return frozenset(_OPTION.findall(_help(subcommand)))


def _help(*arguments: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    return said.getvalue()


@functools.cache
def tox_environments() -> frozenset[str]:
    """Every environment of ``tox.ini``, those named by factors too."""
    sections = [it for it in _tox_ini().sections() if it.startswith("testenv:")]
    return frozenset(name for it in sections for name in _factors(it.removeprefix("testenv:")))


def tox_hands_to_pytest(environment: str) -> bool:
    """Whether what stands after ``--`` is pytest's in this environment, or another program's."""
    ini = _tox_ini()
    for section in ini.sections():
        if environment in _factors(section.removeprefix("testenv:")):
            commands = ini.get(section, "commands", fallback="").replace("\\\n", " ").splitlines()
            return any(it.startswith("pytest ") and "{posargs" in it for it in commands)
    return True


@functools.cache
def tox_labels() -> frozenset[str]:
    """The labels of ``tox.ini``."""
    lines = _tox_ini().get("tox", "labels", fallback="").splitlines()
    return frozenset(it.partition("=")[0].strip() for it in lines if "=" in it)


def _tox_ini() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(CHECKOUT / "tox.ini", encoding="utf-8")
    return parser


def _factors(name: str) -> list[str]:
    parts = [it.split(",") for it in re.split(r"[{}]", name)]
    return ["".join(it) for it in itertools.product(*parts)]


@functools.cache
def extras() -> frozenset[str]:
    """The extras of the distribution."""
    content = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return frozenset(content["project"]["optional-dependencies"])


@functools.cache
def profiles() -> dict[str, ModelProfile]:
    """The shipped profiles."""
    return load_profiles([CHECKOUT / "conformance" / "profiles"])
