"""The options, each with its ini twin and how its text is read.

Imported whenever pytest starts, so it imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_qwenvl.errors import UsageProblem

if TYPE_CHECKING:
    import pytest

_LONGEST_SOAK = 7 * 24 * 60  # minutes


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageProblem(f"--npus {text}: needs a whole number of devices, 1 or more")
    return number


def _seed(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) >= 2**32:
        raise UsageProblem(f"--load-seed {text}: needs a whole number from 0 to {2**32 - 1}")
    return int(text)


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _LONGEST_SOAK:
        raise UsageProblem(
            f"--soak {text}: needs a number of minutes above 0, at most {_LONGEST_SOAK} (a week)"
        )
    return number


def _choice(option: str, *choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise UsageProblem(f"{option} {text}: needs one of {', '.join(choices)}")
        return text

    return parse


def read_path(text: str) -> Path:
    """An absolute path from an option's text; a leading ``~`` is the home directory."""
    # Not resolved: following the link that a virtual environment's python is would lose it.
    return Path(text).expanduser().absolute()


def _url(text: str) -> str:
    wanted = "needs the server's base URL, for example http://127.0.0.1:8000"
    try:
        parts = urlsplit(text.strip())
        known = parts.scheme.lower() in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise UsageProblem(f"--endpoint {text}: {error}; {wanted}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageProblem(
            "--endpoint: a URL must not hold a user or a password; put the key in a variable and "
            "name that with --api-key-env"
        )
    if not known or parts.query or parts.fragment:
        raise UsageProblem(f"--endpoint {text}: {wanted}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
    return f"{parts.scheme.lower()}://{parts.netloc}{path.rstrip('/')}"


def _deployment(text: str) -> str:
    model, slash, name = text.partition("/")
    if not (model and slash and name) or "/" in name:
        raise UsageProblem(
            f"--deployment {text}: needs MODEL/DEPLOYMENT, for example qwen3-vl-tiny/serve-1npu"
        )
    return text


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
PROFILES = Option(
    "--profiles", "qwenvl_profiles", "profile_directories", read_path, "DIR",
    "folder with more profiles, or overlays of shipped ones; repeatable", repeatable=True,
)  # fmt: skip

OPTIONS: tuple[Option, ...] = (
    Option("--npus", "qwenvl_npus", "npus", _positive, "N",
           "most NPUs this run may hold at once (default: all visible); counts virtual devices "
           "on the CPU backend, as many as cores"),
    Option("--model", "qwenvl_models", "models", str, "PATTERN",
           "profiles to run, by glob; repeatable (default: every profile whose weights are at "
           "hand, else the reference checkpoints)", repeatable=True),
    Option("--deployment", "qwenvl_deployments", "deployments", _deployment, "MODEL/DEPLOYMENT",
           "of the whole run only the part that this deployment decides, as a host of a fleet "
           "does; repeatable", repeatable=True),
    PROFILES,
    Option("--backend", "qwenvl_backend", "backend", _choice("--backend", "auto", "npu", "cpu"),
           "BACKEND", "auto, npu or cpu (default auto: NPUs where there is any sign of them)"),
    Option("--weights-root", "qwenvl_weights_root", "weights_root", read_path, "DIR",
           "folder with local weights, laid out as ORG/MODEL or MODEL"),
    Option("--engine-python", "qwenvl_engine_python", "engine_python", read_path, "PATH",
           "the interpreter that has vLLM (default: the one that runs pytest); with --launcher="
           "container its path in the image (default: python3)"),
    Option("--launcher", "qwenvl_launcher", "launcher",
           str, "LAUNCHER",
           "where engines run: local, container (in the image named by --image), or what a plugin "
           "calls its own"),
    Option("--image", "qwenvl_image", "image", str, "NAME",
           "the image engines run in, by tag, digest or id; it must be on this host already"),
    Option("--container-runtime", "qwenvl_container_runtime", "container_runtime",
           _choice("--container-runtime", "docker", "podman"), "RUNTIME",
           "docker or podman (default docker)"),
    Option("--container-option", "qwenvl_container_options", "container_options", str, "OPTION",
           "one more option of docker run or podman run, for example --container-option="
           "--volume=/data:/data:ro; repeatable", repeatable=True),
    Option("--conformance-report", "qwenvl_conformance_report", "report_directory", read_path,
           "DIR", "write report.json, logs and raw evidence to this folder"),
    Option("--resume", "qwenvl_resume", "resume", read_path, "DIR",
           "continue the run whose report is in this folder: results whose inputs are unchanged "
           "are carried over, the rest runs; the report goes to the same folder"),
    Option("--endpoint", "qwenvl_endpoint", "endpoint", _url, "URL",
           "attach to a running server instead of starting engines; needs one --model"),
    Option("--api-key-env", "qwenvl_api_key_env", "api_key_env", str, "NAME",
           "name of the environment variable that holds the endpoint's key"),
    Option("--served-model-name", "qwenvl_served_model_name", "served_model_name", str, "NAME",
           "the name the endpoint serves the model under (default: the profile's, or the only "
           "one it lists)"),
    Option("--baseline", "qwenvl_baseline", "baseline", read_path, "FILE",
           "report.json of an earlier run, or its folder: what is measured must be no worse"),
    Option("--load-seed", "qwenvl_load_seed", "load_seed", _seed, "N",
           "seed of prompts, pictures and arrival times of loads (default 0: the same load on "
           "every run); another one for a server that has seen this load before"),
    Option("--soak", "qwenvl_soak", "soak", _minutes, "MINUTES",
           "soak each model's smallest server under a mixed load for so long, and watch it (group "
           "soak, which is left out without this)"),
    Option("--waivers", "qwenvl_waivers", "waivers", read_path, "FILE",
           "known failures, each with a reason, an owner and the day it expires"),
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
