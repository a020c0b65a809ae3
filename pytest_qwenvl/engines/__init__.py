"""Engines: how a deployment becomes a running server or an offline LLM, and how it ends."""
