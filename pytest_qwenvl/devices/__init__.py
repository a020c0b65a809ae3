"""Which devices there are, and who holds them."""
