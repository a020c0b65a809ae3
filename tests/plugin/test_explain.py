from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.engines.command import launch_environment, offline_options, serve_launch
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_loading import load_profiles
from pytest_qwenvl.version_binding import EngineVersions
from tests.stand_in_engine.install import write_profile, write_weights

CHECKOUT = Path(__file__).parents[2]
PROFILES = load_profiles([CHECKOUT / "conformance" / "profiles"])
ALL = [f"{it.name}/{one.name}" for it in PROFILES.values() for one in it.deployments]
VERSIONS = EngineVersions("0.23.0", "0.23.0")
NAMED = ("--vllm=0.23.0", "--vllm-ascend=0.23.0")
RECORDER = """\
#!/bin/sh
exec {python} -c 'import json, os, sys
json.dump([sys.argv[1:], dict(os.environ)], open("{file}", "w"))' "$@"
"""


@pytest.fixture
def explain(capsys, monkeypatch):
    monkeypatch.chdir(CHECKOUT)

    def run(*arguments: str) -> str:
        assert main(["explain", *arguments]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def refusal(capsys, monkeypatch):
    monkeypatch.chdir(CHECKOUT)

    def run(*arguments: str) -> str:
        assert main(["explain", *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return run


@pytest.fixture
def paste(tmp_path):
    """Run text in a shell whose ``python3`` only notes its arguments and environment."""
    notes = tmp_path / "notes.json"
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(RECORDER.format(python=sys.executable, file=str(notes)))
    program.chmod(0o755)

    def run(text: str) -> tuple[list[str], dict[str, str]]:
        environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-eu"], input=text, text=True, env=environment, check=True)
        argv, seen = json.loads(notes.read_text())
        # The shell's own, and what Python sets for itself in a shell without a locale.
        others = {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
        return argv, {name: value for name, value in seen.items() if name not in others}

    return run


def weights_of(tmp_path: Path, name: str) -> Path:
    return write_weights(tmp_path / "some where" / name)


@pytest.mark.parametrize(
    "name", [name for name in ALL if "serve" in name and ("8b" in name or "tiny" in name)]
)
def test_pasting_it_starts_what_a_run_starts(explain, paste, tmp_path, name):
    profile = PROFILES[name.partition("/")[0]]
    deployment = profile.deployment(name.partition("/")[2])
    weights = weights_of(tmp_path, profile.name)
    devices = (3, 1)[: deployment.npus]
    shown = ",".join(map(str, devices))
    text = explain(
        name, f"--weights-root={weights.parent}", f"--devices={shown}", "--port=4711", *NAMED
    )
    if profile.weights.path is not None:
        weights = (profile.path.parent / profile.weights.path).resolve()
    launch = serve_launch(
        profile,
        deployment,
        backend="npu",
        python=Path("python3"),
        weights=weights,
        served_model_name=profile.weights.huggingface or profile.name,
        host="127.0.0.1",
        port=4711,
        devices=devices,
        versions=VERSIONS,
    )
    argv, environment = paste(text)
    assert argv == list(launch.argv[1:])
    assert environment == launch.environment
    assert environment["ASCEND_RT_VISIBLE_DEVICES"] == shown


@pytest.mark.parametrize("name", ALL)
def test_a_shell_can_read_every_deployment(explain, name):
    text = explain(name, *NAMED)
    assert text.startswith(f"# {name} on npu 0")
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_offline_it_is_an_interactive_python_with_the_same_llm(
    explain, paste, tmp_path, monkeypatch
):
    profile = PROFILES["qwen3-vl-8b-instruct-w8a8"]
    deployment = profile.deployment("offline-2npu")
    weights = weights_of(tmp_path, profile.name)
    name = f"{profile.name}/{deployment.name}"
    argv, environment = paste(explain(name, f"--weights-root={weights.parent}", *NAMED))
    assert argv[:2] == ["-i", "-c"]
    made = {}
    package = type(sys)("vllm")
    package.LLM = lambda **options: made.update(options)
    monkeypatch.setitem(sys.modules, "vllm", package)
    exec(argv[2], {})
    assert made == offline_options(profile, deployment, backend="npu", weights=weights)
    assert made["quantization"] == "ascend"
    assert environment == launch_environment(
        profile, deployment, backend="npu", weights=weights, devices=(0, 1)
    )


def test_weights_that_are_not_here_are_the_hubs(explain, paste, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = explain("qwen3-vl-8b-instruct/serve-1npu", *NAMED)
    assert "weights not at hand" in text
    assert "vLLM fetches them from ModelScope" in text
    argv, environment = paste(text)
    assert argv[3] == "Qwen/Qwen3-VL-8B-Instruct"
    assert environment["VLLM_USE_MODELSCOPE"] == "True"
    assert "HF_HUB_OFFLINE" not in environment


def test_bound_settings_need_a_version(explain, refusal, paste, tmp_path):
    file = write_profile(tmp_path / "mine", "mine", write_weights(tmp_path / "weights"))
    text = file.read_text()
    bound = 'max_model_len = { value = 8192, vllm = ">=0.25" }'
    file.write_text(text.replace("max_model_len = 4096", bound))
    name = ("mine/serve-1npu", f"--profiles={file.parent}")
    said = refusal(*name, "--vllm-ascend=9.9")
    assert f"{file}: serve-1npu.arguments.max_model_len: holds for vllm >=0.25 only" in said
    assert "--vllm)" in said
    assert "--max-model-len" not in paste(explain(*name, "--vllm-ascend=0.23.0"))[0]
    assert "--max-model-len" not in paste(explain(*name, "--vllm=0.23.0"))[0]
    argv, _ = paste(explain(*name, "--vllm=0.25.1rc1"))
    assert argv[argv.index("--max-model-len") + 1] == "8192"


@pytest.mark.parametrize(
    ("arguments", "described"),
    [
        ([], "for vLLM 0.23.0 with vllm-ascend 0.23.0, the newest release in conformance/"),
        (["--vllm-ascend=0.14.0rc1"], "for vLLM 0.14.1 with vllm-ascend 0.14.0rc1, as named"),
        (["--vllm=0.27.1"], "for vLLM 0.27.1, as named"),
        (["--vllm=0.25.0", "--vllm-ascend=0.25.1"], "for vLLM 0.25.0 with vllm-ascend 0.25.1,"),
    ],
)
def test_versions_come_in_pairs_from_the_table(explain, monkeypatch, arguments, described):
    def none_here(config: object) -> None:
        raise UsageProblem("no engine here")

    monkeypatch.setattr("pytest_qwenvl.engines.finding.find_interpreter", none_here)
    first, *_ = explain("qwen3-vl-8b-instruct/serve-2npu", *arguments).splitlines()
    assert f"; {described}" in first


@pytest.mark.parametrize("form", ["docker", "podman"])
def test_as_a_container_of_the_leased_devices(explain, tmp_path, form, monkeypatch):
    monkeypatch.setenv("QWENVL_ENGINE_HOME", str(tmp_path / "home"))
    weights = weights_of(tmp_path, "qwen3-vl-8b-instruct")
    text = explain(
        "qwen3-vl-8b-instruct/serve-2npu",
        f"--as={form}",
        "--devices=4,6",
        "--generation=a3",
        f"--weights-root={weights.parent}",
        *NAMED,
    )
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert f"\n{form} run \\\n" in text
    assert [line.strip(" \\") for line in text.splitlines() if "/dev/davinci" in line] == [
        "--device=/dev/davinci4",
        "--device=/dev/davinci6",
        "--device=/dev/davinci_manager",
    ]
    assert "quay.io/ascend/vllm-ascend:v0.23.0-a3 python3 " in text
    assert f"source={weights},target={weights},readonly" in text
    assert "ASCEND_RT_VISIBLE_DEVICES" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["qwen3-vl-8b/serve-1npu"], "did you mean 'qwen3-vl-8b-instruct'?"),
        (["qwen3-vl-8b-instruct"], "has no deployment ''"),
        (["qwen3-vl-8b-instruct/serve-1"], "did you mean 'serve-1npu'?"),
        (
            ["qwen3-vl-8b-instruct/serve-2npu", "--devices=0"],
            "runs on 2 devices; --devices names 1",
        ),
        (["qwen3-vl-8b-instruct/serve-2npu", "--devices=0,0"], "needs different numbers"),
        (["qwen3-vl-8b-instruct/serve-2npu", "--devices=a,b"], "needs different numbers"),
        (["qwen3-vl-8b-instruct/serve-1npu", "--as=docker", "--backend=cpu"], "which image?"),
        (
            ["qwen3-vl-8b-instruct/serve-1npu", "--as=docker", "--generation=a5", *NAMED],
            "which image?",
        ),
        (["qwen3-vl-8b-instruct/serve-1npu", "--weights-root=/nowhere"], "no such directory"),
        (["x/y", "--profiles=/nowhere"], "--profiles /nowhere: no such directory"),
    ],
)
def test_what_cannot_be_explained(refusal, arguments, said):
    assert said in refusal(*arguments)
