"""`RELU(op(x)) -> op(x)` with the activation fused; so for RELU6 and RELU_N1_TO_1."""

from __future__ import annotations

from converters.graph.passes.links import Links

_ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
_FUSING = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DIV",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "MUL",
    "SUB",
)


def fold_activation(links: Links) -> int:
    """`RELU(op(x)) -> op(x)` with RELU fused, wherever nothing else reads `op(x)`."""
    count = 0
    for operator in links.operators(*_ACTIVATIONS):
        maker = links.maker_of(operator.inputs[0], *_FUSING)
        if maker is None or links.only_reader(maker.outputs[0]) is not operator:
            continue
        if maker.options.get("fusedActivationFunction", "NONE") != "NONE":
            continue
        if links.tensor(maker.outputs[0]).quantization != links.tensor(operator.outputs[0]).quantization:
            continue
        links.absorb(maker, operator)
        maker.options["fusedActivationFunction"] = operator.type
        count += 1
    return count
