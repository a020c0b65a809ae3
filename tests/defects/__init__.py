"""Proof of the suite: one defect at a time, planted between it and a healthy engine.

:mod:`tests.defects.proxy` carries requests to a real engine and lets a defect spoil them;
the modules that :mod:`tests.defects.catalogue` lists hold the defects, by what they spoil.
"""
