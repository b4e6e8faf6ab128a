"""`BATCH_MATMUL(x, c) -> FULLY_CONNECTED(x, c')` for a constant matrix `c`, which can be laid out for it."""

from __future__ import annotations

import numpy as np

from converters.graph.passes.links import Links
from converters.graph.passes.patterns import in_float


def reduce_matmul(links: Links) -> int:
    """`BATCH_MATMUL(x, c) -> FULLY_CONNECTED(x, c transposed)` for a constant float matrix `c`."""
    count = 0
    for operator in links.operators("BATCH_MATMUL"):
        matrix = links.graph.constant(operator.inputs[1])
        if matrix is None or matrix.ndim != 2 or matrix.dtype != np.float32 or not in_float(links, operator):
            continue
        if operator.options.get("adjX") or links.tensor(operator.inputs[0]).dtype != "float32":
            continue
        rows = matrix if operator.options.get("adjY") else np.ascontiguousarray(matrix.T)
        weights = links.add_constant(rows, f"{operator.inputs[1]}_rows")
        keep = len(links.tensor(operator.inputs[0]).shape) != 2
        links.become(operator, "FULLY_CONNECTED", [operator.inputs[0], weights], {"keepNumDims": keep})
        count += 1
    return count
