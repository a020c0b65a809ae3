"""``python -m tests.defects [NAME …]``: plant defects and see what turns red.

Exit code: 0 each was noticed as recorded, 1 it was not, 2 there is no such defect.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.defects.catalogue import DEFECTS
from tests.defects.engine import engine
from tests.defects.harmless import Harmless
from tests.defects.matrix import judge, load_matrix, write_matrix
from tests.defects.page import write
from tests.defects.planting import Planted
from tests.defects.running import catalogue
from tests.defects.trying import objections, try_defects


def main() -> int:
    """Run what the arguments name, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.defects", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects; all without one")
    parser.add_argument("--record", action="store_true", help="keep what was seen, and the page")
    parser.add_argument("--endpoint", metavar="URL", help="an engine that runs already")
    parser.add_argument("--folder", type=Path, help="where reports go (default: a temporary one)")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(DEFECTS))
    if unknown:
        sys.stderr.write(f"no such defect: {', '.join(unknown)}\n")
        return 2
    folder = given.folder or Path(tempfile.mkdtemp(prefix="defects-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.endpoint:
        return _try(given.endpoint, given.names, given.record, folder)
    with engine(folder) as upstream:
        return _try(upstream, given.names, given.record, folder)


def _try(upstream: str, names: list[str], record: bool, folder: Path) -> int:
    known, recorded = catalogue(), dict(load_matrix())
    problems = []
    if not names:
        for planted in (Planted(), Harmless()):
            what = type(planted).__name__.lower().replace("planted", "healthy")
            seen = objections(upstream, planted, known, folder / what)
            problems += [f"{what}: {it}: {outcome}" for it, outcome in seen.items()]
            sys.stdout.write(f"{what}: {len(seen)} objections\n")
            sys.stdout.flush()
    for defect, outcomes in try_defects(
        upstream, [DEFECTS[name] for name in names or DEFECTS], known, folder
    ):
        missed = defect.ids - outcomes.red
        if record and not missed:
            recorded[defect.name] = recorded.get(defect.name, frozenset()) | outcomes.red
        problems += judge(defect, outcomes, recorded)
        red = ", ".join(sorted(it[4:] for it in outcomes.red)) or "nothing"
        sys.stdout.write(f"{'MISSED ' if missed else ''}{defect.name}: {red}\n")
        sys.stdout.flush()
        if record:
            write_matrix(recorded)
    if record:
        write(known, recorded)
    sys.stderr.write("".join(f"{it}\n" for it in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
