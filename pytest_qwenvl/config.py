"""Options, ini values and environment, read once into one frozen ``Config``.

Every option has an ini twin ``qwenvl_<name>``; the command line wins. The controller of an xdist
run reads them and sends the result to its workers as it is.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.options import OPTIONS, PROFILES, read_path


class Config(BaseModel):
    """What the user asked for. ``None`` means: not said.

    Attributes:
        npus: most devices the run may hold at once.
        models: glob patterns over profile names.
        deployments: those whose part of the whole run this one is, ``MODEL/DEPLOYMENT``; empty
            for all.
        profile_directories: a vendor's own profiles, after the suite's.
        weights_root: folder that holds local weights.
        engine_python: interpreter that has vLLM; the one that runs pytest by default, or the
            image's ``python3``.
        launcher: where engines run: ``local``, ``container``, or a plugin's name for its own.
        image: what they run in when that is a container.
        container_runtime: what runs the image.
        container_options: further options of its ``run``.
        report_directory: where ``report.json``, logs and raw evidence go.
        resume: the report directory of the run that this one continues; then it is
            ``report_directory`` too.
        endpoint: base URL of a server that somebody else started.
        served_model_name: the name that server has the model under; None for the profile's, or
            the only one it lists.
        api_key_env: name of the variable that holds the endpoint's key.
        load_seed: of the prompts, pictures and arrival times of loads.
        soak: minutes that a server is soaked; None leaves the group soak out.
        waivers: file of known failures.
        baseline: report of an earlier run to compare with.
        catalogue: the suite's catalogue of requirements; None outside a conformance suite.
    """

    model_config = ConfigDict(frozen=True)

    npus: int | None = None
    models: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    profile_directories: tuple[Path, ...] = ()
    backend: Literal["auto", "npu", "cpu"] = "auto"
    weights_root: Path | None = None
    engine_python: Path | None = None
    launcher: str = "local"
    image: str | None = None
    container_runtime: Literal["docker", "podman"] = "docker"
    container_options: tuple[str, ...] = ()
    report_directory: Path | None = None
    resume: Path | None = None
    endpoint: str | None = None
    served_model_name: str | None = None
    api_key_env: str | None = None
    load_seed: int = 0
    soak: float | None = None
    waivers: Path | None = None
    baseline: Path | None = None
    catalogue: Path | None = None

    @property
    def endpoint_key(self) -> str | None:
        """The endpoint's key, from the variable that ``--api-key-env`` names; None for none.

        Raises:
            UsageProblem: no such variable.
        """
        if self.api_key_env is None:
            return None
        if not os.environ.get(self.api_key_env):
            raise UsageProblem(
                f"--api-key-env {self.api_key_env}: no such variable in the environment"
            )
        return os.environ[self.api_key_env]

    @property
    def suite(self) -> Path | None:
        """The folder of the conformance suite."""
        return None if self.catalogue is None else self.catalogue.parent


def read_config(pytest_config: pytest.Config) -> Config:
    """The run's ``Config``: command line before ini, each value parsed by its option.

    Raises:
        UsageProblem: a value that cannot be used, with the accepted form.
    """
    _check_root(pytest_config)
    root = pytest_config.rootpath
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = pytest_config.getoption(option.ini)
        ini = pytest_config.getini(option.ini)
        if option.parse is read_path:
            # Paths in an ini file are relative to it, wherever pytest was started.
            given_in_ini = ini if option.repeatable else [ini] * bool(ini)
            places = [str(root / Path(it).expanduser()) for it in given_in_ini]
            ini = places if option.repeatable else "".join(places)
        if option is PROFILES:
            given = [*ini, *(given or [])]
        elif given is None:
            given = ini
        if option.repeatable:
            values[option.field] = tuple(option.parse(text) for text in given)
        elif given not in (None, ""):
            values[option.field] = option.parse(str(given))
    catalogue = pytest_config.getini("qwenvl_catalogue")
    for name, what in (("api_key_env", "the key"), ("served_model_name", "the model")):
        if values.get(name) and not values.get("endpoint"):
            flag = "--" + name.replace("_", "-")
            raise UsageProblem(f"{flag} names {what} of an --endpoint; none was given")
    if values.get("deployments") and values.get("endpoint"):
        raise UsageProblem(
            "--deployment divides a run that starts engines; for an --endpoint write "
            "--model=PROFILE/DEPLOYMENT"
        )
    _settle_resume(values, pytest_config)
    _check_launcher(values, pytest_config.getoption("qwenvl_image") is not None)
    return Config(catalogue=root / catalogue if catalogue else None, **values)


def _settle_resume(values: dict[str, Any], pytest_config: pytest.Config) -> None:
    """A resumed run writes where it reads; a report named elsewhere in the same way contradicts it.

    On the command line ``--resume`` wins over an ini file's ``qwenvl_conformance_report``, which
    says where runs go that nobody said more of.
    """
    resume, report = values.get("resume"), values.get("report_directory")
    if resume is None:
        return
    said_together = pytest_config.getoption("qwenvl_resume") is None or (
        pytest_config.getoption("qwenvl_conformance_report") is not None
    )
    if said_together and report is not None and report != resume:
        raise UsageProblem(
            f"--resume {resume} and --conformance-report {report}: a resumed run writes its report "
            "to the folder that it continues; drop one of them"
        )
    values["report_directory"] = resume


def _check_launcher(values: dict[str, Any], image_given: bool) -> None:
    contained = values.get("launcher") == "container"
    if contained and not values.get("image"):
        raise UsageProblem("--launcher=container: name the image with --image")
    if values.get("launcher", "local") != "local" and values.get("endpoint"):
        raise UsageProblem(
            f"--launcher={values['launcher']} and --endpoint: an attached server is not started "
            "here; drop one"
        )
    if image_given and not values.get("launcher"):
        # In an ini file it may stand for the runs that want it.
        raise UsageProblem("--image names what --launcher=container runs; no launcher was given")


def _check_root(pytest_config: pytest.Config) -> None:
    """Refuse ``--option DIR`` where it made pytest look for its settings in DIR.

    pytest chooses its root before plugins declare their options, and then takes the value of an
    option it does not know yet for a folder to test; ``--option=DIR`` is not mistaken.
    """
    here = pytest_config.invocation_params.dir
    nearest = next((it for it in map(_settings_in, (here, *here.parents)) if it), None)
    if (
        nearest is None
        or pytest_config.inipath == nearest
        or pytest_config.getoption("inifilename")
    ):
        return
    flags = {option.flag for option in OPTIONS}
    given = [str(argument) for argument in pytest_config.invocation_params.args]
    for flag, value in itertools.pairwise(given):
        if flag in flags and (here / value).exists():
            raise UsageProblem(
                f"{flag} {value}: pytest took {value} for the folder to test; write it as "
                f"{flag}={value}"
            )


def _settings_in(directory: Path) -> Path | None:
    for name in ("pytest.ini", ".pytest.ini", "pyproject.toml"):
        file = directory / name
        if file.is_file() and (
            name != "pyproject.toml" or "[tool.pytest" in file.read_text(encoding="utf-8")
        ):
            return file
    return None
