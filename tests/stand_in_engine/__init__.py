"""A stand-in for vLLM that answers the bank's questions right, except where a defect is planted.

``packages`` holds a package ``vllm`` with the entry points that engines are started through, and
a stand-in for ``transformers``; :mod:`tests.stand_in_engine.install` makes an interpreter that
has them. The variable ``STAND_IN`` names defects, see :mod:`tests.stand_in_engine.defects`.
"""
