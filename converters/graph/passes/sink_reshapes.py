"""`RESHAPE(op(RESHAPE(x))) -> RESHAPE(op(x))` for elementwise operators."""

from __future__ import annotations

from converters.graph.ir import GraphOperator, GraphTensor
from converters.graph.passes.links import Links, merged
from converters.graph.passes.patterns import BINARY, UNARY

_STEPS = 64  # operators that a RESHAPE is looked after


def sink_reshapes(links: Links) -> int:
    """`op(RESHAPE(x)) -> RESHAPE(op(x))` for elementwise operators, where another RESHAPE follows."""
    count = 0
    for reshape in links.operators("RESHAPE"):
        reader = links.only_reader(reshape.outputs[0])
        if reader is None or not links.stands(reshape) or not _worth(links, reshape):
            continue
        source, output = links.tensor(reshape.inputs[0]), links.tensor(reader.outputs[0])
        if reader.type == "RESHAPE" or links.graph.constant(reshape.inputs[1]) is None:
            continue
        if source.quantization != links.tensor(reshape.outputs[0]).quantization:
            continue
        links.set_input(reader, reader.inputs.index(reshape.outputs[0]), source.name)
        reader.sources = merged(reshape, reader)
        between = links.new_name(f"{output.name}_inner")
        links.graph.tensors[between] = GraphTensor(
            between, source.shape, output.dtype, None, output.quantization
        )
        reader.outputs[0] = between
        links.maker[between] = reader
        behind = GraphOperator(
            "RESHAPE", [between, reshape.inputs[1]], [output.name], dict(reshape.options), reader.sources
        )
        links.insert_after(reader, behind)
        count += 1
    return count


def _worth(links: Links, reshape: GraphOperator) -> bool:
    """Whether only elementwise operators with scalars come before another RESHAPE."""
    name = reshape.outputs[0]
    for _ in range(_STEPS):
        reader = links.only_reader(name)
        if reader is None:
            return False
        if reader.type == "RESHAPE":
            return reader.inputs[0] == name
        if reader.type not in UNARY | BINARY:
            return False
        others = [
            data
            for read in reader.inputs
            if read != name and (data := links.graph.constant(read)) is not None
        ]
        if len(others) != len(reader.inputs) - 1 or any(data.size != 1 for data in others):
            return False
        if any(data.ndim > len(links.tensor(reshape.inputs[0]).shape) for data in others):
            return False
        name = reader.outputs[0]
    return False
