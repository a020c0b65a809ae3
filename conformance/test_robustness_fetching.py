"""Pictures that a server is to fetch from hosts that fail it."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from conformance.asking import chat, text_of
from conformance.hard_hosts import hard_host
from conformance.malformed import url_case
from conformance.raw_http import connection, post
from conformance.refusing import Refusing, check_still_serves
from conformance.serving_pictures import Page, serving
from fixtures.bank import Picture, generate, render_png
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence

pytestmark = pytest.mark.robustness

# vLLM tries three times and pauses 1 s and 4 s: an answer comes well within this time (seconds).
FETCHING = 60.0
HANGING = 12
# With that many fetches hanging, a request takes as long as otherwise; this is a stall (seconds).
STALL = 30.0


@pytest.mark.requirement("QVL-ROB-012")
def test_picture_host_refuses(server: Endpoint, refuses: Refusing) -> None:
    """A picture's host that answers anything but a picture fails the request alone."""
    picture = render_png(Picture(64, 64, (10, 200, 10), ()))
    pages = {
        "/forbidden": Page(b"no", "text/plain", 403),
        "/missing": Page(b"no", "text/plain", 404),
        "/gone": Page(b"no", "text/plain", 410),
        "/html": Page(b"<html>log in first</html>", "text/html"),
        "/empty": Page(b""),
        "/half": Page(picture[: len(picture) // 2]),
        "/round": Page(status=302, location="/round"),
    }
    with serving(server, pages) as pictures:
        refuses([url_case(server, path, pictures.url(path)) for path in pages], FETCHING)
        asked = set(pictures.asked)
    refuses.evidence.record(asked=sorted(asked))
    assert "/missing" in asked, f"expected the picture to be asked for, seen {sorted(asked)}"


@pytest.mark.requirement("QVL-ROB-013")
def test_picture_host_fails(server: Endpoint, refuses: Refusing) -> None:
    """A picture's host that is not there, or fails, fails the request alone, in time."""
    pages = {"/unavailable": Page(b"no", "text/plain", 503)}
    with (
        serving(server, pages) as pictures,
        hard_host("cut off") as broken,
        hard_host("no HTTP") as other,
    ):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        cases = [
            url_case(server, "status 503", pictures.url("/unavailable")),
            url_case(server, "nobody listens", f"http://127.0.0.1:{port}/picture.png"),
            url_case(server, "breaks off", broken.url),
            url_case(server, "speaks no HTTP", other.url),
            url_case(server, "no such host", "http://picture.invalid/picture.png"),
        ]
        refuses(cases, FETCHING)


@pytest.mark.requirement("QVL-ROB-015")
def test_picture_host_hangs(server: Endpoint, evidence: Evidence) -> None:
    """While many pictures are waited for in vain, other requests are answered."""
    (item,) = generate("colour", 1)
    with serving(server, {}), hard_host("silent") as host, contextlib.ExitStack() as held:
        for number in range(HANGING):
            case = url_case(server, "hanging", f"{host.url}?{number}")
            waiting = held.enter_context(connection(server, STALL))
            waiting.sendall(post(server, case.path, case.body))
        deadline = time.monotonic() + STALL
        while host.connections < HANGING and time.monotonic() < deadline:
            time.sleep(0.02)
        assert host.connections, "expected the server to ask the picture's host, seen no connection"
        began = time.monotonic()
        check_still_serves(server, "twelve hanging fetches")
        text_of(chat(server, item.openai_messages()))
        seconds = time.monotonic() - began
        evidence.record(connections=host.connections, seconds=seconds)
    assert seconds < STALL, (
        f"with {HANGING} fetches hanging: expected two answers within {STALL:.0f} s, seen "
        f"{seconds:.1f} s"
    )


@pytest.mark.requirement("QVL-ROB-016")
def test_endless_picture(server: Endpoint, refuses: Refusing) -> None:
    """A picture without an end is given up, and refused."""
    with serving(server, {}), hard_host("endless") as host:
        refuses([url_case(server, "endless", host.url)])
        refuses.evidence.record(bytes_taken=host.sent)
        assert host.sent, "expected the server to fetch the picture, seen no byte taken"
