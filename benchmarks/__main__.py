"""``python -m benchmarks [NAME …]``: measure, print, and compare with what is promised.

Exit code 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks import (
    dispatch,
    faults,
    fleet,
    judging,
    latency,
    leases,
    noticing,
    page,
    resume,
    runs,
    soak,
    start_up,
)
from benchmarks.figures import Figure

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "start-up": start_up.measure,
    "noticing": noticing.measure,
    "leases": leases.measure,
    "dispatch": dispatch.measure,
    "fleet": fleet.measure,
    "faults": faults.measure,
    "latency": latency.measure,
    "page": page.measure,
    "judging": judging.measure,
    "soak": soak.measure,
    "resume": resume.measure,
    "smoke": runs.measure_smoke,
    "serve": runs.measure_serve,
    "default": runs.measure_default,
}


def main() -> int:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    missed = 0
    for name in names:
        for figure in BENCHMARKS[name]():
            print(figure.line(), flush=True)
            missed += not figure.holds
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
