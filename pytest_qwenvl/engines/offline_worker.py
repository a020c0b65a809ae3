"""The offline LLM's child process: the tutorial's own steps, told what to do over a socket.

A program for the engine's interpreter: ``python offline_worker.py [DESCRIPTOR]``. It imports
nothing of this package, which that interpreter need not have. Lines of JSON in both directions,
over the socket it inherits, or over standard input and output; what the engine itself prints goes
to its log::

    > {"options": {...}, "image_loading": "auto", "patch_size": 16}
    < {"event": "ready", "image_loading": "qwen_vl_utils"}
    > {"id": 1, "conversations": [[...]], "sampling": {...}}
    < {"id": 1, "generations": [...]}  or  {"id": 1, "error": {"kind": "...", "message": "..."}}
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import traceback
from typing import Any

# Started by path, so this folder comes first on sys.path; its modules must not shadow others.
if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]


class Channel:
    """Lines of JSON over an inherited socket, or over standard input and output.

    In the second case both are taken away from everybody else: whatever prints, prints to
    standard error.
    """

    def __init__(self, descriptor: int | None) -> None:
        if descriptor is None:
            reader, writer = os.dup(0), os.dup(1)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            os.dup2(2, 1)
        else:
            os.set_inheritable(descriptor, False)
            reader, writer = descriptor, os.dup(descriptor)
        self._reader = os.fdopen(reader, "rb")
        self._writer = os.fdopen(writer, "wb")

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side is gone."""
        line = self._reader.readline()
        if not line:
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, **message: object) -> None:
        """Send one message."""
        self._writer.write(json.dumps(message).encode() + b"\n")
        self._writer.flush()


class RequestRefusedError(Exception):
    """A request that this program itself cannot understand."""


def normalised(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of the OpenAI kind as Qwen's own tools take them: ``{"type": "image", ...}``."""
    messages = []
    for message in conversation:
        content = message["content"]
        if not isinstance(content, str):
            content = [_part(part) for part in content]
        messages.append({**message, "content": content})
    return messages


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        place = part["image_url"]
        source = place["url"] if isinstance(place, dict) else place
    elif kind == "image":
        source = part["image"]
    else:
        raise RequestRefusedError(f"a content part of type {kind!r}; known: text, image_url, image")
    if "://" in source and not source.startswith("file://"):
        raise RequestRefusedError(f"image {source[:80]!r}: only data: URLs and local files")
    return {"type": "image", "image": source}


def plain_images(messages: list[dict[str, Any]]) -> list[Any]:
    """The pictures of a conversation as they are, in order; vLLM's processor resizes them."""
    from PIL import Image

    images = []
    for message in messages:
        if isinstance(message["content"], str):
            continue
        for part in message["content"]:
            if part["type"] == "image":
                source = part["image"]
                if source.startswith("data:"):
                    file: Any = io.BytesIO(base64.b64decode(source.partition(",")[2]))
                else:
                    file = source.removeprefix("file://")
                images.append(Image.open(file).convert("RGB"))
    return images


class Worker:
    """One ``vllm.LLM`` with its processor."""

    def __init__(self, order: dict[str, Any]) -> None:
        from transformers import AutoProcessor
        from vllm import LLM

        self._patch_size = order["patch_size"]
        self.image_loading = _image_loading(order["image_loading"])
        self._llm = LLM(**order["options"])
        self._processor = AutoProcessor.from_pretrained(order["options"]["model"])

    def generate(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Answers of all conversations of a request, in their order."""
        from vllm import SamplingParams

        inputs = [self._inputs(normalised(one)) for one in request["conversations"]]
        sampling = SamplingParams(**request["sampling"])
        outputs = self._llm.generate(inputs, sampling_params=sampling, use_tqdm=False)
        return [
            {
                "text": output.outputs[0].text,
                "token_ids": list(output.outputs[0].token_ids),
                "prompt_token_count": len(output.prompt_token_ids),
                "finish_reason": output.outputs[0].finish_reason,
            }
            for output in outputs
        ]

    def close(self) -> None:
        """End the engine's own processes; without this the interpreter waits for them at exit."""
        self._llm.llm_engine.engine_core.shutdown()

    def _inputs(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        prompt = self._processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        inputs: dict[str, Any] = {"prompt": prompt}
        if self.image_loading == "plain":
            images = plain_images(messages)
        else:
            from qwen_vl_utils import process_vision_info

            images, _, _ = process_vision_info(
                messages, image_patch_size=self._patch_size, return_video_kwargs=True
            )
        if images:
            inputs["multi_modal_data"] = {"image": images}
        return inputs


def _image_loading(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    try:
        import qwen_vl_utils  # noqa: F401
    except ImportError:
        return "plain"
    return "qwen_vl_utils"


def main(descriptor: int | None) -> int:
    """Build the LLM, then answer requests until the other side hangs up."""
    channel = Channel(descriptor)
    order = channel.receive()
    if order is None:
        return 0
    worker = Worker(order)
    channel.send(event="ready", image_loading=worker.image_loading)
    while True:
        request = channel.receive()
        if request is None:
            worker.close()
            return 0
        try:
            answer = worker.generate(request)
        except Exception as error:
            traceback.print_exc()
            if type(error).__name__ == "EngineDeadError":
                return 1
            kind = type(error).__name__
            channel.send(id=request["id"], error={"kind": kind, "message": str(error)})
        else:
            channel.send(id=request["id"], generations=answer)


if __name__ == "__main__":
    _status = main(int(sys.argv[1]) if sys.argv[1:] else None)
    sys.stdout.flush()
    sys.stderr.flush()
    # The engine is shut down; taking torch apart piece by piece would cost seconds for nothing.
    os._exit(_status)
