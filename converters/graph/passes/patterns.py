"""What the rewrites of patterns ask of operators and tensors."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links

# operators that compute each element of their output from the same element of their one input
UNARY = frozenset(
    [
        "ABS",
        "CEIL",
        "COS",
        "ELU",
        "EXP",
        "FLOOR",
        "GELU",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOG",
        "LOGISTIC",
        "NEG",
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
        "RELU_N1_TO_1",
        "ROUND",
        "RSQRT",
        "SIGN",
        "SIN",
        "SQRT",
        "SQUARE",
        "TANH",
    ]
)
BINARY = frozenset(["ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SQUARED_DIFFERENCE", "SUB"])
REDUCTIONS = frozenset(["MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"])


def scalar(links: Links, name: str | None) -> float | None:
    """The value of a constant float32 of one element, else None."""
    data = links.graph.constant(name)
    return (
        float(data.reshape(-1)[0])
        if data is not None and data.dtype == np.float32 and data.size == 1
        else None
    )


def close(value: float | None, expected: float) -> bool:
    """Whether a constant is what a formula asks for, within the rounding of float32."""
    return value is not None and abs(value - expected) <= 1e-6 * abs(expected)


def plain(operator: GraphOperator) -> bool:
    """Whether no activation is fused into it."""
    return bool(operator.options.get("fusedActivationFunction", "NONE") == "NONE")


def in_float(links: Links, operator: GraphOperator) -> bool:
    """Whether its first output is float32 and not the dequantised view of integers."""
    tensor = links.tensor(operator.outputs[0])
    return tensor.dtype == "float32" and tensor.quantization is None


def beside_scalar(links: Links, operator: GraphOperator) -> tuple[str, float] | None:
    """Of a commutative operator: its tensor operand, of the output's shape, and its scalar one."""
    for place in (0, 1):
        name, value = operator.inputs[place], scalar(links, operator.inputs[1 - place])
        if name is not None and value is not None and links.graph.constant(name) is None:
            same = links.tensor(name).shape == links.tensor(operator.outputs[0]).shape
            return (name, value) if same else None
    return None


def inner(links: Links, operator: GraphOperator, place: int, *types: str) -> GraphOperator | None:
    """The operator of one of these types that makes an input for this operator alone, no activation fused."""
    maker = links.maker_of(operator.inputs[place], *types)
    if maker is None or not links.exclusive(maker.outputs[0], operator) or not plain(maker):
        return None
    return maker


def over_last_axis(links: Links, operator: GraphOperator) -> bool:
    """Whether a reduction is over the last axis and keeps it."""
    axes = links.graph.constant(operator.inputs[1])
    rank = len(links.tensor(operator.inputs[0]).shape)
    return bool(
        axes is not None
        and operator.options.get("keepDims")
        and axes.reshape(-1).tolist() in ([-1], [rank - 1])
    )
