"""From a model file to artifacts: read, lower, rewrite, quantise, partition, compile.

Knows nothing of devices or sockets. May import `targets` and `device_agent` (shared types).
"""
