"""Campaigns: long tests with commands of their own, `python -m scripts.benchmark faults|fuzz|load`.

They use the tests' generators of inputs, so they run from a checkout and are not in the wheel.
"""
