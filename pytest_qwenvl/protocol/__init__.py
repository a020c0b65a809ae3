"""Strict reading of what a server sends, and the prompt tokens it must count."""
