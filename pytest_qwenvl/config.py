"""Options, ini values and environment, read once into one frozen ``Config``.

Every option has an ini twin ``qwenvl_<name>``; the command line wins. The controller of an xdist
run reads them and sends the result to its workers as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel, ConfigDict

from pytest_qwenvl.errors import UsageProblem


class Config(BaseModel):
    """What the user asked for. ``None`` means: not said.

    Attributes:
        npus: most devices the run may hold at once.
        models: glob patterns over profile names.
        profile_directories: a vendor's own profiles, after the suite's.
        weights_root: folder that holds local weights.
        engine_python: interpreter that has vLLM; the one that runs pytest by default.
        report_directory: where ``report.json``, logs and raw evidence go.
        endpoint: base URL of a server that somebody else started.
        api_key_env: name of the variable that holds the endpoint's key.
        suite_root: folder that holds ``conformance/`` (pytest's rootdir).
    """

    model_config = ConfigDict(frozen=True)

    npus: int | None = None
    models: tuple[str, ...] = ()
    profile_directories: tuple[Path, ...] = ()
    backend: Literal["auto", "npu", "cpu"] = "auto"
    weights_root: Path | None = None
    engine_python: Path | None = None
    report_directory: Path | None = None
    endpoint: str | None = None
    api_key_env: str | None = None
    suite_root: Path


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageProblem(f"--npus {text}: needs a whole number of devices, 1 or more")
    return number


def _choice(option: str, *choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise UsageProblem(f"{option} {text}: needs one of {', '.join(choices)}")
        return text

    return parse


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _interpreter(text: str) -> Path:
    # Not resolved: a virtual environment's python is a link, and following it would lose the
    # environment.
    return Path(text).expanduser().absolute()


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageProblem(
            f"--endpoint {text}: needs the server's base URL, for example http://127.0.0.1:8000"
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


@dataclass(frozen=True)
class Option:
    """One option with its ini twin: where it goes in ``Config`` and how its text is read."""

    flag: str
    ini: str
    field: str
    parse: Callable[[str], Any]
    metavar: str
    help: str
    repeatable: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("--npus", "qwenvl_npus", "npus", _positive, "N",
           "most NPUs this run may hold at once (default: all visible); counts virtual devices "
           "on the CPU backend, as many as cores"),
    Option("--model", "qwenvl_models", "models", str, "PATTERN",
           "profiles to run, by glob; repeatable (default: every profile whose weights are at "
           "hand, else the reference checkpoints)", repeatable=True),
    Option("--profiles", "qwenvl_profiles", "profile_directories", _path, "DIR",
           "folder with more profiles, or overlays of shipped ones; repeatable",
           repeatable=True),
    Option("--backend", "qwenvl_backend", "backend", _choice("--backend", "auto", "npu", "cpu"),
           "BACKEND", "auto, npu or cpu (default auto: NPUs where there is any sign of them)"),
    Option("--weights-root", "qwenvl_weights_root", "weights_root", _path, "DIR",
           "folder with local weights, laid out as ORG/MODEL or MODEL"),
    Option("--engine-python", "qwenvl_engine_python", "engine_python", _interpreter, "PATH",
           "the interpreter that has vLLM (default: the one that runs pytest)"),
    Option("--conformance-report", "qwenvl_conformance_report", "report_directory", _path, "DIR",
           "write report.json, logs and raw evidence to this folder"),
    Option("--endpoint", "qwenvl_endpoint", "endpoint", _url, "URL",
           "attach to a running server instead of starting engines; needs one --model"),
    Option("--api-key-env", "qwenvl_api_key_env", "api_key_env", str, "NAME",
           "name of the environment variable that holds the endpoint's key"),
)  # fmt: skip


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("qwenvl", "Qwen-VL conformance")
    for option in OPTIONS:
        group.addoption(
            option.flag,
            action="append" if option.repeatable else "store",
            dest=option.ini,
            default=None,
            metavar=option.metavar,
            help=option.help,
        )
        parser.addini(
            option.ini,
            help=option.help,
            type="args" if option.repeatable else "string",
            default=[] if option.repeatable else "",
        )


def read_config(pytest_config: pytest.Config) -> Config:
    """The run's ``Config``: command line before ini, each value parsed by its option.

    Raises:
        UsageProblem: a value that cannot be used, with the accepted form.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = pytest_config.getoption(option.ini)
        if given is None:
            given = pytest_config.getini(option.ini)
        if option.repeatable:
            values[option.field] = tuple(option.parse(text) for text in given)
        elif given:
            values[option.field] = option.parse(str(given))
    if values.get("api_key_env") and not values.get("endpoint"):
        raise UsageProblem("--api-key-env names the key of an --endpoint; none was given")
    return Config(suite_root=pytest_config.rootpath, **values)
