"""A TFLite file as a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import dtypes, options
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from device_agent.bundle import Quantization
from device_agent.errors import EdgeError, InvalidModel


def read(data: bytes, *, where: str) -> Graph:
    """The graph held in a TFLite flatbuffer of one subgraph; `where` names the file in errors.

    Raises:
        InvalidModel: not a TFLite file, truncated or corrupt, or it holds several subgraphs.
    """
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise InvalidModel(
            "not a TFLite file", where=where, got=repr(data[4:8]), expected="b'TFL3' at offset 4"
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        _fetch_outside_buffers(model, data, where)
        return _graph(model, where)
    except EdgeError:
        raise
    except Exception as e:  # a corrupt flatbuffer surfaces as almost any exception
        raise InvalidModel(
            "the TFLite file is truncated or corrupt",
            where=where,
            got=f"{type(e).__name__}: {e}",
            next_step="Copy the file again, or make it anew.",
        ) from e


def _fetch_outside_buffers(model: Any, data: bytes, where: str) -> None:
    """Give buffers whose bytes stand behind the flatbuffer (`offset` > 1 in the schema) their data."""
    for buffer in listed(model.buffers):
        if buffer.offset > 1:
            if buffer.offset + buffer.size > len(data):
                raise InvalidModel(
                    "the TFLite file is truncated",
                    where=where,
                    got=f"{len(data)} bytes",
                    expected=f"at least {buffer.offset + buffer.size}",
                )
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)


def _graph(model: Any, where: str) -> Graph:
    subgraphs = model.subgraphs or []
    if len(subgraphs) != 1:
        raise InvalidModel(
            "only TFLite files of one subgraph can be read",
            where=where,
            got=str(len(subgraphs)),
            expected="1",
        )
    subgraph = subgraphs[0]
    names = unique_names(subgraph.tensors or [])
    tensors = {
        name: _tensor(name, tensor, model.buffers)
        for name, tensor in zip(names, subgraph.tensors or [], strict=True)
    }
    operators = [_operator(op, model.operatorCodes, names) for op in listed(subgraph.operators)]
    inputs, outputs = _public_names(model, subgraph, names)
    made = {*inputs.values(), *(name for operator in operators for name in operator.outputs)}
    for name, tensor in tensors.items():
        dtype = dtypes.numpy_dtype(tensor.dtype)
        if 0 in tensor.shape and name not in made and dtype is not None:
            tensor.data = np.zeros(tensor.shape, dtype)  # a constant without elements has no bytes
    return Graph(tensors, operators, inputs, outputs)


def listed(vector: Any) -> list[Any]:
    """A vector of the object API as a list; an absent one is empty."""
    return [] if vector is None else list(vector)


def text(value: bytes | str | None) -> str:
    """A string of the object API; an absent one is empty."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def unique_names(tensors: list[Any]) -> list[str]:
    """The tensors' names; the format allows none and twice the same."""
    names: dict[str, None] = {}
    for index, tensor in enumerate(tensors):
        name = text(tensor.name) or f"tensor_{index}"
        names[name if name not in names else f"{name}#{index}"] = None
    return list(names)


def _tensor(name: str, tensor: Any, buffers: list[Any]) -> GraphTensor:
    shape = tuple(int(size) for size in listed(tensor.shape))
    dtype = dtypes.names()[tensor.type]
    raw = buffers[tensor.buffer].data if tensor.buffer else None
    data = None
    if raw is not None and len(raw):
        numpy_dtype = dtypes.numpy_dtype(dtype)
        data = np.array(raw, np.uint8)
        if numpy_dtype is not None:
            data = data.view(numpy_dtype.newbyteorder("<")).astype(numpy_dtype).reshape(shape)
    return GraphTensor(name, shape, dtype, data, _quantization(tensor.quantization), bool(tensor.isVariable))


def _quantization(quantization: Any) -> Quantization | None:
    scale = tuple(float(value) for value in listed(quantization.scale)) if quantization is not None else ()
    if not scale:
        return None
    zero_point = tuple(int(value) for value in listed(quantization.zeroPoint)) or (0,) * len(scale)
    return Quantization(scale, zero_point, int(quantization.quantizedDimension))


def _operator(operator: Any, codes: list[Any], names: list[str]) -> GraphOperator:
    code = codes[operator.opcodeIndex]
    # files older than the 32-bit field hold the builtin in the 8-bit one
    builtin = options.enum_names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]
    fields: dict[str, Any] = {}
    if builtin == "CUSTOM":
        fields["customCode"] = text(code.customCode)
        if operator.customOptions is not None:
            fields["customOptions"] = bytes(bytearray(operator.customOptions))
    else:
        table = operator.builtinOptions if operator.builtinOptions is not None else operator.builtinOptions2
        fields = options.complete(builtin, options.to_names(table) if table is not None else {})
    return GraphOperator(
        builtin,
        [None if index < 0 else names[index] for index in listed(operator.inputs)],
        [_named(names, index) for index in listed(operator.outputs)],
        fields,
        intermediates=[_named(names, index) for index in listed(operator.intermediates)],
    )


def _named(names: list[str], index: int) -> str:
    if index < 0:
        raise IndexError(f"tensor {index}")
    return names[index]


def _public_names(model: Any, subgraph: Any, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Public name -> tensor name of inputs and outputs: the signature's, else the tensors' own."""
    inputs = {_named(names, index): _named(names, index) for index in listed(subgraph.inputs)}
    outputs = {_named(names, index): _named(names, index) for index in listed(subgraph.outputs)}
    signatures = listed(model.signatureDefs)
    if not signatures:
        return inputs, outputs
    return _signed(signatures[0].inputs, inputs, names), _signed(signatures[0].outputs, outputs, names)


def _signed(maps: Any, fallback: dict[str, str], names: list[str]) -> dict[str, str]:
    """A signature's names in the subgraph's order (a signature itself has none that matters)."""
    named: dict[str, list[str]] = {}
    for item in listed(maps):
        named.setdefault(_named(names, item.tensorIndex), []).append(text(item.name))
    if set(named) != set(fallback.values()):
        return fallback
    return {public: tensor for tensor in fallback.values() for public in named[tensor]}
