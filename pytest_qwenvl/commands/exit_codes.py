"""What the exit codes of ``pytest-qwenvl`` mean."""

from __future__ import annotations

EXIT_CONFORMANT = 0
EXIT_NON_CONFORMANT = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
