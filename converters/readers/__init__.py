"""From files to `Model`: one reader per format, found by the entry points `edge_sdk.readers`."""
