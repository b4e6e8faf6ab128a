"""Statistics of measured latencies. Pure functions over raw samples; imports only the standard library."""
