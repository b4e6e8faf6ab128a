"""Runtimes that run models: `get(name)` finds one; its package is imported only when it loads a model."""
