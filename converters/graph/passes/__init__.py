"""Rewrites of the graph, one per file; `run` applies them until none applies and counts each."""
