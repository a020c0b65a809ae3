"""``python -m benchmarks.with_memory FILE ARGUMENTS``: run pytest, write its peak memory (KiB)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.runs import peak_memory_kib

if __name__ == "__main__":
    status = pytest.main(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(peak_memory_kib()))
    sys.exit(int(status))
