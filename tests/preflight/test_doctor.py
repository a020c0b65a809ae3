"""The command: exit codes, what it prints, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_qwenvl.cli import main
from pytest_qwenvl.preflight import examination
from tests.preflight.planted import SUITE, PlantedHost, shard


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run doctor on a planted host; gives the exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(planted: PlantedHost, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(examination, "look_at_host", lambda config: planted.host())
        given = [f"--suite={SUITE}", f"--profiles={planted.profiles}", "--model=planted"]
        code = main(["doctor", *given, *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_healthy_host(doctor, tmp_path):
    code, out, _ = doctor(PlantedHost("a3", tmp_path))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("npu backend, 16 NPUs")
    assert lines[1] == "models: planted"
    assert lines[-1] == "nothing found"
    assert sum(line.startswith("ok ") for line in lines) == 15
    assert max(map(len, lines)) <= 100


def test_a_finding_says_what_was_seen_expected_and_to_do(doctor, tmp_path):
    planted = PlantedHost("a2", tmp_path)
    planted.path("/dev/davinci_manager").unlink()
    code, out, _ = doctor(planted)
    assert code == 1
    lines = out.splitlines()
    at = lines.index("FINDING QVL-ENV-007  device nodes")
    assert lines[at + 1].split() == ["seen", "no", "/dev/davinci_manager"]
    assert lines[at + 2].split()[:4] == ["expected", "the", "nodes", "of"]
    assert lines[at + 3].split()[0] == "remedy"
    assert "--device /dev/davinci_manager" in " ".join(lines[at + 3 : at + 5])
    assert lines[-1] == "1 finding"
    # One screen, also with a finding.
    assert len(lines) <= 24


def test_what_cannot_be_told_is_not_passed_over(doctor, tmp_path):
    planted = PlantedHost("a2", tmp_path)
    planted.versions(vllm_ascend="0.25.1rc1")
    code, out, _ = doctor(planted)
    assert code == 1
    assert "unknown QVL-ENV-002" in out
    assert "the compatibility table has no vllm-ascend 0.25.1rc1" in " ".join(out.split())
    assert out.splitlines()[-1] == "nothing found; 3 of 15 checks could not tell"


def test_json(doctor, tmp_path):
    planted = PlantedHost("310p", tmp_path)
    planted.write_profile(arguments='dtype = "bfloat16"')
    code, out, _ = doctor(planted, "--json")
    assert code == 1
    answer = json.loads(out)
    assert answer["hardware"] == "310p"
    assert answer["deployments"] == ["planted/serve-1npu", "planted/serve-2npu"]
    (check,) = [it for it in answer["checks"] if it["state"] != "ok"]
    (finding,) = check["findings"]
    assert finding["requirement"] == check["requirement"] == "QVL-ENV-015"
    assert finding["for"] == answer["deployments"]
    assert set(finding) == {"requirement", "seen", "expected", "remedy", "for"}


def test_a_finding_of_one_deployment_names_it(doctor, tmp_path):
    planted = PlantedHost("a2", tmp_path)
    taken = [npu.logic_id for npu in planted.inventory.npus][1:]
    planted.npu(*taken, memory_used_mib=60000)
    code, out, _ = doctor(planted)
    assert code == 1
    assert "for       planted/serve-2npu" in out
    assert "serve-1npu" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model=plnated"], "did you mean 'planted'?"),
        (["--backend=gpu"], "--backend gpu: needs one of auto, npu, cpu"),
        (["--weights-root=/no/such"], "--weights-root /no/such: no such directory"),
        (["--profiles=/no/such"], "--profiles /no/such: no such directory"),
    ],
)
def test_bad_options_are_usage_errors(doctor, tmp_path, arguments, said):
    code, out, err = doctor(PlantedHost("cpu", tmp_path), *arguments)
    assert code == 2
    assert said in err
    assert out == ""


def test_a_suite_that_is_none(tmp_path, capsys):
    assert main(["doctor", f"--suite={tmp_path}"]) == 2
    assert f"{tmp_path}/requirements.toml: no such file" in capsys.readouterr().err


def test_an_engine_python_that_is_none(tmp_path, capsys):
    code = main(["doctor", f"--suite={SUITE}", "--backend=cpu", "--engine-python=/no/python"])
    assert code == 2
    assert "--engine-python /no/python: no such file" in capsys.readouterr().err


class TestDigests:
    """Weights against the digests they were published with."""

    def test_equal(self, doctor, tmp_path):
        planted = PlantedHost("cpu", tmp_path)
        write_sums(planted.weights)
        code, out, _ = doctor(planted, "--digests", "--json")
        assert code == 0
        seen = {it["requirement"]: it["seen"] for it in json.loads(out)["checks"]}
        assert seen["QVL-ENV-010"].endswith("2 digests compared")

    def test_a_changed_byte(self, doctor, tmp_path):
        planted = PlantedHost("cpu", tmp_path)
        write_sums(planted.weights)
        path = shard(planted.weights, 2)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        assert doctor(planted)[0] == 0
        code, out, _ = doctor(planted, "--digests")
        assert code == 1
        assert "FINDING QVL-ENV-010" in out
        assert f"{path} has SHA-256" in " ".join(out.split())

    def test_named_by_a_hub_cache(self, doctor, tmp_path):
        planted = PlantedHost("cpu", tmp_path)
        blobs = tmp_path / "blobs"
        blobs.mkdir()
        for path in sorted(planted.weights.glob("*.safetensors")):
            blob = blobs / digest_of(path)
            path.rename(blob)
            path.symlink_to(blob)
        assert doctor(planted, "--digests")[0] == 0
        blob.write_bytes(blob.read_bytes()[:-1] + b"\x01")
        assert doctor(planted, "--digests")[0] == 1

    def test_nothing_tells_them(self, doctor, tmp_path):
        code, out, _ = doctor(PlantedHost("cpu", tmp_path), "--digests")
        assert code == 1
        assert "unknown QVL-ENV-010" in out
        assert "says what digests to expect" in " ".join(out.split())


def digest_of(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(directory: Path) -> None:
    lines = [f"{digest_of(it)}  {it.name}\n" for it in sorted(directory.glob("*.safetensors"))]
    (directory / "SHA256SUMS").write_text("".join(lines))
