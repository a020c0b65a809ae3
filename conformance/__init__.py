"""The conformance suite: what a served Qwen-VL must do, as requirements and tests."""
