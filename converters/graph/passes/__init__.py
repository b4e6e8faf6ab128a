"""Rewrites of the graph, one per file; `run` applies them until none applies and counts each."""

from __future__ import annotations

from converters.graph.passes.manager import run

__all__ = ["run"]
