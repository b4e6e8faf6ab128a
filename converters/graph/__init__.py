"""A TFLite-level graph: `ir` (the types), `read` and `write` (flatbuffers), `verify`, `passes` (rewrites)."""
