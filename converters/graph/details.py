"""What a TFLite file holds beside its graph, and how it comes through a rewrite.

`Graph` has what a runtime computes with. A file has more: metadata, a description, names of signatures,
ranges that a quantiser left, open axes. It is put back by the tensors' names; what could not be is refused.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from converters.graph.ir import Graph
from converters.graph.read import listed, text, unique_names
from converters.graph.write import RUNTIME_KEY, Buffer, pack

# whose results have a shape that only their values tell
_BY_VALUE = frozenset(
    ("BROADCAST_ARGS", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "UNIQUE", "WHERE")
)
# builtin -> the input that states the shape of the result
_STATED_AT = {
    "BROADCAST_TO": 1,
    "FILL": 0,
    "PAD": 1,
    "PADV2": 1,
    "RANGE": 0,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 1,
    "RESIZE_NEAREST_NEIGHBOR": 1,
    "SLICE": 2,
    "STRIDED_SLICE": 2,
    "TILE": 1,
    "TRANSPOSE_CONV": 0,
}

# of elements that are no numbers
_OPAQUE = frozenset(
    getattr(schema.TensorType, name)
    for name in ("STRING", "RESOURCE", "VARIANT")
    if hasattr(schema.TensorType, name)
)


def parse(data: bytes) -> Any:
    """The object API's model of a file that `graph.read.read` has read before."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def obstacle(model: Any) -> str | None:
    """What a file holds that would be lost by writing it anew; None if nothing is."""
    (subgraph,) = model.subgraphs
    tensors = listed(subgraph.tensors)
    if len(listed(model.signatureDefs)) > 1:
        return f"{len(model.signatureDefs)} signatures"
    if any(tensor.sparsity is not None for tensor in tensors):
        return "weights that are stored sparse"
    if any(tensor.variantTensors for tensor in tensors):
        return "tensors of variants"
    if (
        model.externalBuffers
        or model.externalBufferGroups
        or any(tensor.externalBuffer for tensor in tensors)
    ):
        return "weights in other files"
    if any(tensor.type in _OPAQUE for tensor in tensors):
        return "strings or resources"
    return None


def open_axes(model: Any) -> dict[str, tuple[int, ...]]:
    """The graph's inputs with axes that a run may resize: tensor name -> shape, -1 where open."""
    (subgraph,) = model.subgraphs
    tensors = listed(subgraph.tensors)
    names = unique_names(tensors)
    found = {}
    for index in listed(subgraph.inputs):
        shape = tuple(int(size) for size in listed(tensors[index].shapeSignature))
        if -1 in shape:
            found[names[index]] = shape
    return found


def fixed_inside(graph: Graph, model: Any) -> bool:
    """Whether all axes but the first of each tensor hold in every run: an open batch."""
    (subgraph,) = model.subgraphs
    closed = all(-1 not in listed(tensor.shapeSignature)[1:] for tensor in listed(subgraph.tensors))
    return closed and fixed_shapes(graph, model, fix_open=True)


def fixed_shapes(graph: Graph, model: Any, *, fix_open: bool) -> bool:
    """Whether the shapes that a graph states hold in every run; `fix_open` if open axes count as stated."""
    (subgraph,) = model.subgraphs
    if not fix_open and any(-1 in listed(tensor.shapeSignature) for tensor in listed(subgraph.tensors)):
        return False
    known = {name for name, tensor in graph.tensors.items() if tensor.data is not None}
    for operator in graph.operators:
        if operator.type == "SHAPE" or all(name is None or name in known for name in operator.inputs):
            known.update(operator.outputs)  # follows from shapes and constants
        place = _STATED_AT.get(operator.type)
        if operator.type in _BY_VALUE:
            return False
        if place is not None and len(operator.inputs) > place and operator.inputs[place] not in known:
            return False
    return True


def restored(data: bytes, source: Any, before: dict[str, str], after: Graph, *, keep_open: bool) -> bytes:
    """`data`, written of the rewritten graph `after`, with what its source file held beside the graph.

    Args:
        data: from `graph.write.write`.
        source: the file's model, from `parse`.
        before: the graph's outputs as they were: public name -> tensor.
        after: the rewritten graph.
        keep_open: whether axes that were open are so still.
    """
    model = parse(data)
    (subgraph,), (old,) = model.subgraphs, source.subgraphs
    model.description, subgraph.name = source.description, old.name
    tensors = dict(zip(unique_names(listed(old.tensors)), listed(old.tensors), strict=True))
    renamed = {now: before[public] for public, now in after.outputs.items() if now != before[public]}
    for tensor in subgraph.tensors:
        name = text(tensor.name)
        known = tensors.get(renamed.get(name, name))
        if known is None or known.type != tensor.type or listed(known.shape) != listed(tensor.shape):
            continue  # a new tensor that took the name of one that is gone
        tensor.name = known.name
        tensor.hasRank = known.hasRank
        if keep_open:
            tensor.shapeSignature = known.shapeSignature
        if known.quantization is not None and _scales(known) == _scales(tensor):
            tensor.quantization = known.quantization
    if not listed(source.signatureDefs):
        model.signatureDefs = None
    else:
        model.signatureDefs[0].signatureKey = source.signatureDefs[0].signatureKey
    _keep_versions(model, source)
    _keep_metadata(model, source)
    model.buffers = [aligned(buffer) for buffer in model.buffers]
    return pack(model)


def _scales(tensor: Any) -> list[float]:
    quantization = tensor.quantization
    return [] if quantization is None else [float(scale) for scale in listed(quantization.scale)]


def _keep_versions(model: Any, source: Any) -> None:
    """Operators that the file had keep the version they had, if it is the greater."""
    had: dict[tuple[int, str], int] = {}
    for code in listed(source.operatorCodes):
        key = (max(code.builtinCode, code.deprecatedBuiltinCode), text(code.customCode))
        had[key] = max(had.get(key, 1), code.version)
    for code in listed(model.operatorCodes):
        code.version = max(code.version, had.get((code.builtinCode, text(code.customCode)), 1))


def _keep_metadata(model: Any, source: Any) -> None:
    """All of the file's metadata but the runtime's version, which was told anew."""
    for item in listed(source.metadata):
        if text(item.name) == RUNTIME_KEY:
            continue
        kept = schema.MetadataT()
        kept.name, kept.buffer = item.name, len(model.buffers)
        model.buffers.append(source.buffers[item.buffer])
        model.metadata.append(kept)


def aligned(buffer: Any) -> Buffer:
    """A buffer that packs its data aligned."""
    made = Buffer()
    held = buffer.data is not None and len(buffer.data) > 0
    made.data = memoryview(bytes(bytearray(buffer.data))) if held else None
    return made
