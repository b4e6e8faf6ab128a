"""`op(TRANSPOSE(x, p)) -> TRANSPOSE(op(x), p)` where that brings a TRANSPOSE to what ends it."""

from __future__ import annotations

import numpy as np

from converters.graph.ir import GraphOperator, GraphTensor
from converters.graph.passes.links import Links, merged
from converters.graph.passes.patterns import BINARY, REDUCTIONS, UNARY

_SINKABLE = UNARY | (BINARY - {"POW"}) | REDUCTIONS | {"CONCATENATION", "PAD"}
_STEPS = 64  # operators that a TRANSPOSE is looked after


def sink_transposes(links: Links) -> int:
    """`op(TRANSPOSE(x, p)) -> TRANSPOSE(op(x), p)` for elementwise operators, CONCATENATION, PAD, reductions.

    Only where another TRANSPOSE follows that it merges with, or several become one.
    """
    count = 0
    for transpose in links.operators("TRANSPOSE"):
        perm = links.graph.constant(transpose.inputs[1])
        reader = links.only_reader(transpose.outputs[0])
        if perm is None or reader is None or not links.stands(transpose):
            continue
        if _permuted(links, reader, perm) is not None and _worth(links, transpose, perm):
            _sink(links, reader, perm)
            count += 1
    return count


def _worth(links: Links, transpose: GraphOperator, perm: np.ndarray) -> bool:
    """Whether the way down ends at another TRANSPOSE, or brings several into one."""
    name = transpose.outputs[0]
    for _ in range(_STEPS):
        reader = links.only_reader(name)
        if reader is None:
            return False
        if reader.type == "TRANSPOSE":
            return True
        if _permuted(links, reader, perm, name) is None:
            return False
        if sum(links.graph.constant(read) is None for read in reader.inputs) > 1:
            return True  # each comes with a TRANSPOSE of its own, and one leaves
        if reader.type in REDUCTIONS:
            return _left(links, reader, perm) is None
        name = reader.outputs[0]
    return False


def _left(links: Links, reader: GraphOperator, perm: np.ndarray) -> np.ndarray | None:
    """The permutation behind a reduction, None for the identity."""
    if reader.options.get("keepDims"):
        return perm
    axes = links.graph.constant(reader.inputs[1])
    gone = set() if axes is None else {int(axis) % len(perm) for axis in axes.reshape(-1)}
    kept = [int(axis) for place, axis in enumerate(perm) if place not in gone]
    order = np.argsort(np.argsort(kept)).astype(np.int32)
    return None if np.array_equal(order, np.arange(len(order))) else order


def _permuted(
    links: Links, reader: GraphOperator, perm: np.ndarray, via: str | None = None
) -> list[str | np.ndarray | None] | None:
    """The inputs that an operator reads if it comes before its TRANSPOSE: tensors, or new constants.

    `via` is an input that is going to be a TRANSPOSE's output; None if an input cannot be had.
    """
    rank = len(perm)
    if reader.type not in _SINKABLE or len(reader.outputs) != 1:
        return None
    made: list[str | np.ndarray | None] = []
    data = 1 if reader.type in REDUCTIONS | {"PAD"} else len(reader.inputs)
    for name in reader.inputs[:data]:
        tensor = links.tensor(name)
        maker = links.maker_of(name, "TRANSPOSE")
        if tensor.data is not None:
            if tensor.quantization is not None and len(tensor.quantization.scale) > 1:
                return None
            if tensor.data.shape != tensor.shape:
                return None  # packed elements (int4) cannot be moved apart
            if tensor.data.ndim > rank or (reader.type == "CONCATENATION" and tensor.data.ndim < rank):
                return None
            lined = tensor.data.reshape((1,) * (rank - tensor.data.ndim) + tensor.shape)
            made.append(name if tensor.data.size == 1 else np.transpose(lined, np.argsort(perm)))
            continue
        if name == via:
            made.append(name)
            continue
        theirs = links.graph.constant(maker.inputs[1]) if maker is not None else None
        if (
            maker is None
            or theirs is None
            or not np.array_equal(theirs, perm)
            or not links.exclusive(name, reader)
        ):
            return None
        if links.tensor(maker.inputs[0]).quantization != tensor.quantization:
            return None
        made.append(maker.inputs[0])
    if data == 1 and len(reader.inputs) > 1:
        given = links.graph.constant(reader.inputs[1])
        if given is None:
            return None
        made.append(
            given[np.argsort(perm)] if reader.type == "PAD" else perm[given.reshape(-1)].astype(given.dtype)
        )
    return made


def _sink(links: Links, reader: GraphOperator, perm: np.ndarray) -> None:
    """Let `reader` read what lies above its TRANSPOSEs, and put one behind it."""
    inputs = _permuted(links, reader, perm) or []
    order = _left(links, reader, perm) if reader.type in REDUCTIONS else perm
    makers = [maker for name in reader.inputs if (maker := links.maker_of(name, "TRANSPOSE")) is not None]
    for place, read in enumerate(inputs):
        if isinstance(read, np.ndarray):
            old = links.tensor(reader.inputs[place])
            links.replace_constant(reader, place, read, f"{old.name}_permuted")
            links.tensor(reader.inputs[place]).quantization = old.quantization
        elif read != reader.inputs[place]:
            links.set_input(reader, place, read)
    if reader.type == "CONCATENATION":
        reader.options["axis"] = int(perm[reader.options["axis"]])
    sources = merged(*makers, reader)
    reader.sources = sources
    if order is None:
        return
    output = links.tensor(reader.outputs[0])
    shape = tuple(output.shape[place] for place in np.argsort(order))
    between = links.new_name(f"{output.name}_inner")
    links.graph.tensors[between] = GraphTensor(between, shape, output.dtype, None, output.quantization)
    reader.outputs[0] = between
    links.maker[between] = reader
    given = links.add_constant(np.asarray(order, np.int32), f"{output.name}_perm")
    links.insert_after(reader, GraphOperator("TRANSPOSE", [between, given], [output.name], {}, sources))
