"""Fault campaigns against the real agent: death at every changing call, crash states, failing and full media.

`scripts/faults` runs them whole; tests/device_agent/test_campaigns.py runs a part of each.
"""
