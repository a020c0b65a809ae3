"""Stands in for transformers: a chat template that keeps the conversation as JSON."""

from __future__ import annotations

import json
from typing import Any


class AutoProcessor:
    """The processor of the stand-in engine."""

    @classmethod
    def from_pretrained(cls, model: str) -> AutoProcessor:
        """Load nothing."""
        return cls()

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """The conversation as JSON, null where a picture stands."""
        turns = []
        for message in messages:
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            parts = [None if part["type"] == "image" else part["text"] for part in content]
            turns.append((message["role"], parts))
        return json.dumps(turns)
