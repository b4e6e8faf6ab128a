"""`a = op(x)`, `b = op(x)` -> `a` for both."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links, merged

# operators that give something else each time, or have an effect
_NEVER = frozenset(
    [
        "ASSIGN_VARIABLE",
        "BERNOULLI",
        "CALL",
        "CALL_ONCE",
        "CUSTOM",
        "DELEGATE",
        "HASHTABLE",
        "HASHTABLE_IMPORT",
        "IF",
        "MULTINOMIAL",
        "RANDOM_STANDARD_NORMAL",
        "RANDOM_UNIFORM",
        "READ_VARIABLE",
        "STABLEHLO_COMPOSITE",
        "VAR_HANDLE",
        "WHILE",
    ]
)


def share_operators(links: Links) -> int:
    """`op(x)` computed twice is computed once; constants are the same if their values are."""
    count = 0
    seen: dict[Hashable, GraphOperator] = {}
    for operator in list(links.graph.operators):
        if operator.type in _NEVER or not links.stands(operator) or not operator.outputs:
            continue
        if any(name is not None and links.tensor(name).variable for name in operator.inputs):
            continue
        first = seen.setdefault(_key(links, operator), operator)
        if first is operator or any(name in links.outputs for name in operator.outputs):
            continue
        for mine, other in zip(operator.outputs, first.outputs, strict=True):
            for reader in list(links.readers(mine)):
                for place, name in enumerate(reader.inputs):
                    if name == mine:
                        links.set_input(reader, place, other)
        first.sources = merged(first, operator)
        count += 1
    return count


def _key(links: Links, operator: GraphOperator) -> Hashable:
    """What two operators must agree in to compute the same; large constants by their identity only."""

    def read(name: str | None) -> Hashable:
        tensor = links.graph.tensors[name] if name is not None else None
        if tensor is None or tensor.data is None or tensor.data.nbytes > 1 << 16:
            return name
        return tensor.dtype, tensor.shape, tensor.quantization, tensor.data.tobytes()

    def made(name: str) -> Hashable:
        tensor = links.graph.tensors[name]
        return tensor.dtype, tensor.shape, tensor.quantization

    inputs = tuple(read(name) for name in operator.inputs)
    outputs = tuple(made(name) for name in operator.outputs)
    return operator.type, inputs, outputs, _frozen(operator.options), tuple(operator.intermediates)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
