"""Where a server may fetch pictures from, in deployments that say so."""

from __future__ import annotations

import pytest

from conformance.malformed import url_case
from conformance.refusing import check_still_serves, send_all
from conformance.serving_pictures import Page, serving
from fixtures.bank import Picture, render_png
from pytest_qwenvl.capabilities import UnsupportedError
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment

pytestmark = pytest.mark.security

# Names and spellings under which a host finds its own loopback.
LOOPBACK = ("127.0.0.1", "localhost", "127.1", "0.0.0.0", "2130706433", "0x7f000001")
PATIENCE = 60.0


@pytest.mark.requirement("QVL-SEC-004")
def test_allowed_domains(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Nothing is fetched from a host that is not on the list, however it is written."""
    domains = deployment.deployment.arguments.get("allowed_media_domains")
    if not isinstance(domains, list) or not domains:
        raise UnsupportedError("the deployment has no allowed_media_domains, so any host may be")
    allowed = str(domains[0])
    picture = Page(render_png(Picture(64, 64, (200, 30, 30), ())))
    with serving(server, {}) as canary:
        port = canary.url("/").rsplit(":", 1)[1].rstrip("/")
        foreign = [name for name in LOOPBACK if name not in domains]
        urls = [f"http://{name}:{port}/plain.png" for name in foreign]
        for name in foreign:
            at = f"{name}:{port}"
            urls += [
                f"http://{allowed}\\@{at}/backslash.png",
                f"http://{allowed}@{at}/user.png",
                f"http://{allowed}:x@{at}/password.png",
                f"http://{at}/fragment.png#@{allowed}",
                f"http://{at}/query.png?{allowed}",
                f"http://{at}#@{allowed}/",
                f"HTTP://{at}/capitals.png",
            ]
        canary.pages = {f"/{name}": picture for name in ("plain.png", "user.png", "query.png")}
        answers = send_all(server, [url_case(server, url, url) for url in urls], PATIENCE)
        asked = canary.asked
    evidence.record(allowed=domains, urls=len(urls), asked=asked)
    answered = [answer.case.name for answer in answers if answer.status == 200]
    assert not asked, f"allowed are {domains}: expected nothing fetched elsewhere, seen {asked[:5]}"
    assert not answered, f"allowed are {domains}: expected refusals, answered were {answered[:5]}"
    check_still_serves(server, "pictures from hosts that are not allowed")


@pytest.mark.requirement("QVL-SEC-005")
def test_redirects(server: Endpoint, deployment: PlannedDeployment, evidence: Evidence) -> None:
    """Where redirects are off, a picture's host cannot send the server elsewhere."""
    if deployment.deployment.environment.get("VLLM_MEDIA_URL_ALLOW_REDIRECTS") != "0":
        raise UnsupportedError("the deployment follows redirects of pictures, as vLLM does unasked")
    picture = Page(render_png(Picture(64, 64, (200, 30, 30), ())))
    with serving(server, {"/private.png": picture}) as canary, serving(server, {}) as host:
        target = canary.url("/private.png")
        host.pages = {
            f"/{status}": Page(status=status, location=target)
            for status in (301, 302, 303, 307, 308)
        }
        cases = [url_case(server, path, host.url(path)) for path in host.pages]
        answers = send_all(server, cases, PATIENCE)
        asked, followed = host.asked, canary.asked
    statuses = {answer.case.name: answer.status for answer in answers}
    evidence.record(asked=asked, followed=followed, statuses=statuses)
    assert asked, "expected the first host to be asked, seen no request"
    assert not followed, f"expected no redirect to be followed, seen {followed}"
    assert 200 not in statuses.values(), f"expected refusals, seen {statuses}"
    check_still_serves(server, "redirected pictures")
