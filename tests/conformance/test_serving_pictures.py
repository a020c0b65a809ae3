from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from conformance.serving_pictures import Page, serving
from pytest_qwenvl.engines.endpoint import Endpoint

HERE = Endpoint("http://127.0.0.1:9", "played")


def get(url: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    with session:
        return session.get(url, timeout=5, allow_redirects=False)


def test_pages_are_served_as_they_are_told_to_be():
    pages = {"/a.png": Page(b"one", "image/x"), "/away": Page(status=302, location="/a.png")}
    with serving(HERE, pages) as pictures:
        found = get(pictures.url("/a.png"))
        assert (found.status_code, found.content) == (200, b"one")
        assert found.headers["content-type"] == "image/x"
        assert get(pictures.url("/away")).headers["location"] == "/a.png"
        assert get(pictures.url("/none")).status_code == 404


def test_every_request_is_remembered_as_it_was_made():
    with serving(HERE, {"/a b.png": Page(b"one")}) as pictures:
        assert pictures.asked == []
        assert get(pictures.url("/a%20b.png?x=%2F")).content == b"one"
        assert pictures.asked == ["/a%20b.png?x=%2F"]


def test_pages_may_change():
    with serving(HERE, {}) as pictures:
        pictures.pages["/now"] = Page(b"one")
        assert get(pictures.url("/now")).content == b"one"
        pictures.pages["/now"] = Page(b"two")
        assert get(pictures.url("/now")).content == b"two"


def test_a_page_waits_for_the_one_before_it():
    pages = {"/first": Page(b"1"), "/second": Page(b"2", after="/first")}
    with serving(HERE, pages) as pictures, ThreadPoolExecutor(1) as pool:
        second = pool.submit(get, pictures.url("/second"))
        while pictures.asked != ["/second"]:
            assert not second.done()
        assert not second.done()
        assert get(pictures.url("/first")).content == b"1"
        assert second.result(timeout=5).content == b"2"


def test_nothing_is_left_behind():
    with serving(HERE, {}) as pictures:
        url = pictures.url("/")
    with pytest.raises(requests.ConnectionError):
        get(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_servers_of_this_host_can_fetch(host):
    with serving(Endpoint(f"http://{host}:8000", "played"), {}) as pictures:
        assert pictures.url("/").startswith("http://127.0.0.1:")


def test_a_server_elsewhere_cannot():
    elsewhere = Endpoint("https://models.example:8000", "played")
    with pytest.raises(pytest.skip.Exception, match=r"models\.example"), serving(elsewhere, {}):
        pytest.fail("nothing can be fetched from here")
