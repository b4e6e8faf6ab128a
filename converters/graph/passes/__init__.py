"""Rewrites of the graph, one per file; `run` applies them until none applies and counts each.

`optimize` does so for a file as it is, and keeps account of what each took away.
"""

from __future__ import annotations

from converters.graph.passes.manager import Account, optimize, run

__all__ = ["Account", "optimize", "run"]
