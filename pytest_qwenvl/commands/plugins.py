"""The option that names plugins of vendors to a program that is not pytest."""

from __future__ import annotations

import argparse


def add_plugin_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``: without it a program knows nothing of hooks, since no test is collected."""
    parser.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="NAME",
        help="a plugin with hooks: a module, as pytest -p takes it, or a file such as conftest.py; "
        "repeatable",
    )
