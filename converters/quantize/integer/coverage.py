"""Which operators of a float graph have no integer form; the others compute in integers."""

from __future__ import annotations

from collections import defaultdict

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.integer.assignment import computes, refusal
from converters.quantize.integer.rules import rule_of
from converters.quantize.scheme import STATIC


def left_in_float(
    graph: Graph, precision: str = "int8", *, runtime: str = "litert"
) -> list[tuple[GraphOperator, str]]:
    """The operators that stay in floating point in a static precision, each with the reason."""
    found = []
    for operator in graph.operators:
        if computes(graph, operator):
            reason = refusal(graph, operator, precision, runtime, None)
            if reason is not None:
                found.append((operator, reason))
    return found


def integer_forms(graph: Graph, runtime: str) -> dict[int, dict[str, str]]:
    """By source operator and static precision what it computes in, where that is not one integer kernel each.

    Args:
        graph: float, lowered and rewritten.
        runtime: `litert` or `tflite`.

    Returns:
        Such as `{3: {"int8": "in int8, looked up in a table of its values"}}`.
    """
    standing: defaultdict[int, list[GraphOperator]] = defaultdict(list)
    for operator in graph.operators:
        for source in operator.sources:
            standing[source].append(operator)
    found: dict[int, dict[str, str]] = {}
    for source, operators in standing.items():
        phrases = {precision: _phrase(graph, operators, precision, runtime) for precision in STATIC}
        said = {precision: phrase for precision, phrase in phrases.items() if phrase is not None}
        if said:
            found[source] = said
    return found


def _phrase(graph: Graph, operators: list[GraphOperator], precision: str, runtime: str) -> str | None:
    computing = [operator for operator in operators if computes(graph, operator)]
    refused, others = {}, {}
    for operator in computing:
        reason = refusal(graph, operator, precision, runtime, None)
        rule = rule_of(operator, runtime)
        if reason is not None:
            refused[operator.type] = reason
        elif rule is not None and precision not in rule.precisions:
            others[operator.type] = rule.how
    if not refused and not others:
        return None
    if len(refused) == len(computing):
        return "in float32: " + "; ".join(dict.fromkeys(refused.values()))
    alone = len(computing) == 1
    parts = [f"in {precision}"]
    parts += [how if alone else f"{kind} {how}" for kind, how in others.items()]
    parts += [f"but {kind} in float32: {reason}" for kind, reason in refused.items()]
    return ", ".join(parts)
