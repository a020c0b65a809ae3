"""Asks ``npu-smi`` what NPUs a host has, and says in one sentence what went wrong."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from pytest_qwenvl.devices.commands import Finished, run_together
from pytest_qwenvl.devices.npu import Npu
from pytest_qwenvl.devices.npu_smi import DCMI_FAILURE, UnreadableOutput
from pytest_qwenvl.devices.npu_topology import parse_npus
from pytest_qwenvl.errors import UsageProblem

# npu-smi takes 1 to 3 s on a busy host, and minutes when the driver recovers a chip.
DEFAULT_TIMEOUT = 60.0
_QUESTIONS = (("info",), ("info", "-m"), ("info", "-t", "topo"))


def read_npus(
    tool: str, environment: Mapping[str, str], timeout: float = DEFAULT_TIMEOUT
) -> tuple[Npu, ...]:
    """The NPUs that ``npu-smi`` shows this process, by logic id.

    Args:
        tool: path of npu-smi.
        environment: what it runs under, apart from the language, which is always C.
        timeout: seconds after which it counts as hung.

    Raises:
        UsageProblem: it could not be run, hung, failed or printed what cannot be read; with the
            command, what it said and what to do.
    """
    variables = {name: value for name, value in environment.items() if name != "LANGUAGE"}
    variables |= {"LC_ALL": "C", "LANG": "C"}
    commands = [(tool, *question) for question in _QUESTIONS]
    ends = dict(zip(_QUESTIONS, run_together(commands, variables, timeout), strict=True))
    info, mapping, topology = ends.values()
    for one in (info, mapping):
        _check(one)
    # Some chips have no topology to tell, and say so.
    if "not support" not in (topology.stdout + topology.stderr).lower():
        _check(topology)
    try:
        return parse_npus(info.stdout, mapping.stdout, topology.stdout + topology.stderr)
    except UnreadableOutput as problem:
        asked = [one for question, one in ends.items() if question == problem.question]
        what = shlex.join(asked[0].argv) if asked else tool
        said = _quoted(asked[0].stdout.splitlines()[:8]) if asked else ""
        seen = f"; it begins:{said}\n" if said else "; "
        refused = DCMI_FAILURE.search(str(problem)) is not None
        raise UsageProblem(
            f"what {what} printed cannot be read: {problem}{seen}{_remedy(refused)}"
        ) from None


def _check(one: Finished) -> None:
    said = one.stdout + "\n" + one.stderr
    refused = DCMI_FAILURE.search(said) is not None
    if not one.problem and one.status == 0 and not (refused and "|" not in said):
        return
    happened = one.problem or f"ended with exit status {one.status}"
    quoted = _quoted([line for line in said.splitlines() if line.strip()][-5:])
    seen = f" and said:{quoted}\n" if quoted else " and said nothing; "
    raise UsageProblem(f"{shlex.join(one.argv)} {happened}{seen}{_remedy(refused, one.problem)}")


def _quoted(lines: Sequence[str]) -> str:
    # Rubbish may hold what would upset a terminal.
    kept = [line.strip()[:160] for line in lines if line.strip()]
    shown = ["".join(it if it.isprintable() else ascii(it)[1:-1] for it in line) for line in kept]
    return "".join(f"\n  {line}" for line in shown)


def _remedy(refused: bool, problem: str = "") -> str:
    if refused:
        return (
            "the driver refuses all NPUs when one of those it shows is in use by another "
            "container, when this user may not ask it, or when its device nodes "
            "(/dev/davinci_manager, /dev/devmm_svm, /dev/hisi_hdc) or libraries are not mounted; "
            "give this process only NPUs that are free, or run on virtual devices with "
            "--backend cpu"
        )
    if "end within" in problem:
        return (
            "a driver that hangs needs a reset of the chip or the host; to run without NPUs say "
            "--backend cpu"
        )
    return (
        "run it by hand; if it works there and its output is sound, report the output as a "
        "defect of pytest-qwenvl; to run without NPUs say --backend cpu"
    )
