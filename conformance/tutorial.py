"""The tutorial's own request: its picture (drawn by us, 297x117), its question, its answer."""

from __future__ import annotations

import re
from typing import Any

from fixtures.bank import TONGYI_QUESTION, data_url, tongyi_picture
from pytest_qwenvl.profile import ModelProfile
from pytest_qwenvl.protocol.image_tokens import image_tokens

TUTORIAL_TOKENS = 512
_PICTURE = tongyi_picture()

TUTORIAL_MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": data_url(_PICTURE)}},
            {"type": "text", "text": TONGYI_QUESTION},
        ],
    },
]


def reads_tongyi_qwen(text: str) -> bool:
    """Whether an answer gives the words in the picture, however it words the rest."""
    words = re.findall(r"[A-Za-z]+", text.casefold())
    return "tongyi" in words and "qwen" in words


def expected_prompt_tokens(profile: ModelProfile) -> int:
    """Prompt tokens of the tutorial's request: its text and template, and the picture's own."""
    picture = image_tokens(_PICTURE.width, _PICTURE.height, profile.image)
    return profile.image.tutorial_text_tokens + picture
