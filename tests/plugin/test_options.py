"""Every option on the command line and as its ini twin, with every value that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_qwenvl.config import Config, read_config
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.options import OPTIONS

Read = Callable[..., Config]


@pytest.fixture
def read(pytester: pytest.Pytester) -> Read:
    """Read the options of a run: arguments, then lines of its ini file."""

    def read(*arguments: str, **ini: str) -> Config:
        lines = "".join(f"{name} = {value}\n" for name, value in ini.items())
        pytester.makeini(f"[pytest]\n{lines}")
        # Only parsed, not configured: what counts is what read_config makes of it.
        return read_config(pytester.parseconfig(*arguments))

    return read


pytest_plugins = ["pytester"]

# Option -> (text, value in Config); a path stands for itself below the folder of the ini file.
VALUES = {
    "npus": ("2", 2),
    "models": ("qwen3*", ("qwen3*",)),
    "deployments": ("qwen3-vl-tiny/serve-1npu", ("qwen3-vl-tiny/serve-1npu",)),
    "profile_directories": ("mine", (Path("mine"),)),
    "backend": ("cpu", "cpu"),
    "weights_root": ("weights", Path("weights")),
    "engine_python": ("bin/python", Path("bin/python")),
    "report_directory": ("report", Path("report")),
    "endpoint": ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
    "load_seed": ("7", 7),
    "soak": ("45", 45.0),
    "waivers": ("waivers.toml", Path("waivers.toml")),
    "baseline": ("earlier.json", Path("earlier.json")),
    "container_runtime": ("podman", "podman"),
    "container_options": ("--ulimit=nofile=9:9", ("--ulimit=nofile=9:9",)),
}
OF_AN_ENDPOINT = {"api_key_env", "served_model_name"}
# Tested in tests/resume: it names the report's folder too.
OF_A_RESUMED_RUN = {"resume"}
# Tested in tests/engines/test_container_docker.py: neither is allowed without the other.
OF_A_CONTAINER = {"launcher", "image"}
OTHERS = {
    "npus": "1",
    "load_seed": "8",
    "soak": "90",
    "backend": "npu",
    "models": "other",
    "deployments": "other/offline-1npu",
    "endpoint": "https://other",
    "container_runtime": "docker",
}


def placed(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, tuple):
        return tuple(placed(one, folder) for one in value)
    return value


def test_every_option_is_tried():
    elsewhere = OF_AN_ENDPOINT | OF_A_CONTAINER | OF_A_RESUMED_RUN
    assert {option.field for option in OPTIONS} == set(VALUES) | elsewhere


@pytest.mark.parametrize("field", VALUES)
def test_on_the_command_line(field, read, pytester):
    (option,) = (option for option in OPTIONS if option.field == field)
    text, value = VALUES[field]
    config = read(f"{option.flag}={text}")
    assert getattr(config, field) == placed(value, pytester.path)


@pytest.mark.parametrize("field", VALUES)
def test_as_ini_value(field, read, pytester):
    (option,) = (option for option in OPTIONS if option.field == field)
    text, value = VALUES[field]
    config = read(**{option.ini: text})
    assert getattr(config, field) == placed(value, pytester.path)


@pytest.mark.parametrize("field", sorted(VALUES.keys() - {"profile_directories"}))
def test_the_command_line_wins(field, read, pytester):
    (option,) = (option for option in OPTIONS if option.field == field)
    text, value = VALUES[field]
    config = read(f"{option.flag}={text}", **{option.ini: OTHERS.get(field, "other")})
    assert getattr(config, field) == placed(value, pytester.path)


def test_nothing_said(read):
    assert read() == Config()


def test_profiles_add_to_those_of_the_suite(read, pytester):
    config = read("--profiles=mine", "--profiles=yours", qwenvl_profiles="shipped other")
    folder = pytester.path
    assert config.profile_directories == tuple(
        folder / name for name in ("shipped", "other", "mine", "yours")
    )


def test_models_repeat(read):
    assert read("--model=a", "--model=b*").models == ("a", "b*")
    assert read(qwenvl_models="a b*").models == ("a", "b*")


@pytest.mark.parametrize("text", ["-1", "1.5", "seven", "4294967296", "٣"])
def test_a_seed_that_is_none(text, read):
    with pytest.raises(UsageProblem, match=r"--load-seed .*: needs a whole number from 0"):
        read(f"--load-seed={text}")
    assert read(f"--load-seed={2**32 - 1}").load_seed == 2**32 - 1


def test_the_key_of_an_endpoint(read):
    config = read("--endpoint=http://h:1", "--api-key-env=KEY")
    assert config.api_key_env == "KEY"
    config = read(qwenvl_endpoint="http://h:1", qwenvl_api_key_env="KEY")
    assert config.api_key_env == "KEY"


def test_what_belongs_to_an_endpoint_without_one(read):
    with pytest.raises(UsageProblem, match="names the key of an --endpoint; none was given"):
        read(qwenvl_api_key_env="KEY")
    with pytest.raises(UsageProblem, match="--served-model-name names the model of an --endpoint"):
        read("--served-model-name=qwen")


def test_the_key_is_read_where_it_is_needed(read, monkeypatch):
    config = read("--endpoint=http://h:1", "--api-key-env=KEY")
    with pytest.raises(UsageProblem, match="--api-key-env KEY: no such variable"):
        assert config.endpoint_key
    monkeypatch.setenv("KEY", "secret")
    assert config.endpoint_key == "secret"
    assert "secret" not in config.model_dump_json()


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1", "http://h:1"),
        ("http://h:1/", "http://h:1"),
        ("HTTPS://h/v1", "https://h"),
        ("https://h/v1/", "https://h"),
        ("http://h:1/qwen/v1", "http://h:1/qwen"),
        ("http://h:1/qwen/", "http://h:1/qwen"),
        ("http://h:1/v1/chat/completions", "http://h:1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        (" http://h:1 ", "http://h:1"),
    ],
)
def test_an_endpoint_is_its_base_url(read, given, base):
    assert read(f"--endpoint={given}").endpoint == base


@pytest.mark.parametrize(
    "given",
    ["h:8000", "127.0.0.1:8000", "ftp://h", "http://", "http://:80", "http://h:x", "http://h:1/?a=b",
     "http://[::1", "http://h#x"],
)  # fmt: skip
def test_an_endpoint_that_is_none(read, given):
    with pytest.raises(UsageProblem, match="needs the server's base URL, for example http://127"):
        read(f"--endpoint={given}")


def test_a_key_does_not_belong_into_a_url(read):
    with pytest.raises(UsageProblem, match="must not hold a user or a password") as caught:
        read("--endpoint=http://me:hidden@h:1")
    assert "hidden" not in str(caught.value)


def test_a_link_to_a_python_is_not_followed(read, pytester):
    (pytester.path / "python").symlink_to("/usr/bin/env")
    assert read("--engine-python=python").engine_python == pytester.path / "python"


def test_home_is_expanded(read, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert read("--weights-root=~/w").weights_root == Path("/home/somebody/w")
    assert read(qwenvl_weights_root="~/w").weights_root == Path("/home/somebody/w")


def test_the_catalogue_and_its_suite(read, pytester):
    config = read(qwenvl_catalogue="suite/requirements.toml")
    assert config.suite == pytester.path / "suite"
    assert read().suite is None


@pytest.mark.parametrize(
    ("flag", "ini", "value", "said"),
    [
        *(
            ("--npus", "qwenvl_npus", value, "needs a whole number of devices, 1 or more")
            for value in ("0", "-1", "two", "1.5", "1e3")
        ),
        ("--backend", "qwenvl_backend", "gpu", "needs one of auto, npu, cpu"),
        ("--backend", "qwenvl_backend", "CPU", "needs one of auto, npu, cpu"),
        *(
            ("--endpoint", "qwenvl_endpoint", value, "needs the server's base URL")
            for value in ("localhost:8000", "http://", "ftp://h", "/v1")
        ),
    ],
)
def test_values_that_cannot_be_used(read, flag, ini, value, said):
    for given in ((f"{flag}={value}",), ()):
        with pytest.raises(UsageProblem) as caught:
            read(*given, **({} if given else {ini: value}))
        assert str(caught.value).startswith(f"{flag} {value}: {said}")


def test_a_config_survives_the_way_to_a_worker(read):
    sent = read("--npus=2", "--model=a", "--endpoint=http://h:1", "--profiles=p")
    assert Config.model_validate(sent.model_dump(mode="json")) == sent
