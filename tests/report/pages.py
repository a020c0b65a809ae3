"""A run with something of everything in it, and a reader of pages that needs no browser."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.results import (
    EngineRecord,
    ExchangeRecord,
    NotRun,
    RunRecord,
    Undecided,
    WaiverRecord,
)
from pytest_qwenvl.report.verdict import judge_run
from tests.report.records import MODEL, OTHER, SERVE, claim, requirement, result, run

PICTURE = "evidence/QVL-IMG-003/image-1-1.png"
DIGEST = "ab" * 32
PICTURES = f"engines/{MODEL}/offline-1npu/lm-eval-bank/pictures"
VOID = frozenset({"meta", "input", "img", "path", "polyline", "circle", "rect", "br"})


class Element:
    """One element of a page: attributes, children, and the text in it."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: Element | None) -> None:
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        """Everything written in it, spaces put together."""
        parts = (it if isinstance(it, str) else it.text for it in self.children)
        return " ".join(" ".join(parts).split())

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """The elements below it with that tag and those attributes; ``class_`` is one of many."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if child.matches(tag, attributes):
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        """The only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    def matches(self, tag: str, attributes: dict[str, str]) -> bool:
        """Whether it has that tag and those attributes."""
        own = self.attributes
        return (not tag or self.tag == tag) and all(
            value in own.get("class", "").split() if name == "class_" else own.get(name) == value
            for name, value in attributes.items()
        )

    def within(self, other: Element) -> bool:
        """Whether it lies below ``other``."""
        return self.parent is other or (self.parent is not None and self.parent.within(other))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {attrs}"
        child = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(child)
        if tag not in VOID:
            self.at = child

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.at.tag == tag, f"</{tag}> ends <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def read_page(text: str) -> Element:
    """The page as a tree; fails where it is not well nested."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag}> never ends"
    return reader.root


def page_of(record: RunRecord, **options: Any) -> Element:
    """The page of a record, judged."""
    return read_page(render_page(judge_run(record), **options))


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def write_pictures(root: Path) -> None:
    """The files that ``full_run`` refers to."""
    for name in (PICTURE, f"{PICTURES}/{DIGEST}.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())


def load(slow: float = 1.0, requests: int = 40) -> dict[str, Any]:
    """A load as a report keeps it: TTFT from 10 ms up, one request that failed."""
    ttft = [slow * (0.010 + 0.001 * it) for it in range(requests - 1)]
    return {
        "kind": "load",
        "name": "text",
        "requests": {
            "start": [0.5 * it for it in range(requests)],
            "ttft": [*ttft, 0.0],
            "e2el": [it + 0.1 for it in ttft] + [0.0],
            "tpot": [0.005] * (requests - 1) + [None],
            "error": [""] * (requests - 1) + ["connection reset"],
        },
    }


def evaluation(wrong: set[int], items: int = 20) -> dict[str, Any]:
    """An evaluation as a report keeps it."""
    return {
        "kind": "evaluation",
        "name": "bank",
        "task": "bank",
        "score": (items - len(wrong)) / items,
        "items": [
            {
                "task": "bank",
                "doc_id": it,
                "prompt_digest": "",
                "image_digests": [DIGEST],
                "answer": f"wrong{it}" if it in wrong else "blue",
                "parsed": "blue",
                "target": "blue",
                "score": float(it not in wrong),
            }
            for it in range(items)
        ],
    }


def full_run(**fields: Any) -> RunRecord:
    """A run of two models: a FAIL with all its evidence, other outcomes, a load, an evaluation."""
    curl = f"curl -sS http://127.0.0.1:1/v1/chat/completions --data-binary @{PICTURE}"
    failed = result(
        "QVL-IMG-003",
        "FAIL",
        group="multi_image",
        reason="expected 'red, blue', seen 'blue, red'\nat choices[0]",
        evidence={"orders": [[1, 2], [2, 1]], "right": 3},
        exchanges=[
            ExchangeRecord(
                curl=curl,
                status=200,
                response='HTTP 200: {"content": "blue, red"}',
                started=1_700_000_005.0,
                files=(PICTURE, "evidence/QVL-IMG-003/curl.sh"),
            )
        ],
        log="POST /v1/chat/completions 200",
        reproduce="pytest 'conformance/test_multi_image.py::test_order'",
        started=1_700_000_005.0,
        duration=2.5,
    )
    budget = {
        "metric": "ttft",
        "percentile": 90.0,
        "budget_ms": 45.5,
        "vouched": True,
        "judgement": "p90 TTFT within 45 ms: cannot tell",
        "observed_ms": 44.0,
        "interval_ms": [40.0, 47.0],
    }
    latency = result(
        "QVL-LAT-002",
        "INCONCLUSIVE",
        group="latency",
        reason="p90 TTFT within 45 ms: cannot tell",
        evidence={"workload": "text", "measurement": load(), "budgets": [budget]},
        started=1_700_000_020.0,
        duration=10.0,
    )
    scored = {"task": "bank", "score": 0.9, "floor": 0.7, "interval": [0.8, 0.95], "items": 20}
    accuracy = result(
        "QVL-ACC-001",
        group="accuracy",
        deployment="offline-1npu",
        evidence={**scored, "calibrated": True, "measurement": evaluation({3, 4})},
    )
    values: dict[str, Any] = {
        "catalogue_version": "0.2",
        "finished": 1_700_000_100.0,
        "requirements": [
            requirement("QVL-SRV-001"),
            requirement("QVL-SRV-002"),
            requirement("QVL-IMG-003", group="multi_image"),
            requirement("QVL-LAT-002", group="latency"),
            requirement("QVL-ACC-001", group="accuracy"),
            requirement("QVL-OAI-001", group="openai", level="extended"),
        ],
        "planned": [claim("QVL-SRV-002")],
        "not_run": [NotRun(model="big", reason="no weights at hand")],
        "undecided": [Undecided(requirement="QVL-OFF-001", model=MODEL, reason="needs a launch")],
        "waivers": [
            WaiverRecord(
                requirement="QVL-SRV-001",
                model=OTHER,
                deployment=SERVE,
                reason="known since May",
                owner="ops",
                expires="2027-01-31",
                used=1,
            )
        ],
        "engines": [
            EngineRecord(
                model=MODEL,
                deployment=SERVE,
                kind="serve",
                argv=("vllm", "serve", "/weights"),
                environment={"VLLM_X": "1"},
                devices=(0,),
                started=1_700_000_001.0,
                ready=3.0,
                outcome="ready",
            )
        ],
        "notes": ["NPU 3 was passed over: sick"],
        "versions": {"vllm": "0.32.0"},
        "host": {"cpu": "a cpu"},
        "results": [
            result("QVL-SRV-001", evidence={"seconds": 3.25}),
            result("QVL-SRV-001", "WAIVED", model=OTHER, reason="no", waiver="known since May"),
            result("QVL-OAI-001", "UNSUPPORTED", group="openai", level="extended", reason="none"),
            failed,
            latency,
            accuracy,
        ],
    }
    return run(**{**values, **fields})


def digest_of(text: str) -> str:
    """The source expression that a content security policy names ``text`` by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def raw_content(text: str, tag: str) -> list[str]:
    """What stands in each such element, byte for byte."""
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S)
