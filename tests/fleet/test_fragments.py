"""Fragments are taken when they are whole, of this run, and new; nothing else is."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from pytest_qwenvl.fleet.fragment_files import MANIFEST, FragmentProblem, Manifest, file_digest
from tests.fleet.fleets import FLEET, MODEL, SUITE, archive, intake, order, record


def take(its, pieces, digest, which=None):
    which = which or order()
    for data in pieces:
        its.add(which, data)
    return its.finish(which, digest)


def test_a_whole_one_is_taken_with_all_its_files(tmp_path):
    its = intake(tmp_path / "report", "serve-1npu")
    taken = take(its, *archive(tmp_path))
    assert taken.run_id == "run-serve-1npu-1"
    folder = its.folder_of(f"{MODEL}/serve-1npu")
    assert (folder / "pytest.log").read_text() == "1 passed\n"
    its.close()
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["fragments"]
    # Another head finds it again.
    again = intake(tmp_path / "report", "serve-1npu")
    assert again.take_again(f"{MODEL}/serve-1npu", 1) == taken


def refused(tmp_path: Path, pieces, digest, words: str, which=None, its=None) -> None:
    its = its or intake(tmp_path / "report", "serve-1npu")
    kept = dict(its.taken)
    with pytest.raises(FragmentProblem, match=words):
        take(its, pieces, digest, which)
    assert its.taken == kept
    left = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert all("fragments" in path.parts for path in left) and (kept or not left)


def test_truncated(tmp_path):
    pieces, digest = archive(tmp_path)
    cut = [b"".join(pieces)[:-50]]
    refused(tmp_path, cut, digest, "cut off or damaged on its way")
    # And where the node itself packed no more than that.
    refused(tmp_path, cut, hashlib.sha256(cut[0]).hexdigest(), "cut off")
    refused(tmp_path, [], digest, "empty")


def test_duplicated(tmp_path):
    its = intake(tmp_path / "report", "serve-1npu", "serve-2npu")
    pieces, digest = archive(tmp_path)
    take(its, pieces, digest)
    refused(tmp_path, pieces, digest, "it came twice", its=its)
    assert (its.folder_of(f"{MODEL}/serve-1npu") / "report.json").is_file()
    same = record("serve-2npu", run_id="run-serve-1npu-1")
    pieces, digest = archive(tmp_path, same, "serve-2npu")
    refused(tmp_path, pieces, digest, "came as that of", order("serve-2npu"), its)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fleet": "fleet-2"}, "of the run fleet-2, this is fleet-1"),
        ({"number": 2}, "of attempt 2"),
        ({"model": "other"}, "of attempt 1 at other/serve-1npu"),
        ({"suite_digest": "x"}, "other files of the suite"),
    ],
)
def test_of_another_run(tmp_path, changes, words):
    refused(tmp_path, *archive(tmp_path, **changes), words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"complete": False}, "not whole, with 1 results"),
        ({"interrupted": "Ctrl-C"}, "not whole, with 1 results: Ctrl-C"),
        ({"suite_version": "9.9"}, "made by pytest-qwenvl 9.9"),
        ({"catalogue_version": "9.9"}, "with catalogue 9.9"),
        ({"planned": []}, "never set out to judge QVL-SRV-001"),
    ],
)
def test_a_report_that_is_not_what_was_ordered(tmp_path, fields, words):
    refused(tmp_path, *archive(tmp_path, record(**fields)), words)


def test_what_a_node_makes_up_stays_outside(tmp_path):
    content = b"mine now"
    for name, listed in (("../evil", True), ("/evil", True), ("unlisted", False)):
        files = {name: hashlib.sha256(content).hexdigest()} if listed else {}
        manifest = Manifest(
            fleet=FLEET, model=MODEL, deployment="serve-1npu", number=1, suite_digest=SUITE,
            files=files,
        )  # fmt: skip
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for member, data in ((MANIFEST, manifest.model_dump_json().encode()), (name, content)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        data = buffer.getvalue()
        refused(tmp_path, [data], hashlib.sha256(data).hexdigest(), "its manifest does not")
    assert not list(tmp_path.rglob("evil"))


def test_a_kept_one_that_changed_on_the_disk_is_not_taken_again(tmp_path):
    its = intake(tmp_path / "report", "serve-1npu")
    take(its, *archive(tmp_path))
    report = its.folder_of(f"{MODEL}/serve-1npu") / "report.json"
    before = file_digest(report)
    report.write_text(report.read_text().replace("PASS", "FAIL"))
    assert file_digest(report) != before
    with pytest.raises(FragmentProblem, match="not what it was"):
        intake(tmp_path / "report", "serve-1npu").take_again(f"{MODEL}/serve-1npu", 1)
