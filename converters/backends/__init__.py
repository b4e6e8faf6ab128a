"""Compilers, one per runtime, found by the entry points `edge_sdk.backends`."""
