"""Two constants of the same value -> one."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np

from converters.graph.passes.links import Links


def share_constants(links: Links) -> int:
    """`c1 = c2` in dtype, shape, quantisation and every bit: whoever reads `c2` reads `c1`."""
    count = 0
    seen: dict[Hashable, str] = {}
    kept = links.outputs | {name for op in links.graph.operators for name in op.intermediates}
    for name, tensor in links.graph.tensors.items():
        if tensor.data is None or tensor.variable or name in kept:
            continue
        digest = hashlib.sha256(np.ascontiguousarray(tensor.data).data).digest()
        first = seen.setdefault((tensor.dtype, tensor.shape, tensor.quantization, digest), name)
        if first == name:
            continue
        for reader in list(links.readers(name)):
            for place, read in enumerate(reader.inputs):
                if read == name:
                    links.set_input(reader, place, first)
        count += 1
    return count
