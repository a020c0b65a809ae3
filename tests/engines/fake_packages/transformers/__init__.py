"""A stand-in for transformers: a chat template that joins what it is given."""

from __future__ import annotations

from typing import Any


class AutoProcessor:
    @classmethod
    def from_pretrained(cls, model: str) -> AutoProcessor:
        return cls()

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tokenize: bool, add_generation_prompt: bool
    ) -> str:
        parts = []
        for message in messages:
            content = message["content"]
            if not isinstance(content, str):
                content = "".join(
                    "<image>" if part["type"] == "image" else part["text"] for part in content
                )
            parts.append(f"{message['role']}:{content}")
        return ";".join(parts)
