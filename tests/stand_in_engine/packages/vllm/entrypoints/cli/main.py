"""``python -m vllm.entrypoints.cli.main``."""

from __future__ import annotations

import sys

from tests.stand_in_engine.server import main

if __name__ == "__main__":
    main(sys.argv[1:])
