"""Fragments as they arrive on the head: each checked, then kept, once."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.fleet.fragment_files import FragmentProblem, Manifest, check_files, unpack
from pytest_qwenvl.fleet.orders import Order
from pytest_qwenvl.report.reading import read_report
from pytest_qwenvl.report.results import Requirement, RunRecord
from pytest_qwenvl.report.verdict import Claim

FRAGMENTS = "fragments"
_INCOMING = "incoming"


class Intake:
    """The fragments of one fleet run.

    Args:
        root: the fleet's report directory.
        fleet: its run id.
        suite_version: of pytest-qwenvl; ``catalogue_version`` and ``requirements`` of the suite.
        suite_digest: of the suite's files.
        claims: by deployment, what its fragment has to have set out to judge.

    Attributes:
        taken: the record of each fragment that was taken, by deployment.
    """

    def __init__(
        self,
        root: Path,
        fleet: str,
        suite_version: str,
        catalogue_version: str,
        requirements: list[Requirement],
        suite_digest: str,
        claims: Mapping[str, Collection[str]],
    ) -> None:
        self._root = root
        self._fleet = fleet
        self._versions = (suite_version, catalogue_version)
        self._requirements = requirements
        self._suite_digest = suite_digest
        self._claims = claims
        self._arriving: dict[tuple[str, int], _Arriving] = {}
        self.taken: dict[str, RunRecord] = {}

    def folder_of(self, deployment: str) -> Path:
        """Where the files of a deployment's fragment lie."""
        return self._root / FRAGMENTS / deployment

    def add(self, order: Order, data: bytes) -> None:
        """Keep the next bytes of a fragment; raises OSError."""
        key = (order.id, order.number)
        if key not in self._arriving:
            name = f"{order.id.replace('/', '-')}-{order.number}"
            self._arriving[key] = _Arriving(self._root / _INCOMING / name)
        self._arriving[key].add(data)

    def finish(self, order: Order, digest: str) -> RunRecord:
        """Check a whole fragment, keep it, and give its record.

        Raises:
            FragmentProblem: it cannot be taken; nothing of it is kept.
            OSError: the head's own disk cannot hold it.
        """
        arriving = self._arriving.pop((order.id, order.number), None)
        if arriving is None:
            raise FragmentProblem("it is empty")
        unpacked = arriving.path.with_name(f"{arriving.path.name}.files")
        try:
            arriving.close()
            if arriving.digest != digest:
                raise FragmentProblem(
                    f"{arriving.size} bytes of it arrived, of which the digest is not what the "
                    "node said: cut off or damaged on its way"
                )
            manifest = unpack(arriving.path, unpacked)
            record = self._check(unpacked, manifest, order.id, order.number)
            target = self.folder_of(order.id)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            unpacked.rename(target)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
            arriving.discard()
        self.taken[order.id] = record
        return record

    def forget(self, order: Order) -> None:
        """Drop what arrived of an attempt that was lost."""
        arriving = self._arriving.pop((order.id, order.number), None)
        if arriving is not None:
            arriving.discard()

    def take_again(self, deployment: str, number: int) -> RunRecord:
        """Take a fragment that an earlier head of this run had kept.

        Raises:
            FragmentProblem: it is not there, or not what it was.
        """
        folder = self.folder_of(deployment)
        record = self._check(folder, check_files(folder), deployment, number)
        self.taken[deployment] = record
        return record

    def close(self) -> None:
        """Leave nothing half arrived on the disk."""
        for arriving in self._arriving.values():
            arriving.discard()
        self._arriving.clear()
        shutil.rmtree(self._root / _INCOMING, ignore_errors=True)

    def _check(self, folder: Path, manifest: Manifest, deployment: str, number: int) -> RunRecord:
        if manifest.fleet != self._fleet:
            raise FragmentProblem(f"it is of the run {manifest.fleet}, this is {self._fleet}")
        its = f"{manifest.model}/{manifest.deployment}"
        if (its, manifest.number) != (deployment, number):
            raise FragmentProblem(
                f"it is of attempt {manifest.number} at {its}, expected was attempt {number} at "
                f"{deployment}"
            )
        if deployment in self.taken:
            raise FragmentProblem(f"there is a fragment of {deployment} already: it came twice")
        if manifest.suite_digest != self._suite_digest:
            raise FragmentProblem("it was made with other files of the suite than the head has")
        try:
            record = read_report(folder)
        except UsageProblem as problem:
            raise FragmentProblem(f"its report cannot be read: {problem}") from None
        known = next((name for name, it in self.taken.items() if it.run_id == record.run_id), "")
        if known:
            raise FragmentProblem(f"its run {record.run_id} came as that of {known} before")
        self._check_record(record, deployment)
        if record.requirements == self._requirements:
            # Hundreds of fragments say the same: once in memory is enough.
            record = record.model_copy(update={"requirements": self._requirements})
        return record

    def _check_record(self, record: RunRecord, deployment: str) -> None:
        if not record.complete or record.interrupted:
            why = record.interrupted or "the last that could be written is from before its end"
            raise FragmentProblem(
                f"its report is not whole, with {len(record.results)} results: {why}"
            )
        versions = (record.suite_version, record.catalogue_version)
        if versions != self._versions:
            raise FragmentProblem(
                f"it was made by pytest-qwenvl {versions[0]} with catalogue {versions[1]}, the "
                f"head has {self._versions[0]} with {self._versions[1]}"
            )
        missing = set(self._claims.get(deployment, ())) - set(record.planned)
        if missing:
            raise FragmentProblem(
                f"it never set out to judge {Claim.parse(min(missing)).requirement}, which is of "
                f"its deployment ({len(missing)} such)"
            )


class _Arriving:
    """An archive of which pieces come."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb")

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def add(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)
