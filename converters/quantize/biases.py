"""Weight ranges that leave room for the biases: dead channels keep their constant output in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from converters.graph.ir import Graph

# operator -> (input, weights, bias) as positions of its inputs, and the weights' output-channel axis
WEIGHTED = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
GREATEST_BIAS = 2.0**30  # in steps; half of int32, so that the products have room beside it


def keep_biases(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> int:
    """Widen the weight range of channels whose bias would not fit int32.

    A bias is quantised with the step `input_scale * weight_scale`. Training leaves channels with weights
    of (almost) zero and a bias that matters; their step is so small that the bias saturates, and the
    channel answers with about 0 instead of its bias. Here the first weight of such a channel becomes
    `|bias| * 127 / (input_scale * 2**30)`, the least that gives the bias a step it fits in. What this adds
    to the output is at most `weight * 255 * input_scale`, that is 3e-5 of the bias. (TensorFlow Lite's own
    quantiser widens the scale itself to the same end, `AdjustWeightsForBiasScale` in its
    tools/optimize/quantization_utils.cc; the one used here takes weights, not scales.)

    Args:
        graph: changed in place.
        ranges: least and greatest value of each activation tensor, from calibration.

    Returns:
        How many channels were widened.
    """
    widened = 0
    for operator in graph.operators:
        if operator.type not in WEIGHTED:
            continue
        at_input, at_weights, at_bias, axis = WEIGHTED[operator.type]
        source, name = operator.inputs[at_input], operator.inputs[at_weights]
        bias = graph.constant(operator.inputs[at_bias]) if len(operator.inputs) > at_bias else None
        weights = graph.constant(name)
        if bias is None or weights is None or name is None or source is None or source not in ranges:
            continue
        low, high = ranges[source]
        input_scale = max(max(high, 0.0) - min(low, 0.0), 1e-9) / 255  # the quantiser's own least range
        needed = (np.abs(bias) * (127 / (input_scale * GREATEST_BIAS))).astype(np.float32)
        channels = np.moveaxis(weights, axis, 0).reshape(len(bias), -1)
        narrow = np.abs(channels).max(axis=1) < needed
        if narrow.any():
            changed = np.moveaxis(weights.copy(), axis, 0)
            first = (narrow, *(0,) * (weights.ndim - 1))
            changed[first] = needed[narrow]
            graph.tensors[name].data = np.ascontiguousarray(np.moveaxis(changed, 0, axis))
            widened += int(narrow.sum())
    return widened
