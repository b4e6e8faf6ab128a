"""Broken models: random changes to a valid message, and to the bytes of its file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from tests.converters.fuzzing.operators import random_graph

Mutation = Callable[[np.random.Generator, onnx.ModelProto], None]

_NUMBERS = (-(1 << 63), -(1 << 31), -7, -1, 0, 1, 2, 3, 255, 1 << 16, 1 << 31, 1 << 40, (1 << 63) - 1)
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"))
_NAMES = ("", "x", "input1", "constant2", "value3", "a/b", "\u00e9\u4e2d", "y" * 300)
_TYPES = (
    "Add",
    "Conv",
    "Concat",
    "Gather",
    "If",
    "Loop",
    "Scan",
    "LSTM",
    "MatMul",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "TopK",
    "Transpose",
    "Cast",
    "Einsum",
    "SequenceConstruct",
    "Optional",
    "NonZero",
    "Frobnicate",
    "QLinearConv",
    "DequantizeLinear",
    "StringConcat",
    "Where",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "GridSample",
    "Attention",
    "CumSum",
    "OneHot",
    "ReduceSum",
    "Range",
    "BatchNormalization",
    "Unsqueeze",
)


def _one(generator: np.random.Generator, items: Any) -> Any:
    return items[int(generator.integers(len(items)))] if len(items) else None


def _node(generator: np.random.Generator, model: onnx.ModelProto) -> Any:
    return _one(generator, model.graph.node)


def operator_type(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _node(generator, model)
    if node is not None:
        node.op_type = _one(generator, _TYPES)


def attribute_value(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    node = _one(generator, nodes)
    if node is None:
        return
    attribute = _one(generator, node.attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = _one(generator, _NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = _one(generator, _FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = _one(generator, (b"", b"nonsense", b"\xff\xfe", b"SAME_UPPER", b"linear", b"reflect"))
    elif attribute.type == AttributeProto.INTS and len(attribute.ints):
        place = int(generator.integers(len(attribute.ints)))
        way = int(generator.integers(3))
        if way == 0:
            attribute.ints[place] = _one(generator, _NUMBERS)
        elif way == 1:
            del attribute.ints[place]
        else:
            attribute.ints.append(_one(generator, _NUMBERS))


def attribute_added(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _node(generator, model)
    if node is None:
        return
    names = (
        "axis",
        "axes",
        "keepdims",
        "kernel_shape",
        "strides",
        "pads",
        "dilations",
        "group",
        "perm",
        "to",
        "mode",
    )
    value = _one(generator, (_one(generator, _NUMBERS), [1, -1], [0], [2, 2, 2], 1.5, "SAME_LOWER"))
    node.attribute.append(helper.make_attribute(_one(generator, names), value))


def attribute_removed(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _one(generator, [node for node in model.graph.node if node.attribute])
    if node is not None:
        del node.attribute[int(generator.integers(len(node.attribute)))]


def attribute_kind(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _one(generator, [node for node in model.graph.node if node.attribute])
    if node is not None:
        _one(generator, node.attribute).type = int(generator.integers(0, 15))


def operand(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    """Another value where a node reads or writes one: cycles, duplicates, values that are nowhere."""
    node = _node(generator, model)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    ends = node.input if node is not None and generator.random() < 0.7 else getattr(node, "output", [])
    if len(ends):
        ends[int(generator.integers(len(ends)))] = _one(generator, [*names, *_NAMES])


def operand_count(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _node(generator, model)
    if node is None:
        return
    ends = node.input if generator.random() < 0.6 else node.output
    if len(ends) and generator.random() < 0.5:
        del ends[int(generator.integers(len(ends)))]
    else:
        ends.append(_one(generator, _NAMES))


def node_order(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    nodes = [model.graph.node[int(place)] for place in generator.permutation(len(model.graph.node))]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def node_count(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    if not len(nodes):
        return
    place = int(generator.integers(len(nodes)))
    if generator.random() < 0.5:
        nodes.append(onnx.NodeProto.FromString(nodes[place].SerializeToString()))
    else:
        del nodes[place]


def node_domain(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    node = _node(generator, model)
    domain = _one(generator, ("com.microsoft", "ai.onnx.ml", "ai.onnx", "mine", "ai.onnx.training"))
    if node is not None:
        node.domain = domain
    if generator.random() < 0.8:
        model.opset_import.append(helper.make_opsetid(domain, int(generator.integers(0, 5))))


def versions(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    if generator.random() < 0.3:
        model.ir_version = int(_one(generator, (0, 1, 2, 3, 4, 7, 99, -1)))
    elif len(model.opset_import):
        model.opset_import[0].version = int(generator.integers(-1, 40))


def end_shape(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    end = _one(generator, [*model.graph.input, *model.graph.output])
    dims = end.type.tensor_type.shape.dim if end is not None else []
    way = int(generator.integers(5))
    if way == 0 and end is not None:
        end.type.tensor_type.ClearField("shape")
    elif way == 1 and end is not None:
        end.type.tensor_type.shape.dim.add(dim_value=int(_one(generator, _NUMBERS)))
    elif len(dims):
        dim = dims[int(generator.integers(len(dims)))]
        if way == 2:
            dim.dim_param = _one(generator, _NAMES)
        elif way == 3:
            dim.Clear()
        else:
            dim.dim_value = int(_one(generator, _NUMBERS))


def end_type(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    end = _one(generator, [*model.graph.input, *model.graph.output])
    if end is None:
        return
    if generator.random() < 0.8:
        end.type.tensor_type.elem_type = int(generator.integers(0, 30))
    else:
        end.type.sequence_type.elem_type.tensor_type.elem_type = 1


def end_name(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    end = _one(generator, [*model.graph.input, *model.graph.output, *model.graph.initializer])
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if end is not None:
        end.name = _one(generator, [*names, *_NAMES])


def weight(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    tensor = _one(generator, model.graph.initializer)
    if tensor is None:
        return
    way = int(generator.integers(6))
    if way == 0 and len(tensor.dims):
        tensor.dims[int(generator.integers(len(tensor.dims)))] = int(_one(generator, _NUMBERS))
    elif way == 1:
        tensor.data_type = int(generator.integers(0, 30))
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: int(generator.integers(0, len(tensor.raw_data) + 1))]
    elif way == 3:
        tensor.raw_data = generator.bytes(len(tensor.raw_data))  # of floats: NaN, Inf and anything between
    elif way == 4:
        tensor.dims.append(int(_one(generator, _NUMBERS)))
    else:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key in ("location", "offset", "length"):
            if generator.random() < 0.8:
                value = _one(
                    generator, ("weights.bin", "../x", "/etc/passwd", "-1", "0", "1e9", str(1 << 62), "")
                )
                tensor.external_data.add(key=key, value=value)


def sparse(generator: np.random.Generator, model: onnx.ModelProto) -> None:
    tensor = _one(generator, model.graph.initializer)
    if tensor is not None:
        made = model.graph.sparse_initializer.add(dims=tensor.dims)
        made.values.CopyFrom(tensor)
        made.indices.CopyFrom(helper.make_tensor("", onnx.TensorProto.INT64, [1], [0]))
        if generator.random() < 0.7:
            model.graph.initializer.remove(tensor)


MUTATIONS: tuple[Mutation, ...] = (
    operator_type,
    attribute_value,
    attribute_value,
    attribute_added,
    attribute_removed,
    attribute_kind,
    operand,
    operand,
    operand_count,
    node_order,
    node_count,
    node_domain,
    versions,
    end_shape,
    end_shape,
    end_type,
    end_name,
    weight,
    weight,
    sparse,
)


def mutated(seed: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """The bytes of a broken model, the same for a seed at every call, and inputs of the unbroken one."""
    generator = np.random.default_rng([23, seed])
    built = random_graph(seed)
    model = built.proto()
    if generator.random() < 0.8:
        for _ in range(_one(generator, (1, 1, 1, 2, 3))):
            mutation: Mutation = _one(generator, MUTATIONS)
            mutation(generator, model)
        return model.SerializeToString(), built.inputs
    data = bytearray(model.SerializeToString())
    way = int(generator.integers(4))
    if way == 0:
        return bytes(data[: int(generator.integers(len(data)))]), built.inputs
    if way == 1:
        start = int(generator.integers(len(data)))
        del data[start : start + int(generator.integers(1, 40))]
    if way == 2:
        start = int(generator.integers(len(data)))
        data[start:start] = generator.bytes(int(generator.integers(1, 20)))
    for _ in range(int(generator.integers(1, 6))):
        data[int(generator.integers(len(data)))] = int(generator.integers(256))
    return bytes(data), built.inputs
