#!/usr/bin/env python3
"""Write docs/operators.md from the lowerings and the rules of quantisation; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from converters.graph.ir import GraphOperator
from converters.lowering import registry
from converters.lowering.driver import lower as _lower  # noqa: F401 - importing it registers every lowering
from converters.quantize.integer import rules
from converters.quantize.scheme import STATIC

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"
HEAD = """# ONNX operators

Made by `scripts/gen_operator_docs.py` from the registry of lowerings; a test compares the two. These
operators of the standard domain can be lowered to TFLite. A node whose inputs are all constants is folded,
whatever its operator. Anything else is refused by `edge plan` with the node, the reason and the way out.

| operator | first input may be | how |
|---|---|---|
"""


INTEGERS = """
# TFLite operators in integers

What they become in full-integer precisions, from the rules of quantisation
([how, and with which limits](quantization/operators.md)). *kernel*: the runtime's own; *table*: looked up in
a table of its values; *made*: of other integer operators; `-`: it stays float32. tflite 2.14 is told where
it differs. Operators that are not here have no integer form.

| operator | int8 | int16x8 | on tflite-runtime 2.14 |
|---|---|---|---|
"""


def form(kind: str, precision: str, runtime: str) -> str:
    """What an operator of that type becomes in a precision."""
    rule = rules.rule_of(GraphOperator(kind, [], []), runtime)
    if rule is None or precision not in rule.able:
        return "-"
    if precision in rule.precisions:
        return "kernel"
    return "table" if "table" in rule.how else "made"


def integers() -> str:
    """The table of integer forms."""
    rows = []
    for kind in sorted(rules.RULES):
        forms = [form(kind, precision, "litert") for precision in STATIC]
        older = [form(kind, precision, "tflite") for precision in STATIC]
        rows.append(f"| {kind} | {' | '.join(forms)} | {'' if older == forms else ', '.join(older)} |\n")
    return INTEGERS + "".join(rows)


def page() -> str:
    """The whole page."""
    rows = []
    for name in registry.known():
        entry = registry.entry(name)
        if entry is None:
            raise LookupError(name)
        how = (entry.function.__doc__ or "").splitlines()[0].replace("|", "\\|")
        rows.append(f"| {name} | {', '.join(entry.dtypes)} | {how} |\n")
    return HEAD + "".join(rows) + integers()


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
