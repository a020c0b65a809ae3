"""Measuring and judging: accuracy by lm-eval, latency by ``vllm bench serve``, exact statistics."""
