from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_qwenvl.config import Config
from pytest_qwenvl.devices.inventory import Inventory
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.planning import Plan, make_plan
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.weights import FoundWeights
from tests.engines.support import make_profile


def inventory(backend: str = "cpu", devices: int = 2) -> Inventory:
    indices = tuple(range(devices))
    names = tuple(f"device{index}" for index in indices)
    return Inventory(backend, indices, names, None, backend, "for the tests")  # type: ignore[arg-type]


def deployment(name: str, mode: str, npus: int, seconds: float = 10.0) -> dict[str, Any]:
    return {"name": name, "mode": mode, "npus": npus, "images": 1, "estimated_seconds": seconds}


def model(name: str, *, reference: bool = True, **changes: Any) -> ModelProfile:
    return make_profile(name=name, reference=reference, **changes)


def found(profile: ModelProfile) -> FoundWeights:
    return FoundWeights(Path("/weights") / profile.name)


def plan(*profiles: ModelProfile, find: Any = found, **asked: Any) -> Plan:
    given = asked.pop("inventory", inventory())
    by_name = {profile.name: profile for profile in profiles}
    return make_plan(Config(**asked), by_name, given, find)


def ids(made: Plan) -> list[str]:
    return [one.id for one in made.deployments]


def test_offline_before_serve_and_dearest_first():
    one = model(
        "one",
        deployments=[
            deployment("serve-small", "serve", 1, 10),
            deployment("serve-large", "serve", 2, 10),
            deployment("offline-small", "offline", 1, 10),
            deployment("offline-large", "offline", 2, 10),
        ],
    )
    dear = model("two-dear", deployments=[deployment("serve", "serve", 2, 1000)])
    assert ids(plan(one, dear)) == [
        "two-dear/serve",
        "one/offline-large",
        "one/offline-small",
        "one/serve-large",
        "one/serve-small",
    ]


def test_equal_models_stay_apart():
    same = {"deployments": [deployment("a", "serve", 1), deployment("b", "serve", 1)]}
    assert ids(plan(model("y", **same), model("x", **same))) == ["x/a", "x/b", "y/a", "y/b"]


def test_all_visible_devices_by_default():
    assert plan(model("one"), inventory=inventory(devices=7)).npus == 7


def test_deployments_that_do_not_fit_are_held_back():
    made = plan(model("one"), npus=1)
    assert ids(made) == ["one/offline-1npu", "one/serve-1npu"]
    assert [(it.id, why) for it, why in made.held_back] == [
        ("one/serve-2npu", "needs 2 NPUs; this run may hold 1 (--npus)")
    ]


@pytest.mark.parametrize(
    ("backend", "what"), [("cpu", r"virtual devices \(one a core\)"), ("npu", "NPUs")]
)
def test_more_than_are_visible(backend, what):
    with pytest.raises(UsageProblem, match=f"--npus 3: this host has 2 visible {what}; .* most 2"):
        plan(model("one"), npus=3, inventory=inventory(backend))


def test_published_models_do_not_run_on_the_cpu():
    made = plan(model("published", reference=False), model("small"))
    assert {one.profile.name for one in made.deployments} == {"small"}
    assert [(it.model, it.reason) for it in made.not_run] == [
        ("published", "a published model runs on the CPU only when --backend cpu is written out")
    ]


def test_published_models_run_on_the_cpu_when_it_is_written_out():
    made = plan(model("published", reference=False), backend="cpu")
    assert {one.profile.name for one in made.deployments} == {"published"}


def test_a_published_model_by_name_on_a_host_without_npu():
    with pytest.raises(
        UsageProblem, match=r"--model published: no NPU on this host; .*--backend cpu"
    ):
        plan(model("published", reference=False), models=("published",))


def test_references_are_not_needed_beside_published_models():
    made = plan(model("published", reference=False), model("small"), inventory=inventory("npu"))
    assert {one.profile.name for one in made.deployments} == {"published"}
    assert [(it.model, it.reason) for it in made.not_run] == [
        ("small", "a reference; not needed beside published models")
    ]


