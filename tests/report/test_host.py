from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.report.environment import checkout_commit, container_of, host_facts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_facts_of_this_host_are_told_and_are_json() -> None:
    facts = host_facts()
    json.dumps(facts)
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["memory_gib"] > 0
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["kernel"] == os.uname().release
    assert facts["container"] is (facts["container_kind"] is not None)


def test_facts_come_from_the_kernels_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("container", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name, text in {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Kunpeng-920\n",
        "proc/meminfo": "MemTotal:       1048576 kB\n",
        "proc/1/cgroup": "0::/init.scope\n",
        "sys/fs/cgroup/memory.max": "536870912\n",
        "etc/os-release": 'PRETTY_NAME="openEuler 24.03"\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = host_facts(tmp_path)
    assert facts["cpu"] == "Kunpeng-920"
    assert facts["memory_gib"] == 1.0
    assert facts["memory_limit_gib"] == 0.5
    assert facts["platform"] == "openEuler 24.03"
    assert facts["container"] is False
    (tmp_path / "proc/1/cgroup").write_text("12:cpu:/kubepods/burstable/pod1\n")
    assert container_of(tmp_path) == "kubepods"
    (tmp_path / "proc/1/cgroup").write_text("")
    monkeypatch.setenv("container", "podman")
    assert container_of(tmp_path) == "podman"
    (tmp_path / ".dockerenv").touch()
    assert container_of(tmp_path) == "docker"


def test_host_without_any_of_the_files(tmp_path: Path) -> None:
    facts = host_facts(tmp_path)
    assert facts["memory_gib"] is None
    assert facts["memory_limit_gib"] is None


def test_facts_need_no_heavy_module() -> None:
    code = (
        "import sys; import pytest_qwenvl.report.environment as e; e.host_facts();"
        "print([m for m in ('psutil', 'subprocess', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


def git(folder: Path, head: str, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "HEAD").write_text(head + "\n")
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("packed_refs", "packed-refs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_commit_on_a_branch(tmp_path: Path) -> None:
    git(tmp_path / ".git", "ref: refs/heads/main", refs__heads__main=COMMIT + "\n")
    (tmp_path / "a/b").mkdir(parents=True)
    assert checkout_commit(tmp_path / "a/b") == COMMIT


def test_commit_checked_out_by_itself(tmp_path: Path) -> None:
    git(tmp_path / ".git", COMMIT)
    assert checkout_commit(tmp_path) == COMMIT


def test_commit_of_a_packed_branch(tmp_path: Path) -> None:
    packed = f"# pack-refs with: peeled\n{'f' * 40} refs/heads/other\n{COMMIT} refs/heads/main\n"
    git(tmp_path / ".git", "ref: refs/heads/main", packed_refs=packed)
    assert checkout_commit(tmp_path) == COMMIT


def test_commit_of_a_linked_work_tree(tmp_path: Path) -> None:
    git(tmp_path / "main/.git", "ref: refs/heads/main", refs__heads__side=COMMIT)
    git(tmp_path / "main/.git/worktrees/side", "ref: refs/heads/side", commondir="../..\n")
    (tmp_path / "side").mkdir()
    (tmp_path / "side/.git").write_text("gitdir: ../main/.git/worktrees/side\n")
    assert checkout_commit(tmp_path / "side") == COMMIT


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none", "ref: HEAD", "nonsense"])
def test_no_commit_is_none(tmp_path: Path, head: str) -> None:
    git(tmp_path / ".git", head)
    assert checkout_commit(tmp_path) is None


def test_no_checkout_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert checkout_commit(tmp_path / "x") is None
    (tmp_path / "x/.git").write_text("what is this")
    assert checkout_commit(tmp_path / "x") is None
