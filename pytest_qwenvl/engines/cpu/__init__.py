"""What vLLM's CPU backend needs, given to engine processes only."""