def test_a_reference_runs_when_it_is_asked_for():
    published = model("published", reference=False)
    made = plan(published, model("small"), models=("*",), inventory=inventory("npu"))
    assert {one.profile.name for one in made.deployments} == {"published", "small"}


def missing(profile: ModelProfile) -> FoundWeights:
    return found(profile) if profile.name != "absent" else FoundWeights(None, ("/a", "/b"))


def test_absent_weights_are_not_run_with_the_places():
    made = plan(model("absent"), model("small"), find=missing)
    assert {one.profile.name for one in made.deployments} == {"small"}
    assert [(it.model, it.deployment, it.reason) for it in made.not_run] == [
        ("absent", "", "weights not at hand; looked in /a, /b")
    ]


def test_absent_weights_by_name_are_an_error():
    with pytest.raises(UsageProblem) as caught:
        plan(model("absent"), model("small"), find=missing, models=("absent",))
    assert str(caught.value) == (
        "--model absent: weights not at hand; looked in /a, /b; point --weights-root at the "
        "folder that holds Qwen/Tiny"
    )


def test_absent_weights_by_pattern_are_left_out():
    made = plan(model("absent"), model("also"), find=missing, models=("a*",))
    assert {one.profile.name for one in made.deployments} == {"also"}


def test_nothing_to_run_lists_why():
    with pytest.raises(UsageProblem) as caught:
        plan(model("absent"), model("published", reference=False), find=missing)
    assert "no model to run" in str(caught.value)
    assert "  absent: weights not at hand; looked in /a, /b" in str(caught.value)
    assert "  published: a published model runs on the CPU only" in str(caught.value)


def test_broken_weights_are_told():
    def broken(profile: ModelProfile) -> FoundWeights:
        return FoundWeights(Path("/w"), (), "/w: is empty; the weights were never copied there")

    with pytest.raises(UsageProblem, match="--model one: /w: is empty"):
        plan(model("one"), find=broken, models=("one",))


def test_an_endpoint_takes_one_model_and_its_smallest_server():
    made = plan(model("one"), model("two"), models=("one",), endpoint="http://h:1")
    assert ids(made) == ["one/serve-1npu"]
    assert made.deployments[0].weights == Path("/weights/one"), "for a tokenizer"
    assert made.endpoint == "http://h:1"
    assert {(one.id, reason) for one, reason in made.held_back} == {
        ("one/serve-2npu", "the server is held to serve-1npu alone"),
        ("one/offline-1npu", "needs a start by this run"),
    }


def nowhere(profile: ModelProfile) -> FoundWeights:
    return FoundWeights(None, ("/a",))


def test_an_endpoint_is_held_to_the_deployment_that_was_named():
    made = plan(model("one"), models=("one/serve-2npu",), endpoint="http://h:1", find=nowhere)
    assert ids(made) == ["one/serve-2npu"]
    assert made.deployments[0].weights is None
    for name in ("offline-1npu", "nothing"):
        with pytest.raises(UsageProblem, match=f"no served deployment '{name}'; there are: serve"):
            plan(model("one"), models=(f"one/{name}",), endpoint="http://h:1")


def test_an_endpoint_needs_no_devices():
    made = plan(model("one"), models=("one",), endpoint="http://h:1", npus=64)
    assert made.npus == 0


@pytest.mark.parametrize(("models", "matched"), [((), "none"), (("*",), "one, two")])
def test_an_endpoint_needs_one_model(models, matched):
    with pytest.raises(UsageProblem, match=f"needs exactly one --model.*matched: {matched}"):
        plan(model("one"), model("two"), models=models, endpoint="http://h:1")


def test_an_endpoint_needs_a_served_deployment():
    one = model("one", deployments=[deployment("offline", "offline", 1)])
    with pytest.raises(UsageProblem, match="has no served deployment"):
        plan(one, models=("one",), endpoint="http://h:1")
