"""Requests that are wrong in one way each are refused, and the server goes on."""

from __future__ import annotations

import pytest

from conformance import malformed
from conformance.refusing import Refusing, send_all
from pytest_qwenvl.engines.endpoint import Endpoint

pytestmark = pytest.mark.robustness


@pytest.mark.smoke
@pytest.mark.requirement("QVL-ROB-001")
def test_malformed_json(server: Endpoint, refuses: Refusing) -> None:
    """Bodies that are no JSON object are refused."""
    refuses(malformed.json_bodies(server))


@pytest.mark.requirement("QVL-ROB-002")
def test_deeply_nested_json(server: Endpoint, refuses: Refusing) -> None:
    """JSON nested beyond any use is refused."""
    refuses(malformed.nested_bodies(server))


@pytest.mark.requirement("QVL-ROB-003")
def test_content_types(server: Endpoint, refuses: Refusing) -> None:
    """A body that is not declared as JSON is refused; naming its charset changes nothing."""
    refuses(malformed.content_types(server))
    (good,) = send_all(server, [malformed.with_charset(server)])
    assert good.status == 200 and not good.fault, (
        f"content-type {good.case.content_type!r}: expected 200, seen {good.status}: "
        f"{good.text[:300]}"
    )


@pytest.mark.requirement("QVL-ROB-004")
def test_malformed_messages(server: Endpoint, refuses: Refusing) -> None:
    """Conversations that are missing, empty or of the wrong type are refused."""
    refuses(malformed.messages(server))


@pytest.mark.requirement("QVL-ROB-005")
def test_odd_messages(server: Endpoint, refuses: Refusing) -> None:
    """Conversations that a template may not know are refused or answered."""
    refuses(malformed.odd_messages(server))


@pytest.mark.requirement("QVL-ROB-006")
def test_field_types(server: Endpoint, refuses: Refusing) -> None:
    """Fields of the wrong type are refused."""
    refuses(malformed.field_types(server))


@pytest.mark.requirement("QVL-ROB-007")
def test_field_ranges(server: Endpoint, refuses: Refusing) -> None:
    """Numbers out of range, and such as are none, are refused."""
    refuses(malformed.field_ranges(server))


@pytest.mark.requirement("QVL-ROB-008")
def test_malformed_parts(server: Endpoint, refuses: Refusing) -> None:
    """Parts of a message that are none are refused."""
    refuses(malformed.parts(server))


@pytest.mark.requirement("QVL-ROB-009")
def test_broken_pictures(server: Endpoint, refuses: Refusing) -> None:
    """Bytes that are no picture, or half of one, are refused."""
    refuses(malformed.picture_bytes(server))


@pytest.mark.requirement("QVL-ROB-010")
def test_impossible_urls(server: Endpoint, refuses: Refusing) -> None:
    """Addresses under which nothing can lie are refused."""
    refuses(malformed.picture_urls(server))


@pytest.mark.requirement("QVL-ROB-011")
def test_unusual_text(server: Endpoint, refuses: Refusing) -> None:
    """Unusual characters are answered, or refused."""
    refuses(malformed.unusual_text(server))


@pytest.mark.requirement("QVL-ROB-014")
def test_repeated_keys(server: Endpoint, refuses: Refusing) -> None:
    """Objects that have a key twice are answered, or refused."""
    refuses(malformed.repeated_keys(server))
