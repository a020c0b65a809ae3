"""The parser that vLLM uses."""

from __future__ import annotations

from argparse import ArgumentParser as FlexibleArgumentParser

__all__ = ["FlexibleArgumentParser"]
