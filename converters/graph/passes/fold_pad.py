"""`op(PAD(x), VALID) -> op(x, SAME)` for op of CONV_2D, DEPTHWISE_CONV_2D, where the padding is SAME's."""

from __future__ import annotations

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links, merged

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_pad(links: Links) -> int:
    """`op(PAD(x), VALID) -> op(x, SAME)` where the padding is SAME's, and both have the same zero."""
    count = 0
    for operator in links.operators(*_CONVOLUTIONS):
        padding = links.maker_of(operator.inputs[0], "PAD")
        if padding is None or operator.options.get("padding") != "VALID":
            continue
        amounts = links.graph.constant(padding.inputs[1])
        given, padded = links.tensor(padding.inputs[0]), links.tensor(padding.outputs[0])
        if not links.fixed_inside or given.quantization != padded.quantization:
            continue
        if amounts is None or amounts.tolist() != _same(links, operator, padding):
            continue
        operator.sources = merged(padding, operator)
        operator.options["padding"] = "SAME"
        links.set_input(operator, 0, padding.inputs[0])
        count += 1
    return count


def _same(links: Links, operator: GraphOperator, padding: GraphOperator) -> list[list[int]]:
    """What SAME pads before and after each axis; the odd element goes after.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    size = links.tensor(padding.inputs[0]).shape
    kernel = links.tensor(operator.inputs[1]).shape
    amounts = [[0, 0]]
    for axis, side in ((1, "H"), (2, "W")):
        stride = operator.options[f"stride{side}"]
        reach = (kernel[axis] - 1) * operator.options.get(f"dilation{side}Factor", 1) + 1
        total = max((-(-size[axis] // stride) - 1) * stride + reach - size[axis], 0)
        amounts.append([total // 2, total - total // 2])
    return [*amounts, [0, 0]]
