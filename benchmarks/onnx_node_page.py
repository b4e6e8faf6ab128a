"""The page of `onnx_node_tests.py`: what became of the node tests, operator by operator."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

KINDS = ("passed", "bound", "refused", "wrong", "crashed")
PLACE = re.compile(r" at '[^']*'")
REASON_LENGTH = 160

HEAD = """# ONNX node tests

Made by `benchmarks/onnx_node_tests.py` (its head says how a test is judged): every node test of the onnx
package whose inputs and outputs are tensors of float16/32, int8/16/32/64, uint8 or bool, but for those of
training, strings, images and random numbers. **passed** is as the test is; **bound** with the operands
fixed that a model fixes in practice, as `--bind` does; **refused** with a reason. **wrong** and **crashed**
must be 0.

The tests of onnx 1.20.1 that are wrong here hold data or modes that onnx has corrected since (masked and
capped scores of Attention, the saturation of QLinearMatMul, LpNormalization of zeros): the same tests of
later releases pass, and ONNX Runtime 1.31 does not give the data of 1.20.1 either.

"""


def page(runs: list[dict[str, Any]]) -> str:
    """The page of one or more runs: totals of all, the table by operator of the first."""
    from converters.lowering import registry
    from converters.lowering.driver import lower as _lower  # noqa: F401 - registers every lowering

    lines = [
        "| onnx | runtime | eligible | " + " | ".join(KINDS) + " |",
        "|---|---|---|" + "---|" * len(KINDS),
    ]
    lines += [total(run) for run in runs]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, list[str]] = defaultdict(list)
    for outcome in runs[0]["outcomes"]:
        counts[outcome["operator"]][outcome["outcome"]] += 1
        if outcome["outcome"] not in ("passed", "bound"):
            reasons[outcome["operator"]].append(short(outcome["why"]))
    lines += [
        "",
        f"## By operator, onnx {runs[0]['onnx']}",
        "",
        "An operator without a number has a lowering and no eligible node test.",
        "",
        "| operator | " + " | ".join(KINDS) + " | why not |",
        "|---|" + "---|" * len(KINDS) + "---|",
    ]
    for name in sorted({*counts, *registry.known()}):
        cells = [str(counts[name][kind]) if counts[name].total() else "" for kind in KINDS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {'; '.join(dict.fromkeys(reasons[name]))} |")
    return HEAD + "\n".join(lines) + "\n"


def total(run: dict[str, Any]) -> str:
    """A run's row of totals."""
    count = Counter(outcome["outcome"] for outcome in run["outcomes"])
    cells = [run["onnx"], run["runtime"], str(count.total()), *(str(count[kind]) for kind in KINDS)]
    return "| " + " | ".join(cells) + " |"


def short(why: str) -> str:
    """The first of the reasons, without the node's name."""
    reason = PLACE.sub("", why.partition(": ")[2].partition(".; ")[0]).replace("|", "\\|").replace("\n", " ")
    first = reason.partition(". ")[0].rstrip(".")
    return first if len(first) <= REASON_LENGTH else first[:REASON_LENGTH] + "…"
