"""`RESHAPE(c) -> c'` and `TRANSPOSE(c) -> c'` for a constant `c`."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links


def fold_constants(links: Links) -> int:
    """Apply it wherever the result is no output of the graph."""
    count = 0
    for operator in links.operators("RESHAPE", "TRANSPOSE"):
        output = links.tensor(operator.outputs[0])
        if output.name in links.outputs:
            continue
        value = _value(links, operator, output.shape)
        if value is None:
            continue
        made = links.add_constant(value, f"{output.name}_folded")
        for reader in list(links.readers(output.name)):
            for place, name in enumerate(reader.inputs):
                if name == output.name:
                    links.set_input(reader, place, made)
        count += 1
    return count


def _value(links: Links, operator: GraphOperator, shape: tuple[int, ...]) -> np.ndarray | None:
    source = links.tensor(operator.inputs[0])
    if source.data is None or source.quantization is not None:
        return None
    if operator.type == "RESHAPE":
        return source.data.reshape(shape)
    perm = links.graph.constant(operator.inputs[1])
    return None if perm is None else np.transpose(source.data, perm.tolist())
