"""What the page says, read as a tree: everything of the record, once, where a person looks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_qwenvl.report.html import render_page
from pytest_qwenvl.report.html_words import WORDS
from pytest_qwenvl.report.results import RunRecord
from pytest_qwenvl.report.verdict import judge_run
from tests.report.pages import (
    PICTURE,
    Element,
    digest_of,
    evaluation,
    full_run,
    page_of,
    raw_content,
    read_page,
    write_pictures,
)
from tests.report.records import MODEL, OTHER, SERVE, claim, result, run


@pytest.fixture
def page(tmp_path: Path) -> Element:
    write_pictures(tmp_path)
    return page_of(full_run(), root=tmp_path)


def test_the_verdict_its_reason_and_scope_come_first(page):
    header = page.one("header").text
    record = judge_run(full_run())
    assert page.one("h1").text == "NON-CONFORMANT"
    assert record.verdict_sentence in header
    assert "Scope the whole suite" in header
    assert "CPU, 2 virtual devices: no NPU was involved" in header
    narrowed = page_of(full_run(scope="-m serve")).one("header").text
    assert "Scope -m serve" in narrowed
    assert "counts only within this selection" in narrowed


def test_versions_of_what_was_judged_are_at_the_top():
    versions = {"pytest": "9.2.0", "vllm": "0.23.0", "vllm_ascend": "0.23.0"}
    header = page_of(full_run(versions=versions)).one("header").text
    assert "Versions vllm 0.23.0, vllm_ascend 0.23.0" in header
    assert "pytest" not in header


def test_a_reason_that_only_announces_has_its_next_line_beside_it():
    record = run(
        results=[result(outcome="FAIL", reason="prompt tokens:\n  30 expected, seen 34\n")]
    )
    summary = page_of(record).one("section", id="problems").one("summary").text
    assert summary == "prompt tokens: 30 expected, seen 34"


def test_an_attached_server_and_an_unfinished_run_are_named():
    header = page_of(full_run(endpoint="http://10.0.0.1:8000", complete=False)).one("header").text
    assert "http://10.0.0.1:8000" in header
    assert "an attached server: what runs it was not seen" in header
    assert "did not finish" in header


def test_the_matrix_counts_every_claim_once(page):
    rows = {}
    for row in page.one("table", class_="matrix").all("tr"):
        cells = [cell.text for cell in row.all("td")]
        rows.setdefault(row.all("th")[0].text, cells)
    # Of UNSUPPORTED nothing is claimed; QVL-SRV-002 was planned and never judged.
    assert rows[SERVE] == [
        "1/4",
        "serve 1/2 1 NOT JUDGED",
        "openai 0/0 1 UNSUPPORTED",
        "multi_image 0/1 1 FAIL",
        "–",
        "latency 0/1 1 INCONCLUSIVE",
    ]
    assert rows["offline-1npu"] == ["1/1", "–", "–", "–", "accuracy 1/1", "–"]
    models = [row.text for row in page.all("tr", class_="model")]
    assert models[0].startswith(f"{MODEL} NON-CONFORMANT QVL-IMG-003 on {MODEL}/{SERVE} FAIL")
    assert models[1].startswith(f"{OTHER} PARTIAL")


def test_every_link_leads_to_one_place_on_the_page(page):
    ids = [it.attributes["id"] for it in page.all() if "id" in it.attributes]
    assert len(ids) == len(set(ids))
    links = [it.attributes["href"] for it in page.all("a")]
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(ids)
    cells = page.one("table", class_="matrix").all("a", class_="cell")
    assert len(cells) == 6
    for cell in cells:
        group = page.one("section", id=cell.attributes["href"][1:])
        assert group.all("h4")[0].text.startswith(cell.one("span", class_="g").text)


def test_a_failure_has_all_its_evidence(page):
    problem = page.one("section", id="problems").all("article")[0]
    for part in (
        "FAIL QVL-IMG-003 core",
        f"{MODEL}/{SERVE}",
        "The server MUST keep QVL-IMG-003.",
        "expected 'red, blue', seen 'blue, red' at choices[0]",
        f"--data-binary @{PICTURE}",
        'HTTP 200: {"content": "blue, red"}',
        "POST /v1/chat/completions 200",
        "orders [[1, 2], [2, 1]]",
        "evidence/QVL-IMG-003/curl.sh",
        "pytest 'conformance/test_multi_image.py::test_order'",
        "2023-11-14 22:13:25 UTC · 2.5 s",
        "Clients rely on it.",
    ):
        assert part in problem.text, part
    picture = problem.one("img")
    assert picture.attributes["src"].startswith("data:image/png;base64,")
    assert (picture.attributes["width"], picture.attributes["height"]) == ("40", "30")


def test_what_did_not_pass_is_listed_core_and_worst_first(page):
    section = page.one("section", id="problems")
    seen = [" ".join(it.one("h3").text.split()[:3]) for it in section.all("article")]
    assert seen == [
        "FAIL QVL-IMG-003 core",
        "INCONCLUSIVE QVL-LAT-002 core",
        "WAIVED QVL-SRV-001 core",
        "NOT JUDGED QVL-SRV-002",
        "UNSUPPORTED QVL-OAI-001 extended",
    ]
    assert section.all("article")[-1].within(section.one("details", class_="aside"))
    for part in ("no weights at hand : big", "needs a launch : QVL-OFF-001"):
        assert part in section.text


def test_what_passed_shows_its_evidence_on_a_click(page):
    passed = [
        row
        for row in page.one("section", id="results").all("details", class_="row")
        if "QVL-SRV-001" in row.text
    ]
    assert len(passed) == 1
    assert passed[0].one("summary").text.startswith("PASS QVL-SRV-001 The server MUST keep")
    assert "seconds 3.25" in passed[0].text
    assert "open" not in passed[0].attributes


def test_host_engines_notes_and_waivers_are_there(page):
    text = page.one("section", id="environment").text
    for part in (
        "a cpu",
        "vllm 0.32.0",
        "VLLM_X=1 vllm serve /weights",
        "NPU 3 was passed over: sick",
        "known since May (ops, until 2027-01-31 , used 1 times )",
    ):
        assert part in text


def test_nothing_on_the_page_is_fetched_or_runs_but_its_own(tmp_path):
    write_pictures(tmp_path)
    text = render_page(judge_run(full_run()), root=tmp_path)
    page = read_page(text)
    for element in page.all():
        assert element.tag not in {"link", "iframe", "object", "embed", "base", "form", "use"}
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"{name} on {element.tag}"
            assert name not in {"style", "srcset", "srcdoc", "action", "xlink:href"}
            if name in ("src", "href"):
                assert value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#"))
    policy = next(
        meta.attributes["content"]
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (style,) = raw_content(text, "style")
    words, script = raw_content(text, "script")
    assert policy == (
        f"default-src 'none'; style-src '{digest_of(style)}'; script-src '{digest_of(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style and "@import" not in style
    assert json.loads(words) == {key: [it.en, it.zh] for key, it in WORDS.items()}


def test_the_same_record_gives_the_same_page():
    assert render_page(judge_run(full_run())) == render_page(judge_run(full_run()))


def test_a_requirement_with_several_results_shows_them_all_the_worst_first():
    record = run(
        results=[
            result(test="t[small]", evidence={"size": 1}),
            result(outcome="FAIL", test="t[large]", reason="too large", evidence={"size": 2}),
        ]
    )
    problem = page_of(record).one("section", id="problems").one("article").text
    assert problem.index("t[large]") < problem.index("t[small]")
    assert "size 1" in problem


def test_a_failure_on_many_deployments_is_one_problem():
    models = [f"model-{number}" for number in range(12)]
    record = run(results=[result(outcome="FAIL", model=it, reason=f"of {it}") for it in models])
    problem = page_of(record).one("section", id="problems").one("article")
    assert "12 deployments" in problem.one("h3").text
    assert all(f"of {it}" in problem.text for it in models)


def test_what_was_never_judged_names_every_place():
    models = [f"model-{number}" for number in range(30)]
    page = page_of(run(planned=[claim(model=it) for it in models], complete=False))
    problem = page.one("section", id="problems").one("article")
    assert [it.text for it in problem.all("code", class_="claim")] == [
        f"{it}/{SERVE}" for it in models
    ]
    links = page.one("section", id="results").all("a")
    assert [it.attributes["href"][1:] for it in links] == [
        it.attributes["id"] for it in problem.all("code", class_="claim")
    ]


def test_a_run_without_results_has_a_page():
    page = page_of(run(planned=[claim()], complete=False))
    assert page.one("h1").text == "PARTIAL"
    assert not page.all("svg")
    text = page_of(run(results=[result()])).one("section", id="problems").text
    assert "Everything that was claimed passed." in text


def test_items_that_changed_are_shown_with_their_pictures(tmp_path):
    write_pictures(tmp_path)
    baseline = full_run(run_id="run-0")
    before = evaluation({4, 5})
    baseline.results[-1].evidence.update(measurement=before, score=before["score"])
    section = page_of(full_run(), root=tmp_path, baseline=baseline).one("section", id="accuracy")
    assert "Compared with run run-0" in section.text
    assert "1 lost, 1 gained, of 20 items in both runs" in section.text
    picture, before, now = "abababababab · 40 × 30", "Baseline's answer", "This run's answer"
    rows = section.one("details", class_="flips").one("tbody").all("tr")
    assert [row.text for row in rows] == [
        f"lost bank 3 {picture} Expected blue {before} blue {now} wrong3",
        f"gained bank 5 {picture} Expected blue {before} wrong5 {now} blue",
    ]
    assert all(row.one("img") for row in rows)


def test_items_that_were_asked_otherwise_are_not_compared():
    baseline = full_run()
    before = evaluation({4, 5})
    for item in before["items"]:
        item["prompt_digest"] = "another"
    baseline.results[-1].evidence["measurement"] = before
    section = page_of(full_run(), baseline=baseline).one("section", id="accuracy")
    assert "0 lost, 0 gained, of 0 items" in section.text


def test_the_baseline_that_the_run_itself_took_is_compared_with_too():
    record = full_run()
    record.results[-1].evidence["baseline_measurement"] = evaluation({4, 5})
    section = page_of(record).one("section", id="accuracy")
    assert "1 lost, 1 gained, of 20 items in both runs" in section.text


def test_importing_the_plugin_imports_no_template_engine():
    code = "import sys, pytest_qwenvl.plugin; print(sorted({'jinja2', 'PIL'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_many_results_stay_within_what_can_be_sent():
    record = RunRecord.model_validate(full_run().model_dump())
    noisy = {f"key-{number}": "x" * 3000 for number in range(40)}
    record.results.extend(
        result(
            f"QVL-SRV-{number:03}",
            "FAIL" if number % 3 else "PASS",
            reason="r" * 20_000,
            log="l" * 50_000,
            evidence=noisy,
            model=f"m{number % 10}",
        )
        for number in range(600)
    )
    text = render_page(judge_run(record))
    assert len(text.encode()) < 5_000_000
    assert "Shortened to keep the page small" in text
