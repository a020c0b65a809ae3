"""What identifies the wheels an engine was installed from: the digests of their RECORD files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path


def record_digests(site_packages: Path, distributions: Iterable[str]) -> dict[str, str]:
    """``NAME-VERSION.dist-info/RECORD`` and its sha256 (hex), for those that are installed.

    A wheel's RECORD lists the digest of every file in it, so it names the build where the wheel
    itself is gone. ``sha256sum`` on the host gives the same. One that cannot be read is left out.
    """
    wanted = {_normal(name) for name in distributions}
    found: dict[str, str] = {}
    for folder in sorted(site_packages.glob("*.dist-info")):
        if _normal(folder.name.partition("-")[0]) not in wanted:
            continue
        try:
            content = (folder / "RECORD").read_bytes()
        except OSError:
            continue
        found[f"{folder.name}/RECORD"] = hashlib.sha256(content).hexdigest()
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
