"""The subcommands of ``pytest-qwenvl``, one module each."""
