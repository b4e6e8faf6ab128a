"""How near a compiled model comes to its source: output by output, and by a metric."""
