#!/usr/bin/env python3
"""Write docs/operators.md from the registry of lowerings; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from converters.lowering import registry
from converters.lowering.driver import lower as _lower  # noqa: F401 - importing it registers every lowering

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"
HEAD = """# ONNX operators

Made by `scripts/gen_operator_docs.py` from the registry of lowerings; a test compares the two. These
operators of the standard domain can be lowered to TFLite. A node whose inputs are all constants is folded,
whatever its operator. Anything else is refused by `edge plan` with the node, the reason and the way out.

| operator | first input may be | how |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = []
    for name in registry.known():
        entry = registry.entry(name)
        if entry is None:
            raise LookupError(name)
        how = (entry.function.__doc__ or "").splitlines()[0].replace("|", "\\|")
        rows.append(f"| {name} | {', '.join(entry.dtypes)} | {how} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    """Write the page, or say whether it is up to date."""
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text() == page()
        print("docs/operators.md is up to date" if same else f"docs/operators.md differs: run {sys.argv[0]}")
        return 0 if same else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
