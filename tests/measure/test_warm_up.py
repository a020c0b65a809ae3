"""Warm-up requests have every shape of the load, and none of its content."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from typing import Any

import pytest
from PIL import Image

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.measure.warm_up import picture_sizes, warm_up_requests
from tests.measure.loads import workload

SIZES = "{(64, 96, 1): 0.5, (32, 32, 1): 0.5, (48, 48, 1): 0.0, (64, 64, 16): 0.1}"


def pictures(request: tuple[str, dict[str, Any]]) -> list[bytes]:
    path, body = request
    assert path == "/v1/chat/completions"
    return [
        base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        for part in body["messages"][0]["content"]
        if part["type"] == "image_url"
    ]


def test_every_size_is_warmed_up_as_often_with_pixels_of_its_own() -> None:
    shape = workload(images_per_request=2, warm_ups=3, arguments={"random_mm_bucket_config": SIZES})
    assert picture_sizes(shape) == [(32, 32), (64, 96)]
    sent = [pictures(request) for request in warm_up_requests(shape, "m", seed=0)]
    assert [len(its) for its in sent] == [2] * 6
    seen = [it for its in sent for it in its]
    assert len(set(seen)) == 12
    sizes = Counter(Image.open(io.BytesIO(it)).size for it in seen)
    assert sizes == {(32, 32): 6, (96, 64): 6}
    again = [pictures(request) for request in warm_up_requests(shape, "m", seed=0)]
    other = [pictures(request) for request in warm_up_requests(shape, "m", seed=1)]
    assert again == sent != other


def test_text_is_warmed_up_by_the_endpoint_of_the_load() -> None:
    shape = workload(warm_ups=4, arguments={"random_input_len": 20})
    sent = list(warm_up_requests(shape, "m", seed=0))
    assert [path for path, _ in sent] == ["/v1/completions"] * 4
    assert len({body["prompt"] for _, body in sent}) == 4
    for _, body in sent:
        assert len(body["prompt"].split()) == 10
        assert (body["max_tokens"], body["ignore_eos"], body["model"]) == (8, True, "m")
        json.dumps(body)
    chat = workload(warm_ups=1, arguments={"endpoint": "/v1/chat/completions"})
    ((path, body),) = warm_up_requests(chat, "m", seed=0)
    assert path == "/v1/chat/completions"
    assert "image_url" not in json.dumps(body)


def test_no_warm_up_where_the_profile_wants_none() -> None:
    assert list(warm_up_requests(workload(warm_ups=0), "m", seed=0)) == []


@pytest.mark.parametrize("given", ["{", "[1, 2]", "{(64, 64): 1.0}", "{'64x64x1': 1.0}", 7])
def test_sizes_that_cannot_be_read(given: object) -> None:
    shape = workload(images_per_request=1, arguments={"random_mm_bucket_config": given})
    with pytest.raises(UsageProblem, match="'text': random_mm_bucket_config"):
        picture_sizes(shape)
