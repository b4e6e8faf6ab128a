"""`DEPTHWISE_CONV_2D(x, w)` of a 1x1 window -> `MUL(x, w)`."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.channels import bias_of, foldable
from converters.graph.passes.links import Links


def reduce_depthwise(links: Links) -> int:
    """`DEPTHWISE_CONV_2D(x, w) -> MUL(x, w)` where the window is 1x1, the stride 1 and the bias zero."""
    count = 0
    for operator in links.operators("DEPTHWISE_CONV_2D"):
        activation = operator.options.get("fusedActivationFunction", "NONE")
        weights, bias = links.graph.constant(operator.inputs[1]), bias_of(links, operator)
        shape = links.tensor(operator.inputs[0]).shape
        if weights is None or weights.shape != (1, 1, 1, shape[-1]):
            continue
        if activation != "NONE" or not foldable(links, operator) or (bias is not None and bias.any()):
            continue
        if shape != links.tensor(operator.outputs[0]).shape:
            continue
        factor = links.add_constant(np.array(weights), f"{operator.inputs[1]}_factor")
        links.become(operator, "MUL", [operator.inputs[0], factor], {"fusedActivationFunction": activation})
        count += 1
    return count
