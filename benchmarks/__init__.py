"""The figures the project promises, each measured and printed by one command."""
