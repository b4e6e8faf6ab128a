"""`FULLY_CONNECTED(RESHAPE(TRANSPOSE(x)), w) -> FULLY_CONNECTED(RESHAPE(x), w')`, columns of `w` permuted.

A feature map flattened in channel-first order leaves this behind; the weights can be laid out for the
order it lies in.
"""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator
from converters.graph.passes.links import Links, merged


def fold_transpose_fully_connected(links: Links) -> int:
    """`w RESHAPE(TRANSPOSE(x)) -> w' RESHAPE(x)` where the first axis stays; only FULLY_CONNECTED read it."""
    count = 0
    for reshape in links.operators("RESHAPE"):
        transpose = links.maker_of(reshape.inputs[0], "TRANSPOSE")
        if transpose is None or not _flattens(links, transpose, reshape):
            continue
        readers = links.readers(reshape.outputs[0])
        if reshape.outputs[0] in links.outputs or not all(_movable(links, op, reshape) for op in readers):
            continue
        perm = links.graph.constant(transpose.inputs[1])
        if perm is None:
            continue
        lying = links.tensor(transpose.inputs[0]).shape
        # where each column of the flattened transpose lies in the flattened input
        columns = np.arange(int(np.prod(lying[1:]))).reshape(lying[1:])
        places = np.argsort(np.transpose(columns, perm[1:] - 1).reshape(-1))
        for operator in list(readers):
            weights = links.tensor(operator.inputs[1])
            if weights.data is not None:
                links.replace_constant(operator, 1, weights.data[:, places], f"{weights.name}_permuted")
                links.tensor(operator.inputs[1]).quantization = weights.quantization  # of rows, or of all
        reshape.sources = merged(transpose, reshape)
        links.set_input(reshape, 0, transpose.inputs[0])
        count += 1
    return count


def _flattens(links: Links, transpose: GraphOperator, reshape: GraphOperator) -> bool:
    perm = links.graph.constant(transpose.inputs[1])
    shape, target = links.tensor(transpose.outputs[0]).shape, links.tensor(reshape.outputs[0]).shape
    return perm is not None and perm[0] == 0 and len(target) == 2 and target[0] == shape[0]


def _movable(links: Links, operator: GraphOperator, reshape: GraphOperator) -> bool:
    if operator.type != "FULLY_CONNECTED" or operator.inputs[0] != reshape.outputs[0]:
        return False
    weights = links.tensor(operator.inputs[1])
    plain = operator.options.get("weightsFormat", "DEFAULT") == "DEFAULT"
    by_column = weights.quantization is not None and weights.quantization.axis != 0
    # of packed elements (int4) the data has no columns
    return plain and not by_column and weights.data is not None and weights.data.shape == weights.shape
