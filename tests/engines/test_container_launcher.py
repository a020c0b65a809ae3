"""What the launcher makes of a run's leases, profiles and options."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.devices.lease import Lease
from pytest_qwenvl.engines import container_launcher
from pytest_qwenvl.engines.command import Launch
from pytest_qwenvl.engines.container_launcher import ContainerLauncher
from pytest_qwenvl.engines.container_runtime import Image
from pytest_qwenvl.errors import EngineStartError, UsageProblem
from pytest_qwenvl.planning import PlannedDeployment
from tests.engines.support import make_profile

# The mask hides two NPUs, so that a device's index is not its number.
NPUS = Inventory("npu", (0, 1), ("npu2", "npu5"), "2,5", "a3", "a test")
COMMAND = ("python3", "-m", "vllm.entrypoints.cli.main", "serve")


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths that this host lacks; it has every other."""
    lacking: set[str] = set()
    real = container_launcher.missing
    monkeypatch.setattr(
        container_launcher,
        "missing",
        lambda generation, devices: real(generation, devices, lambda path: path not in lacking),
    )
    return lacking


@pytest.fixture
def launcher(tmp_path: Path, absent: set[str]) -> ContainerLauncher:
    config = Config(launcher="container", image="x:1", container_options=("--ulimit=nofile=9:9",))
    launcher = ContainerLauncher(config, NPUS, tmp_path / "engines", "run1")
    launcher._image = Image("x:1", "sha256:ab", "")
    return launcher


@pytest.fixture
def planned(tmp_path: Path) -> PlannedDeployment:
    weights = tmp_path / "weights"
    weights.mkdir()
    engine = {"npu": {"preload": ["/usr/lib/libjemalloc.so.2"]}}
    profile = make_profile(engine=engine)
    return PlannedDeployment(profile, profile.deployment("serve-1npu"), weights)


def lease(*physical: str) -> Lease:
    return Lease(tuple(range(len(physical))), physical, 0.0)


def options(launch: Launch, name: str) -> list[str]:
    before = launch.argv[: launch.argv.index("sha256:ab")]
    return [it.partition("=")[2] for it in before if it.startswith(f"--{name}=")]


def davinci(launch: Launch) -> list[str]:
    nodes = [it.removeprefix("/dev/davinci") for it in options(launch, "device")]
    return [node for node in nodes if node.isdecimal()]


@pytest.mark.parametrize("kind", ["serve", "offline", "lm-eval"])
@pytest.mark.parametrize("physical", [("npu5",), ("npu2", "npu5")])
def test_the_leased_npus_by_their_numbers(launcher, planned, kind, physical):
    launch = launcher.contain(kind, planned, lease(*physical))(Launch(COMMAND))
    assert davinci(launch) == [name.removeprefix("npu") for name in physical]


def test_the_bench_gets_none(launcher, planned):
    launch = launcher.contain("bench", planned, lease("npu2"))(Launch(COMMAND))
    assert davinci(launch) == []
    assert davinci(launcher.contain("bench", planned, None)(Launch(COMMAND))) == []


def test_what_asks_for_accepted_arguments_has_the_driver_but_no_npu(launcher):
    asking = launcher.asking()
    launch = asking.contain(Launch(COMMAND))
    assert asking.identity == "sha256:ab"
    assert davinci(launch) == []
    assert "/dev/davinci_manager" in options(launch, "device")
    assert asking.folder.is_dir()
    # What the container writes there is read on the host.
    folder = asking.folder.parent
    assert f"type=bind,source={folder},target={folder}" in options(launch, "mount")


def test_no_device_on_the_cpu_backend(tmp_path, planned):
    inventory = Inventory("cpu", (0,), ("core3",), "3", "cpu", "a test")
    launcher = ContainerLauncher(
        Config(launcher="container", image="x:1"), inventory, tmp_path, "run1"
    )
    launcher._image = Image("x:1", "sha256:ab", "")
    launcher.check()
    launch = launcher.contain("serve", planned, lease("core3"))(Launch(COMMAND))
    assert options(launch, "device") == []


def test_every_container_has_a_name_of_its_own(launcher, planned):
    contain = launcher.contain("serve", planned, lease("npu2"))
    names = [options(contain(Launch(COMMAND)), "name")[0] for _ in range(12)]
    assert all(name.startswith("qwenvl-run1-") for name in names)
    # docker's filter finds a name anywhere in another.
    assert not [pair for pair in itertools.permutations(names, 2) if pair[0] in pair[1]]


def test_patience_only_for_what_ends_by_itself(launcher, planned):
    def patience(kind: Any) -> float:
        argv = launcher.contain(kind, planned, lease("npu2"))(Launch(COMMAND)).argv
        return float(argv[argv.index("sha256:ab") + 3])

    assert patience("offline") > 0
    assert patience("serve") == patience("lm-eval") == patience("bench") == 0


def test_weights_preload_and_options_of_the_user(launcher, planned):
    launch = launcher.contain("serve", planned, lease("npu2"))(Launch(COMMAND))
    weights = planned.weights
    assert f"type=bind,source={weights},target={weights},readonly" in options(launch, "mount")
    assert "QWENVL_PRELOAD=/usr/lib/libjemalloc.so.2" in options(launch, "env")
    assert options(launch, "ulimit") == ["nofile=9:9"]


def test_lm_eval_finds_tasks_and_the_hubs_cache(launcher, planned, tmp_path, monkeypatch):
    cache = tmp_path / "hub-cache"
    cache.mkdir()
    monkeypatch.setenv("HF_HOME", str(cache))
    suite = tmp_path / "suite"
    floor = {
        "task": "t",
        "task_directory": "../tasks",
        "deployment": "offline-1npu",
        "metric": "acc,none",
        "items": 1,
        "floor": 0.5,
        "source": "made up for the tests",
    }
    profile = make_profile(accuracy=[floor]).model_copy(
        update={"path": suite / "profiles" / "p.toml"}
    )
    planned = PlannedDeployment(profile, profile.deployment("offline-1npu"), planned.weights)
    launch = launcher.contain("lm-eval", planned, lease("npu2"))(Launch(COMMAND))
    mounts = options(launch, "mount")
    assert f"type=bind,source={suite},target={suite},readonly" in mounts
    assert f"type=bind,source={cache},target={cache}" in mounts
    assert f"HF_HOME={cache}" in options(launch, "env")
    served = launcher.contain("serve", planned, lease("npu2"))(Launch(COMMAND))
    assert not [it for it in options(served, "mount") if str(cache) in it or str(suite) in it]


def test_a_host_that_lacks_nothing(launcher):
    launcher.check()


@pytest.mark.parametrize(
    "path", ["/dev/davinci5", "/dev/hisi_hdc", "/usr/local/Ascend/driver/lib64"]
)
def test_a_host_that_lacks_something(launcher, absent, path):
    absent.add(path)
    with pytest.raises(UsageProblem, match=f"this host lacks {path}, which a container"):
        launcher.check()


def test_a_device_that_went_away(launcher, planned, absent):
    launcher.check()
    absent.add("/dev/davinci5")
    launcher.contain("serve", planned, lease("npu2"))(Launch(COMMAND))
    with pytest.raises(EngineStartError, match="no longer has /dev/davinci5"):
        launcher.contain("serve", planned, lease("npu5"))(Launch(COMMAND))


def test_two_leases_never_share_a_device(launcher, planned):
    launches = [
        launcher.contain("serve", planned, lease(name))(Launch(COMMAND)) for name in NPUS.physical
    ]
    for one, other in itertools.combinations(launches, 2):
        assert not set(davinci(one)) & set(davinci(other))
