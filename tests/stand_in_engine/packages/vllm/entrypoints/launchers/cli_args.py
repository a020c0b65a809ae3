"""The options of the stand-in's ``vllm serve``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, BooleanOptionalAction


def make_arg_parser(parser: ArgumentParser) -> ArgumentParser:
    """Add every option."""
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float16"])
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--tensor-parallel-size", type=int)
    parser.add_argument("--enforce-eager", action=BooleanOptionalAction)
    parser.add_argument("--limit-mm-per-prompt", type=json.loads)
    return parser
