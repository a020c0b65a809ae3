"""Prove that a Qwen-VL model, served by vLLM on these devices, does what it must."""

__version__ = "0.1.0.dev0"
