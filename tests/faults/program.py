"""Plays a program that measures: ``vllm bench serve`` under load, or lm-eval with its own LLM.

``python program.py RESULT SECONDS [URL]`` works for a while, asks the server where it was given
one, and leaves a result that says who made it and when the last answer was asked for.
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path


def main(result: str, seconds: str, url: str = "") -> None:
    """Work for so long, then leave the result."""
    end = time.monotonic() + float(seconds)
    asked = time.monotonic()
    while time.monotonic() < end:
        print("working", flush=True)
        asked = time.monotonic()
        if url:
            with urllib.request.urlopen(f"{url}/v1/models", timeout=2.0) as answer:
                answer.read()
        time.sleep(0.05)
    partial = Path(result).with_suffix(".partial")
    partial.write_text(json.dumps({"pid": os.getpid(), "asked": asked}))
    partial.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
