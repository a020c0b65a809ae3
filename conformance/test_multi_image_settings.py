"""min_pixels and max_pixels of one request: applied to it, and to no other."""

from __future__ import annotations

import pytest

from conformance.asking import chat_body
from conformance.picture_requests import CHAT, prompt_tokens, sheet, together, turn, words
from pytest_qwenvl.capabilities import Capabilities
from pytest_qwenvl.engines.endpoint import Endpoint
from pytest_qwenvl.outcomes import Evidence
from pytest_qwenvl.planning import PlannedDeployment
from pytest_qwenvl.profile import ImageConstants
from pytest_qwenvl.protocol.image_tokens import prompt_tokens_of_images

pytestmark = pytest.mark.multi_image

SIZE = (448, 336)  # pixels: within every family's bounds, so that each setting below changes it
SMALLER = {"max_pixels": 224 * 224}
LARGER = {"min_pixels": 672 * 672}


def _messages() -> list[dict[str, object]]:
    return [turn("user", sheet(*SIZE), words())]


def _expected(constants: ImageConstants, settings: dict[str, int]) -> int:
    """Prompt tokens of the picture under a request's own settings."""
    return prompt_tokens_of_images([SIZE], constants.model_copy(update=settings))


@pytest.mark.requirement("QVL-IMG-018")
@pytest.mark.parametrize("settings", [SMALLER, LARGER], ids=["max_pixels", "min_pixels"])
def test_pixels_of_one_request(
    server: Endpoint,
    deployment: PlannedDeployment,
    capabilities: Capabilities,
    evidence: Evidence,
    settings: dict[str, int],
) -> None:
    """A request's own bounds change its picture's tokens as predicted."""
    capabilities.require("mm_processor_kwargs")
    without = prompt_tokens(server, [turn("user", words())])
    seen = prompt_tokens(server, _messages(), mm_processor_kwargs=settings) - without
    expected = _expected(deployment.profile.image, settings)
    evidence.record(size=SIZE, settings=settings, expected=expected, seen=seen)
    assert seen == expected, (
        f"{SIZE[0]}x{SIZE[1]} with {settings}: expected {expected} more prompt tokens, seen {seen}"
    )


@pytest.mark.requirement("QVL-IMG-019")
def test_settings_stay_with_their_request(
    server: Endpoint, deployment: PlannedDeployment, evidence: Evidence
) -> None:
    """Requests without settings, after and beside one with them, count as always."""
    without = prompt_tokens(server, [turn("user", words())])

    def ask(settings: dict[str, int] | None) -> int | None:
        if settings is None:
            return prompt_tokens(server, _messages()) - without
        # Whether this one is refused or obeyed is decided elsewhere.
        fields = {"max_tokens": 1, "mm_processor_kwargs": settings}
        server.request("POST", CHAT, json=chat_body(server, _messages(), **fields))
        return None

    one_by_one = [ask(settings) for settings in (SMALLER, None, LARGER, None)]
    at_once = together(ask, [SMALLER, None, LARGER, None] * 2)
    seen = [tokens for tokens in (*one_by_one, *at_once) if tokens is not None]
    expected = _expected(deployment.profile.image, {})
    evidence.record(size=SIZE, expected=expected, seen=seen)
    assert set(seen) == {expected}, (
        f"{SIZE[0]}x{SIZE[1]} without settings, after and beside requests with them: expected "
        f"{expected} more prompt tokens each time, seen {seen}"
    )
