"""Constants that act per output channel of an operator with weights."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float

# operator -> the axis of its weights that counts output channels
OUTPUT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


def weighted_maker(
    links: Links, operator: GraphOperator, places: tuple[int, ...] = (0, 1)
) -> tuple[GraphOperator, np.ndarray] | None:
    """What `operator` (MUL, ADD) applies a float constant to, per channel: the maker and the constant.

    The maker has constant weights and no activation, `operator` is the only one to read it, and the
    constant is float32[channels]. `places` are where the maker's output may stand.
    """
    for place in places:
        maker = links.maker_of(operator.inputs[place], *OUTPUT_AXIS)
        constant = links.graph.constant(operator.inputs[1 - place])
        if maker is None or constant is None or constant.dtype != np.float32:
            continue
        if links.only_reader(maker.outputs[0]) is not operator or not foldable(links, maker):
            continue
        if links.tensor(maker.outputs[0]).shape != links.tensor(operator.outputs[0]).shape:
            continue
        channels = links.tensor(maker.outputs[0]).shape[-1]
        if constant.size == 1 or constant.shape[-1] == constant.size == channels:
            return maker, np.broadcast_to(constant.reshape(-1), channels)
    return None


def foldable(links: Links, maker: GraphOperator) -> bool:
    """Whether its weights and bias may be changed: float constants, and no activation behind them."""
    weights = links.graph.constant(maker.inputs[1])
    if weights is None or weights.dtype != np.float32 or not in_float(links, maker):
        return False
    if maker.options.get("weightsFormat", "DEFAULT") != "DEFAULT":
        return False
    if maker.type == "FULLY_CONNECTED" and len(weights) != links.tensor(maker.outputs[0]).shape[-1]:
        return False
    bias = bias_name(maker)
    if bias is not None and links.graph.constant(bias) is None:
        return False
    return bool(maker.options.get("fusedActivationFunction", "NONE") == "NONE")


def bias_place(maker: GraphOperator) -> int:
    """Which of its inputs is the bias: the last one it can have."""
    return 3 if maker.type == "TRANSPOSE_CONV" else 2


def bias_name(maker: GraphOperator) -> str | None:
    """The bias of an operator with weights, None where it has none."""
    place = bias_place(maker)
    return maker.inputs[place] if len(maker.inputs) > place else None


def bias_of(links: Links, maker: GraphOperator) -> np.ndarray | None:
    """The value of that bias: float32[channels]."""
    return links.graph.constant(bias_name(maker))


def take_over(links: Links, maker: GraphOperator, operator: GraphOperator) -> None:
    """Remove `operator`, whose work `maker` does now, with its activation."""
    activation = operator.options.get("fusedActivationFunction", "NONE")
    links.absorb(maker, operator)
    if activation != "NONE":
        maker.options["fusedActivationFunction"] = activation
