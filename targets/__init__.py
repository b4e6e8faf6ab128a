"""Boards and processors as data: what a board has, what its processors run, and the sources of both.

May import `device_agent` (shared types) and nothing of `converters` or `edge_sdk`.
"""
