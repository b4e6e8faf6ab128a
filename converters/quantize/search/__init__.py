"""The search for the fastest scheme that keeps the accuracy."""
