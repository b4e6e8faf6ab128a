"""Runtimes that run models: `get(name)` finds one; a runtime's package is imported only when it loads a model."""
