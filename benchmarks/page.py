"""The page of a large report: how long it takes to draw, how large it is, how soon it is usable."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.verdict import judge_run

_MODELS, _REQUESTS, _ITEMS = 10, 1000, 900
_DEPLOYMENTS = ("offline-1npu", "offline-2npu", "serve-1npu", "serve-2npu")
_WORKLOADS = ("text", "image")
_ROOT = Path(__file__).resolve().parents[1]
_REPEATS = 5
_CLICK = """() => {
  const [opened] = performance.getEntriesByType("navigation");
  const begun = performance.now();
  const cells = document.querySelectorAll("a.cell");
  const last = cells[cells.length - 1];
  last.click();
  const row = document.querySelector(`[id="${last.hash.slice(1)}"] .row`);
  const shown = row.getBoundingClientRect().height > 0;
  return [shown, opened.loadEventEnd + performance.now() - begun];
}"""
# Drawing in a process of its own: the first page it makes, templates compiled on the way.
_DRAW = """
import sys, time
from pathlib import Path
from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.reading import read_report
run = read_report(Path(sys.argv[1]))
begun = time.monotonic()
page = render_page(run)
print(time.monotonic() - begun)
Path(sys.argv[2]).write_text(page, encoding="utf-8")
"""


def measure() -> list[Figure]:
    """Seconds to draw and megabytes of the page; with a Chromium at hand, seconds until usable."""
    with tempfile.TemporaryDirectory() as folder:
        report, page = Path(folder) / "report.json", Path(folder) / "report.html"
        judged = judge_run(RunRecord.model_validate(large_report()))
        report.write_text(judged.model_dump_json(), encoding="utf-8")
        done = [
            subprocess.run(
                [sys.executable, "-c", _DRAW, str(report), str(page)],
                cwd=_ROOT,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for _ in range(_REPEATS)
        ]
        what = f"{_MODELS} models, {_REQUESTS} requests and {_ITEMS} items each"
        figures = [
            Figure(f"the page of {what}", page.stat().st_size / 1e6, 5, "MB"),
            Figure("drawing it", min(map(float, done)), 3, "s"),
        ]
        with _browser() as browser:
            if browser is None:
                print("not measured: when the page is usable; no playwright or no Chromium here")
            else:
                usable = min(_until_usable(browser, page) for _ in range(_REPEATS))
                figures.append(Figure("until a click on it shows evidence", usable, 1, "s"))
        return figures


def large_report() -> dict[str, Any]:
    """A report of ten models under every requirement of the catalogue, one in forty not passed."""
    from pytest_qwenvl.catalogue import load_catalogue

    drawing = random.Random(5)
    catalogue = load_catalogue(_ROOT / "conformance" / "requirements.toml")
    requirements = [it.model_dump(mode="json") for it in catalogue.requirements]
    results = []
    for number in range(_MODELS):
        for place, deployment in enumerate(_DEPLOYMENTS):
            for it in requirements:
                offline = it["group"] in ("offline", "accuracy")
                if offline == deployment.startswith("serve") or it["group"] == "environment":
                    continue
                if it["per"] == "model" and place not in (0, 2):
                    continue
                results += _results(drawing, it, f"model-{number}-8b-instruct", deployment)
    return {
        "schema_version": 1,
        "suite_version": "0.1.0",
        "run_id": "benchmark",
        "started": 1_700_000_000.0,
        "finished": 1_700_100_000.0,
        "complete": True,
        "backend": "npu",
        "npus": 16,
        "requirements": requirements,
        "results": results,
    }


def _results(
    drawing: random.Random, requirement: dict[str, Any], model: str, deployment: str
) -> Iterator[dict[str, Any]]:
    name, group = requirement["id"], requirement["group"]
    failed = drawing.random() < 0.025
    base = {
        "requirement": name,
        "group": group,
        "level": requirement["level"],
        "model": model,
        "deployment": deployment,
        "outcome": "FAIL" if failed else "PASS",
        "reason": "expected 'red, blue', seen 'blue, red'\n" * 8 if failed else "",
        "log": "(APIServer pid=1) INFO: 127.0.0.1 POST /v1/chat/completions 200 OK\n" * 40
        if failed
        else "",
        "started": 1_700_000_000.0 + drawing.random() * 1e5,
        "duration": drawing.random(),
    }
    if group == "latency":
        for workload in _WORKLOADS:
            test = f"conformance/test_latency.py::test_it[{model}/{deployment}/{workload}]"
            evidence = {"workload": workload, "measurement": _load(drawing, workload)}
            yield {**base, "test": test, "reproduce": f"pytest '{test}'", "evidence": evidence}
        return
    evidence = {"asked": "Which colour is the left half?", "seen": "red", "tokens": [65] * 40}
    if group == "accuracy":
        evidence = {"task": "mmmu_val", "floor": 0.5, "score": 0.53, "interval": [0.5, 0.56]}
        evidence["measurement"] = _evaluation(drawing)
    test = f"conformance/test_{group}.py::test_{name.lower()}[{model}/{deployment}]"
    yield {**base, "test": test, "reproduce": f"pytest '{test}'", "evidence": evidence}


def _load(drawing: random.Random, workload: str) -> dict[str, Any]:
    ttft = [drawing.lognormvariate(-3, 0.5) for _ in range(_REQUESTS)]
    return {
        "kind": "load",
        "name": workload,
        "requests": {
            "start": [0.2 * it for it in range(_REQUESTS)],
            "ttft": ttft,
            "e2el": [it + 1 for it in ttft],
            "tpot": [drawing.lognormvariate(-5, 0.2) for _ in range(_REQUESTS)],
            "error": [""] * _REQUESTS,
        },
    }


def _evaluation(drawing: random.Random) -> dict[str, Any]:
    items = [
        {
            "task": "mmmu_val",
            "doc_id": it,
            "image_digests": [f"{it:064x}"],
            "answer": "The answer is (B), because the picture shows a circuit. " * 4,
            "target": "B",
            "score": float(drawing.random() < 0.53),
        }
        for it in range(_ITEMS)
    ]
    return {"kind": "evaluation", "name": "mmmu_val", "items": items}


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        yield None
        return
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except Error:
            yield None
            return
        yield launched
        launched.close()


def _until_usable(browser: Any, path: Path) -> float:
    """Seconds from opening the file until a click on a cell of the matrix shows requirements.

    By the page's own clock: a driver's way to it and back is no part of it.
    """
    page = browser.new_page()
    page.goto(f"file://{path}")
    shown, milliseconds = page.evaluate(_CLICK)
    page.close()
    if not shown:
        raise SystemExit("a click on a cell of the matrix shows no requirement")
    return float(milliseconds) / 1000
