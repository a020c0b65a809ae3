"""Results, the report files made of them, and what a person sees in the terminal."""
