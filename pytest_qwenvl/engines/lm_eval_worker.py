"""Runs in the engine's interpreter: lm-eval, which also keeps why answers ended, and pictures.

``lm_eval_worker.py FILE ARGUMENTS…`` is ``lm_eval ARGUMENTS…`` with one more result: FILE gets a
JSON line an answer, with the digest of its prompt, its text and vLLM's finish reason, which
lm-eval's own samples lack; ``pictures/`` beside FILE gets a small copy of each picture that was
asked about, named by the digest that the samples have of it. Imports nothing of this package, whose
dependencies the engine's interpreter need not have.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

LONGEST_SIDE = 256
"""Pixels: larger pictures are kept smaller."""


def write_down(generate: Any, path: Path) -> Any:
    """``VLLM_VLM._multimodal_model_generate``, with a line in ``path`` for each of its outputs."""

    def generate_and_write(self: Any, requests: Any = None, *args: Any, **kwargs: Any) -> Any:
        outputs = generate(self, requests, *args, **kwargs)
        with path.open("a", encoding="utf-8") as file:
            for request, output in zip(requests or [], outputs, strict=True):
                answer = output.outputs[0]
                line = {
                    "prompt_digest": hashlib.sha256(request["prompt"].encode()).hexdigest(),
                    "answer": answer.text,
                    "finish_reason": answer.finish_reason,
                }
                file.write(json.dumps(line) + "\n")
        return outputs

    return generate_and_write


def keep_pictures(hashed: Any, folder: Path) -> Any:
    """``convert_pil_to_hash``, with a small copy in ``folder`` of every picture it hashes."""

    def hash_and_keep(picture: Any) -> Any:
        digest = hashed(picture)
        # A copy is for looking at: an evaluation is not to fail for want of one.
        with contextlib.suppress(Exception):
            small = picture.convert("RGB")
            exact = max(small.size) <= LONGEST_SIDE
            small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            folder.mkdir(exist_ok=True)
            path = folder / f"{digest}{'.png' if exact else '.jpg'}"
            if not path.exists():
                small.save(path, quality=85)
        return digest

    return hash_and_keep


def main() -> None:
    """Run lm-eval as the command line says."""
    import lm_eval.utils
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.models.vllm_vlms import VLLM_VLM

    path = Path(sys.argv[1])
    path.write_text("", encoding="utf-8")
    lm_eval.utils.convert_pil_to_hash = keep_pictures(
        lm_eval.utils.convert_pil_to_hash, path.with_name("pictures")
    )
    VLLM_VLM._multimodal_model_generate = write_down(VLLM_VLM._multimodal_model_generate, path)
    sys.argv = ["lm_eval", *sys.argv[2:]]
    cli_evaluate()


if __name__ == "__main__":
    main()
