"""`op(c) -> c'` for constants `c`, and `SHAPE(x) -> c'` where the shape of `x` is fixed."""

from __future__ import annotations

import numpy as np

from converters.graph import dtypes
from converters.graph.ir import GraphOperator
from converters.graph.passes.evaluate import evaluate
from converters.graph.passes.links import Links

MAX_GROWTH_BYTES = 1 << 16  # how much larger a folded constant may be than those it replaces

_MOVES = ("RESHAPE", "TRANSPOSE")
# whose kernels check what they are given; integer divisions do not
_FOLDABLE = frozenset(
    [
        "ABS",
        "ADD",
        "BROADCAST_TO",
        "CAST",
        "CEIL",
        "CONCATENATION",
        "COS",
        "DEQUANTIZE",
        "EQUAL",
        "EXP",
        "EXPAND_DIMS",
        "FILL",
        "FLOOR",
        "GATHER",
        "GATHER_ND",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "LOG",
        "LOGICAL_AND",
        "LOGICAL_NOT",
        "LOGICAL_OR",
        "LOGISTIC",
        "MAXIMUM",
        "MEAN",
        "MINIMUM",
        "MUL",
        "NEG",
        "NOT_EQUAL",
        "ONE_HOT",
        "PACK",
        "PAD",
        "POW",
        "RANGE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "RELU",
        "RESHAPE",
        "REVERSE_V2",
        "RSQRT",
        "SELECT",
        "SELECT_V2",
        "SIN",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "SQRT",
        "SQUARE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    ]
)
_FLOAT_ONLY = frozenset(["DIV", "FLOOR_DIV", "FLOOR_MOD"])


def fold_constants(links: Links) -> int:
    """`op(c) -> c'`: a constant in place of what follows from constants, but for the graph's outputs."""
    count = sum(
        _fold(links, operator, _moved(links, operator)) for operator in links.operators(*_MOVES, "SHAPE")
    )
    operators = _computable(links)
    if operators:
        values = evaluate(links.graph, operators)
        for operator in operators:
            count += _fold(
                links, operator, {name: values[name] for name in operator.outputs if name in values}
            )
    return count


def _fold(links: Links, operator: GraphOperator, values: dict[str, np.ndarray]) -> int:
    """Let the readers of an operator's outputs read these values."""
    before = sum(data.nbytes for name in operator.inputs if (data := links.graph.constant(name)) is not None)
    after = sum(value.nbytes for value in values.values())
    if len(values) != len(operator.outputs) or after > before + MAX_GROWTH_BYTES:
        return 0
    read = 0
    for name, value in values.items():
        if name in links.outputs or not links.readers(name):
            continue
        made = links.add_constant(value, f"{name}_folded")
        links.tensor(made).quantization = links.tensor(name).quantization
        for reader in list(links.readers(name)):
            for place, reads in enumerate(reader.inputs):
                if reads == name:
                    links.set_input(reader, place, made)
        read = 1
    return read


def _moved(links: Links, operator: GraphOperator) -> dict[str, np.ndarray]:
    """What RESHAPE, TRANSPOSE and SHAPE give, which needs no kernel; empty where it is not constant."""
    source, output = links.tensor(operator.inputs[0]), links.tensor(operator.outputs[0])
    if output.name in links.outputs or dtypes.numpy_dtype(source.dtype) is None:
        return {}
    if operator.type == "SHAPE":
        return {output.name: np.array(source.shape, output.dtype)} if links.fixed else {}
    if source.data is None or source.quantization != output.quantization:
        return {}
    if source.quantization is not None and len(source.quantization.scale) > 1:
        return {}  # whose axis would have to move
    if operator.type == "RESHAPE":
        return {output.name: source.data.reshape(output.shape)}
    perm = links.graph.constant(operator.inputs[1])
    return {} if perm is None else {output.name: np.transpose(source.data, perm.tolist())}


def _computable(links: Links) -> list[GraphOperator]:
    """Operators that follow from constants alone and whose kernels may be run here, in execution order."""
    known = {
        name
        for name, tensor in links.graph.tensors.items()
        if tensor.data is not None and not tensor.variable
    }
    found = []
    for operator in links.graph.operators:
        if not operator.outputs or not links.stands(operator):
            continue
        if not all(name is None or name in known for name in operator.inputs):
            continue
        tensors = [links.tensor(name) for name in (*operator.inputs, *operator.outputs) if name is not None]
        if any(dtypes.numpy_dtype(tensor.dtype) is None for tensor in tensors):
            continue
        allowed = operator.type in _FOLDABLE
        allowed = allowed or (operator.type in _FLOAT_ONLY and tensors[0].dtype == "float32")
        if allowed and any(links.readers(name) for name in operator.outputs):
            found.append(operator)
            known.update(operator.outputs)
    return [op for op in found if not any(name in links.outputs for name in op.outputs)]
