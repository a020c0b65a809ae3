"""``docs/defects.md``: which defects turn which requirements red."""

from __future__ import annotations

from pathlib import Path

from pytest_qwenvl.catalogue import Catalogue
from tests.conformance.test_defects import EXPECTED as BY_LAUNCHES
from tests.defects.catalogue import DEFECTS, MODULES, Defect
from tests.defects.matrix import Matrix, served
from tests.defects.running import ROOT
from tests.defects.unnoticed import UNNOTICED
from tests.stand_in_engine.defects import DEFECTS as LAUNCHED

PAGE = ROOT / "docs" / "defects.md"
HEAD = """\
# Planted defects

<!-- Written by `python -m tests.defects.page`; edit tests/defects. -->

A suite is worth what it catches. Each line below is one thing that was made wrong between the
suite and a healthy engine, real vLLM on the CPU, and the requirements that turned red: **bold**
those that must, the others because they depend on the same thing. Through the same proxy without a
defect every requirement passes.

<!-- not run: takes hours -->
```bash
tox run -e defects                                  # all of them
python -m tests.defects one-id no-done              # some of them
```

`tests/defects/test_defects.py` plants one defect for each file of the suite in ordinary runs.
A run is of the tests in the same files as those that must notice. The first record was of those
that must notice alone: others stand here as far as a run with neighbours has been recorded since
(`python -m tests.defects --record NAME`), and one that is not recorded fails the run as a wrong
blame.
"""


def render(catalogue: Catalogue, matrix: Matrix) -> str:
    """The page."""
    noticed = dict.fromkeys(served(catalogue), 0)
    for defect in DEFECTS.values():
        for it in defect.ids:
            noticed[it] = noticed.get(it, 0) + 1
    lines = [HEAD, _summary(noticed), ""]
    for module in MODULES:
        its = [it for it in DEFECTS.values() if it.module == module.__name__]
        title = (module.__doc__ or "").partition("\n")[0].rstrip(".")
        lines += [f"## {title}", "", "| defect | a server that … | turned red |", "|---|---|---|"]
        lines += [f"| `{it.name}` | {it.summary} | {_red(it, matrix)} |" for it in its]
        lines.append("")
    lines += ["## What only a launch shows", "", "Planted in a stand-in engine.", ""]
    lines += ["| defect | an engine that … | turned red |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {LAUNCHED[name]} | {', '.join(f'**{it[4:]}**' for it in sorted(red))} |"
        for name, red in BY_LAUNCHES.items()
    ]
    lines += ["", "## Not noticed", "", *(f"* {it}" for it in UNNOTICED), ""]
    return "\n".join(lines)


def _summary(noticed: dict[str, int]) -> str:
    without = [it for it, count in noticed.items() if not count]
    return (
        f"{len(DEFECTS)} defects over HTTP and {len(BY_LAUNCHES)} of launches. Of the "
        f"{len(noticed)} requirements that HTTP decides, "
        + (f"these have none yet: {', '.join(without)}." if without else "each has at least one.")
    )


def _red(defect: Defect, matrix: Matrix) -> str:
    recorded = matrix.get(defect.name, frozenset())
    told = [f"**{it[4:]}**" for it in sorted(defect.ids)]
    return ", ".join([*told, *(it[4:] for it in sorted(recorded - defect.ids))])


def write(catalogue: Catalogue, matrix: Matrix, path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(render(catalogue, matrix), encoding="utf-8")


if __name__ == "__main__":
    from tests.defects.matrix import load_matrix
    from tests.defects.running import catalogue

    write(catalogue(), load_matrix())
