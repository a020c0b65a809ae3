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
        catalogue: the suite's catalogue of requirements; None outside a conformance suite.
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
    catalogue: Path | None = None

    @property
    def suite(self) -> Path | None:
        """The folder of the conformance suite."""
        return None if self.catalogue is None else self.catalogue.parent


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
    # Not resolved: following the link that a virtual environment's python is would lose it.
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


# On the command line this adds to the ini value, which names the suite's own profiles.
_PROFILES = Option(
    "--profiles", "qwenvl_profiles", "profile_directories", _path, "DIR",
    "folder with more profiles, or overlays of shipped ones; repeatable", repeatable=True,
)  # fmt: skip

OPTIONS: tuple[Option, ...] = (
    Option("--npus", "qwenvl_npus", "npus", _positive, "N",
           "most NPUs this run may hold at once (default: all visible); counts virtual devices "
           "on the CPU backend, as many as cores"),
    Option("--model", "qwenvl_models", "models", str, "PATTERN",
           "profiles to run, by glob; repeatable (default: every profile whose weights are at "
           "hand, else the reference checkpoints)", repeatable=True),
    _PROFILES,
    Option("--backend", "qwenvl_backend", "backend", _choice("--backend", "auto", "npu", "cpu"),
           "BACKEND", "auto, npu or cpu (default auto: NPUs where there is any sign of them)"),
    Option("--weights-root", "qwenvl_weights_root", "weights_root", _path, "DIR",
           "folder with local weights, laid out as ORG/MODEL or MODEL"),
    Option("--engine-python", "qwenvl_engine_python", "engine_python", _path, "PATH",
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
        if option.repeatable:
            parser.addini(option.ini, help=option.help, type="args", default=[])
        else:
            parser.addini(option.ini, help=option.help, type="string", default="")
    parser.addini(
        "qwenvl_catalogue",
        help="the suite's catalogue of requirements; its folder is the suite",
        type="string",
        default="",
    )


def read_config(pytest_config: pytest.Config) -> Config:
    """The run's ``Config``: command line before ini, each value parsed by its option.

    Raises:
        UsageProblem: a value that cannot be used, with the accepted form.
    """
    root = pytest_config.rootpath
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = pytest_config.getoption(option.ini)
        ini = pytest_config.getini(option.ini)
        if option.parse is _path:
            # Paths in an ini file are relative to it, wherever pytest was started.
            ini = [str(root / it) for it in ini] if option.repeatable else ini and str(root / ini)
        if option is _PROFILES:
            given = [*ini, *(given or [])]
        elif given is None:
            given = ini
        if option.repeatable:
            values[option.field] = tuple(option.parse(text) for text in given)
        elif given not in (None, ""):
            values[option.field] = option.parse(str(given))
    catalogue = pytest_config.getini("qwenvl_catalogue")
    if values.get("api_key_env") and not values.get("endpoint"):
        raise UsageProblem("--api-key-env names the key of an --endpoint; none was given")
    return Config(catalogue=root / catalogue if catalogue else None, **values)
