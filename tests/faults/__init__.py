"""Faults on purpose: real runs are hit at drawn moments, and what is left of them is looked at.

``python -m tests.faults --seed S`` draws faults one after the other, each decided by the seed and
its number alone; ``--only K`` plays number K again. ``docs/faults.md`` says what is held against
each.
"""
