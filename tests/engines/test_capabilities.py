"""What a server can do: asked once, refused only by what is clearly a refusal."""

from __future__ import annotations

import base64
import io
from typing import Any, get_args

import pytest
from PIL import Image

from pytest_qwenvl.capabilities import PROBES, Capabilities, UnsupportedError, tiny_clip
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_fields import Capability
from tests.engines.scripted import CHAT, HELLO, scripted

ENDPOINTS = sorted(name for name, probe in PROBES.items() if not probe.field)
FIELDS = sorted(name for name, probe in PROBES.items() if probe.field)


def answering(status: int, body: Any = "said so") -> dict[str, tuple[int, Any]]:
    """Everything that any probe asks, answered alike."""
    return {
        f"{'GET' if probe.body is None else 'POST'} {probe.path}": (status, body)
        for probe in PROBES.values()
    }


def test_every_capability_that_a_profile_may_declare_has_a_probe():
    assert list(PROBES) == list(get_args(Capability))


@pytest.mark.parametrize("name", PROBES)
def test_what_is_answered_is_there(name):
    with scripted(answering(200, HELLO)) as server:
        assert Capabilities(Endpoint(server.url, "tiny"), {}).has(name)
        assert len(server.seen) == 1


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("status", [404, 405, 501])
def test_what_is_absent_is_lacking(name, status):
    with scripted(answering(status)) as server:
        missing = Capabilities(Endpoint(server.url, "tiny"), {}).missing(name)
    assert f"answered HTTP {status}: said so" in missing


@pytest.mark.parametrize("status", [400, 415, 422])
def test_a_refusal_speaks_for_fields_and_not_for_endpoints(status):
    with scripted(answering(status)) as server:
        seen = Capabilities(Endpoint(server.url, "tiny"), {})
        assert [name for name in FIELDS if seen.has(name)] == []
        assert [name for name in ENDPOINTS if not seen.has(name)] == []


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_a_broken_feature_is_not_excused_as_a_missing_one(status):
    with scripted(answering(status)) as server:
        seen = Capabilities(Endpoint(server.url, "tiny"), {})
        assert all(map(seen.has, PROBES))


def test_no_answer_is_no_excuse():
    with scripted({}) as server:
        url = server.url
    assert Capabilities(Endpoint(url, "tiny"), {}).has("tools")


def test_what_is_declared_is_not_asked():
    with scripted(answering(404)) as server:
        seen = Capabilities(Endpoint(server.url, "tiny"), {"video": False, "tools": True})
        assert not seen.has("video")
        assert seen.has("tools")
        assert server.seen == []


def test_each_is_asked_once_whoever_asks():
    with scripted({CHAT: (400, "no tools")}) as server:
        seen = Capabilities(Endpoint(server.url, "tiny"), {})
        with pytest.raises(UnsupportedError, match=r"the server has no tools: .*no tools"):
            seen.asked_by(core=False).require("tools")
        with pytest.raises(AssertionError, match="expected tools, a core capability"):
            seen.asked_by(core=True).require("tools")
        assert len(server.seen) == 1


def test_requiring_what_is_there_goes_on():
    with scripted(answering(200, HELLO)) as server:
        Capabilities(Endpoint(server.url, "tiny"), {}).require("tools", "video")


def test_an_unknown_name_is_told():
    with pytest.raises(UsageProblem, match="capability 'tolls': known are auto_tools, "):
        Capabilities(Endpoint("http://127.0.0.1:1", "tiny"), {}).has("tolls")  # type: ignore[arg-type]


def test_the_clip_is_frames_that_can_be_read():
    kind, _, data = tiny_clip().partition(";base64,")
    assert kind == "data:video/jpeg"
    sizes = {Image.open(io.BytesIO(base64.b64decode(it))).size for it in data.split(",")}
    assert sizes == {(64, 64)}
    assert data.count(",") == 3
