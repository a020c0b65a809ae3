"""From an engine's command to docker run: what is on the line, and what must never be."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container import Mount, container_launch, weight_mounts
from pytest_qwenvl.engines.container_devices import missing

COMMAND = ("python3", "-m", "vllm.entrypoints.cli.main", "serve", "/data/weights")


def contained(launch: Launch | None = None, **options: Any) -> Launch:
    given: dict[str, Any] = {
        "runtime": "docker",
        "image": "quay.io/ascend/vllm-ascend:v0.23.0",
        "name": "qwenvl-run-1",
        "backend": "npu",
        "generation": "a2",
        "devices": (2, 5),
        "run_directory": Path("/run/report/engines"),
        "working_directory": Path("/run/report/engines/work"),
        "caller": {},
        "exists": lambda path: True,
    }
    return container_launch(launch or Launch(COMMAND), **{**given, **options})


def given(launch: Launch, option: str) -> list[str]:
    """The values of an option of docker run, in order."""
    before = launch.argv[: launch.argv.index("quay.io/ascend/vllm-ascend:v0.23.0")]
    return [it.partition("=")[2] for it in before if it.startswith(f"--{option}=")]


def mounted(launch: Launch) -> dict[str, str]:
    """Path in the container -> the whole mount."""
    mounts = {}
    for mount in given(launch, "mount"):
        fields = dict(field.partition("=")[::2] for field in mount.split(","))
        mounts[fields["target"]] = mount
    return mounts


@pytest.mark.parametrize(
    ("generation", "nodes", "shm_size"),
    [
        ("a2", ["davinci_manager", "devmm_svm", "hisi_hdc"], "1g"),
        ("a3", ["davinci_manager", "devmm_svm", "hisi_hdc"], "1g"),
        ("310p", ["davinci_manager", "devmm_svm", "hisi_hdc"], "10g"),
        ("a5", ["davinci_manager", "hisi_hdc", "ummu", "uburma"], "1g"),
    ],
)
def test_leased_devices_and_nothing_else(generation, nodes, shm_size):
    launch = contained(generation=generation)
    expected = [f"/dev/{node}" for node in ("davinci2", "davinci5", *nodes)]
    assert given(launch, "device") == expected
    assert given(launch, "shm-size") == [shm_size]
    assert not {"--privileged", "--device=/dev"} & set(launch.argv)


def test_driver_of_the_host_is_there_and_read_only():
    mounts = mounted(contained())
    for path in (
        "/usr/local/Ascend/driver/lib64",
        "/usr/local/Ascend/driver/version.info",
        "/usr/local/dcmi",
        "/usr/local/bin/npu-smi",
        "/etc/ascend_install.info",
    ):
        assert mounts[path] == f"type=bind,source={path},target={path},readonly"
    a5 = mounted(contained(generation="a5"))
    assert "/usr/local/Ascend/driver/lib64" not in a5
    assert {
        "/usr/local/Ascend/driver",
        "/etc/hixlep",
        "/etc/hccl_rootinfo.json",
        "/usr/bin/urma_admin",
        "/lib/route.conf",
    } <= set(a5)


def test_what_the_host_lacks():
    needed = {"/usr/local/Ascend/driver/lib64", "/usr/local/Ascend/driver/version.info"}
    mounts = mounted(contained(exists=lambda path: path in needed))
    assert needed <= set(mounts)
    assert "/usr/local/dcmi" not in mounts
    assert missing("a2", (0, 3), lambda path: path in needed) == [
        "/dev/davinci0",
        "/dev/davinci3",
        "/dev/davinci_manager",
        "/dev/devmm_svm",
        "/dev/hisi_hdc",
    ]
    assert missing("a5", (0,), lambda path: path.startswith("/dev")) == ["/usr/local/Ascend/driver"]


def test_only_the_runs_folder_can_be_written():
    launch = contained(mounts=[Mount("/data/weights"), Mount("/run/report/engines")])
    writable = [path for path, mount in mounted(launch).items() if "readonly" not in mount]
    assert writable == ["/run/report/engines"]
    assert len(given(launch, "mount")) == len(mounted(launch)), "a path is mounted twice"


def test_the_driver_counts_what_it_finds():
    launch = contained(
        Launch(COMMAND, {"ASCEND_RT_VISIBLE_DEVICES": "2,5", "TASK_QUEUE_ENABLE": "1"})
    )
    assert not [it for it in launch.argv if "ASCEND_RT_VISIBLE_DEVICES" in it]
    assert "ASCEND_RT_VISIBLE_DEVICES" not in launch.environment
    assert {"TASK_QUEUE_ENABLE=1", "ASCEND_VISIBLE_DEVICES=void"} <= set(given(launch, "env"))


def test_cpu_backend_gets_no_device():
    launch = contained(backend="cpu", generation="cpu", devices=())
    assert given(launch, "device") == []
    assert not [path for path in mounted(launch) if "Ascend" in path]
    assert "ASCEND_VISIBLE_DEVICES=void" not in given(launch, "env")


def test_secrets_are_named_and_never_written():
    launch = contained(
        Launch(COMMAND, {"VLLM_API_KEY": "sk-launch", "MY_SECRET": "s3cret", "KEYS": "plain"}),
        caller={"HF_TOKEN": "hf-caller", "HOME": "/home/somebody", "VLLM_API_KEY": "sk-caller"},
    )
    line = shlex.join(launch.argv)
    assert not [secret for secret in ("sk-launch", "s3cret", "hf-caller") if secret in line]
    assert {"VLLM_API_KEY", "MY_SECRET", "HF_TOKEN", "KEYS=plain"} <= set(given(launch, "env"))
    assert launch.environment == {"VLLM_API_KEY": "sk-launch", "MY_SECRET": "s3cret"}
    assert "HOME" not in given(launch, "env")


def test_what_an_absent_variable_of_the_caller_is_not():
    assert "HF_TOKEN" not in given(contained(), "env")


def test_the_command_runs_under_the_first_process():
    launch = contained(patience=20.0)
    after = launch.argv[launch.argv.index("quay.io/ascend/vllm-ascend:v0.23.0") + 1 :]
    assert after[0] == "python3"
    assert after[1].endswith("engines/container_init.py")
    assert after[2:4] == ("20", "/run/report/engines")
    assert after[4:] == COMMAND
    assert Path(after[1]).is_file()
    assert str(Path(after[1]).parent) in mounted(launch)


def test_name_labels_network_and_further_options():
    launch = contained(
        runtime="podman",
        labels={"run": "r1", "pid": "17"},
        options=("--ulimit=nofile=9:9", "--shm-size=64g"),
    )
    assert launch.argv[:2] == ("podman", "run")
    assert "--rm" in launch.argv
    assert "--interactive" in launch.argv
    assert given(launch, "name") == ["qwenvl-run-1"]
    assert given(launch, "label") == ["pytest-qwenvl.run=r1", "pytest-qwenvl.pid=17"]
    assert given(launch, "network") == ["host"]
    assert given(launch, "shm-size") == ["1g", "64g"], "the user's comes last and wins"
    assert given(launch, "ulimit") == ["nofile=9:9"]


def test_the_farewell_names_the_container():
    assert contained(runtime="podman").farewell[-2:] == ("podman", "qwenvl-run-1")


def test_preloaded_where_the_image_has_it():
    launch = contained(
        Launch(COMMAND, {"LD_PRELOAD": "/host/libjemalloc.so"}), preload=("/a/x.so", "/b/x.so")
    )
    assert "QWENVL_PRELOAD=/a/x.so:/b/x.so" in given(launch, "env")
    assert "LD_PRELOAD" not in launch.environment
    assert not [it for it in given(launch, "env") if it.startswith("LD_PRELOAD")]


def test_a_comma_in_a_path():
    assert Mount("/a,b").option() == '--mount=type=bind,"source=/a,b","target=/a,b",readonly'


def test_weights_that_are_links(tmp_path):
    blobs = tmp_path / "hub" / "blobs"
    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "123").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    (snapshot / "alias.json").symlink_to("config.json")
    (snapshot / "config.json").write_text("{}")
    assert weight_mounts(snapshot) == [Mount(str(blobs), str(blobs)), Mount(str(snapshot))]


def test_a_link_to_the_folder_of_weights(tmp_path):
    # In the container the link is a folder, and a relative link in it starts from there.
    blobs = tmp_path / "hub" / "blobs"
    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "123").write_text("weights")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    link = tmp_path / "x" / "y" / "model"
    link.parent.mkdir(parents=True)
    link.symlink_to(snapshot)
    assert weight_mounts(link) == [
        Mount(str(tmp_path / "x" / "blobs"), str(blobs)),
        Mount(str(link)),
    ]


def test_weights_that_are_files(tmp_path):
    (tmp_path / "model.safetensors").write_text("weights")
    assert weight_mounts(tmp_path) == [Mount(str(tmp_path))]


def test_the_line_can_be_pasted():
    launch = contained(Launch((*COMMAND, "--limit-mm-per-prompt", '{"image":3}')))
    assert shlex.split(launch.shell_line()) == list(launch.argv)
    assert os.path.isabs(launch.argv[launch.argv.index("python3") + 1])
