"""`QUANTIZE(DEQUANTIZE(q)) -> q` where both are of the same scale and zero point."""

from __future__ import annotations

from converters.graph.passes.links import Links


def cancel_quantize(links: Links) -> int:
    """`QUANTIZE(DEQUANTIZE(q)) -> q`, exact where the result is stated as `q` is; so `QUANTIZE(q)`."""
    count = 0
    for operator in links.operators("QUANTIZE"):
        made = links.tensor(operator.outputs[0])
        inner = links.maker_of(operator.inputs[0], "DEQUANTIZE")
        name = operator.inputs[0] if inner is None else inner.inputs[0]
        given = links.tensor(name)
        if given.quantization is None or given.data is not None or given.shape != made.shape:
            continue
        if (given.dtype, given.quantization) != (made.dtype, made.quantization):
            continue
        kept = list(operator.inputs)
        links.set_input(operator, 0, name)
        if links.bypass(operator):
            count += 1
        else:
            links.set_input(operator, 0, kept[0])
    return count
