"""The inputs of an ONNX file: as it declares them, fixed as a `Shaping` asks, and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.shaping import Declared, Resolved, Shaping, resolve
from device_agent.errors import InvalidModel, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

    from converters.lowering.facts import Facts
    from converters.lowering.registry import Node
    from converters.shaping import DynamicAxis

_TO_THE_END = (1 << 31) - 1  # exporters write this or more where they mean the end
_INITIALIZERS_APART = 4  # the version of the IR from which initializers need not be listed as inputs


def declared(path: Path, proto: onnx.ModelProto) -> list[Declared]:
    """The inputs that a file declares; InvalidModel for one without a shape."""
    from converters.lowering.facts import dtype_name, inputs_of

    found = []
    for value in inputs_of(proto.graph):
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise InvalidModel(
                "an input has no shape",
                where=f"{path}: input {value.name!r}",
                expected="a tensor of known rank",
                next_step="Export the model with the shapes of its inputs.",
            )
        dimensions = tensor.shape.dim
        sizes = tuple(_size(axis, len(dimensions), one) for axis, one in enumerate(dimensions))
        found.append(Declared(value.name, dtype_name(tensor.elem_type), sizes))
    return found


def _size(axis: int, rank: int, dimension: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dimension.HasField("dim_value"):
        if dimension.dim_value > 0:
            return dimension.dim_value
        if dimension.dim_value == 0 and (axis or rank == 1):
            return 0  # an axis without elements; of the first of several it means an open batch
        return None
    symbol: str | bytes = dimension.dim_param  # bytes where it is not UTF-8
    return (symbol.decode(errors="replace") if isinstance(symbol, bytes) else symbol) or None


def fix(path: Path, proto: onnx.ModelProto, shaping: Shaping) -> Resolved:
    """Make every input static, in place, and those that are bound initializers.

    What the file says of later shapes is dropped: it may be of other sizes.

    Raises:
        InvalidRequest: `shaping` does not fit the file; see `shaping.resolve`.
        InvalidModel: an input has no shape, or a dimension of it stays open.
    """
    from onnx import numpy_helper

    resolved = resolve(declared(path, proto), shaping, str(path))
    for value in proto.graph.input:
        for size, dimension in zip(
            resolved.shapes.get(value.name, ()), value.type.tensor_type.shape.dim, strict=False
        ):
            dimension.dim_value = size
    for name, array in resolved.bound.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    if proto.ir_version >= _INITIALIZERS_APART:
        kept = [value for value in proto.graph.input if value.name not in resolved.bound]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
    del proto.graph.value_info[:]
    return resolved


def check_slices(path: Path, facts: Facts) -> None:
    """Refuse open sizes where a Slice ends past its axis: at greater sizes it would cut.

    Comparing sizes (see `resizing`) cannot find that: the greater size may be any.

    Raises:
        InvalidRequest: names the node.
    """
    from converters.lowering.registry import read_node

    for place, step in enumerate(facts.steps):
        if step.node.op_type != "Slice" or place in facts.folded or step.node.input[0] not in facts.types:
            continue
        node, shape = read_node(step.source, step.node, step.opset), facts.types[step.node.input[0]].shape

        def numbers(key: str, position: int, node: Node = node) -> list[int]:
            array = facts.constants.get(node.optional(position) or "")
            return list(node.integers(key) or ()) if array is None else [int(n) for n in array.reshape(-1)]

        starts, ends = numbers("starts", 1), numbers("ends", 2)
        axes = numbers("axes", 3) or list(range(len(ends)))
        for axis, start, end in zip(axes, starts, ends, strict=False):
            size = shape[axis % len(shape)]
            if size < end < _TO_THE_END or -_TO_THE_END < start < -size:
                raise InvalidRequest(
                    "a Slice ends past its axis, so greater sizes would be cut and cannot stay open",
                    where=f"{path}: {node.name}",
                    got=f"{start}:{end} of {size}",
                    next_step="Leave out `--dynamic`, and convert the model for each size that is needed.",
                )


def reopened(proto: onnx.ModelProto, dynamic: Iterable[DynamicAxis]) -> onnx.ModelProto:
    """A copy of a model that `fix` made static, with these axes open again; itself where there are none."""
    axes = [place for one in dynamic for place in one.places]
    if not axes:
        return proto
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for value in made.graph.input:
        for name, axis in axes:
            if name == value.name:
                value.type.tensor_type.shape.dim[axis].Clear()
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    return made
