"""The check of one model's weights."""

from __future__ import annotations

from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.shards import faults_of, shards_of, wrong_digests
from pytest_qwenvl.preflight.table import CompatibilityTable

WEIGHTS = "QVL-ENV-010"


def check_weights(
    host: Host, table: CompatibilityTable, subject: PlannedDeployment, *, digests: bool = False
) -> Examined:
    """A model's checkpoint is whole: every file there, every shard of the size its header says.

    Args:
        digests: also compare every byte with the digests it was published with.

    Raises:
        InconclusiveError: ``digests`` was asked for and nothing tells them.
    """
    directory = subject.weights
    if directory is None:
        hub = subject.profile.weights.huggingface or subject.profile.name
        finding = Finding(
            WEIGHTS,
            f"no weights of {subject.profile.name} on this host",
            f"a folder with {hub}",
            "copy them here, and name the folder above with --weights-root",
        )
        return Examined(finding.seen, (finding,))
    faults = faults_of(directory)
    seen = f"{directory}: whole"
    if not faults:
        seen = f"{directory}: {len(shards_of(directory))} files of weights, sizes as they say"
        if digests:
            count, faults = wrong_digests(directory)
            seen += f", {count} digests compared"
    room = host.space(directory).free / 2**30
    remedy = f"copy the checkpoint again ({room:.1f} GiB are free there)"
    return Examined(
        seen if not faults else f"{directory}: {len(faults)} faults",
        tuple(Finding(WEIGHTS, it, expected, remedy) for it, expected in faults),
    )
