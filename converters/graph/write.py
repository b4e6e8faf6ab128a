"""A graph as the bytes of a TFLite file."""

from __future__ import annotations

import hashlib
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import dtypes, options
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.runtimes import least_runtime
from converters.graph.verify import verify
from converters.graph.versions import version
from device_agent.bundle import Quantization

SIGNATURE = "serving_default"
RUNTIME_KEY = "min_runtime_version"  # of the metadata
_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # bytes, of every constant in the file: the schema's force_align


class Buffer(schema.BufferT):  # type: ignore[misc]  # the schema module has no types
    """A buffer whose data is aligned as the schema asks, which the generated packer does not do."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the name that the generated code calls
        """Write the buffer; gives its place."""
        if self.data is None:
            packed: int = super().Pack(builder)
            return packed
        size = self.data.nbytes
        builder.StartVector(1, size, _ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = self.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        end: int = schema.BufferEnd(builder)
        return end


class _Buffers:
    """The file's buffers, equal ones once; buffer 0 is the empty one.

    They are views of the constants: a copy of each would be one of all the weights.
    """

    def __init__(self) -> None:
        self.all = [Buffer()]
        self._known: dict[bytes, int] = {}

    def add(self, data: memoryview) -> int:
        """The index of a buffer with these bytes."""
        digest = hashlib.sha256(data).digest()
        if digest not in self._known:
            buffer = Buffer()
            buffer.data = data
            self._known[digest] = len(self.all)
            self.all.append(buffer)
        return self._known[digest]


def write(graph: Graph) -> bytes:
    """The graph as a TFLite flatbuffer with the signature `serving_default` over its public names.

    Raises:
        InvalidModel: the graph is not well-formed (see `verify`).
    """
    verify(graph)
    buffers = _Buffers()
    place = {name: index for index, name in enumerate(graph.tensors)}
    codes: dict[tuple[str, int, str], int] = {}

    subgraph = schema.SubGraphT()
    subgraph.name = "main"
    subgraph.tensors = [_tensor(tensor, buffers) for tensor in graph.tensors.values()]
    subgraph.inputs = _indices(list(graph.inputs.values()), place)
    subgraph.outputs = _indices(list(graph.outputs.values()), place)
    subgraph.operators = [_operator(graph, op, place, codes) for op in graph.operators]

    model = schema.ModelT()
    model.version = _SCHEMA_VERSION
    model.description = "edge-deployment-sdk"
    model.operatorCodes = [_code(*key) for key in codes]
    model.subgraphs = [subgraph]
    model.signatureDefs = [_signature(graph, place)]
    model.metadata = [schema.MetadataT()]
    model.metadata[0].name = RUNTIME_KEY
    runtime = least_runtime({(builtin, number) for builtin, number, _ in codes})
    model.metadata[0].buffer = buffers.add(memoryview(runtime.encode().ljust(_ALIGNMENT, b"\0")))
    model.buffers = buffers.all
    return pack(model)


def pack(model: Any) -> bytes:
    """A model of the object API, its buffers `Buffer`s, as the bytes of a file."""
    # a builder that has to grow copies all it holds
    held = sum(buffer.data.nbytes + 64 for buffer in model.buffers if buffer.data is not None)
    tables = sum(len(graph.tensors) + len(graph.operators) for graph in model.subgraphs)
    builder = flatbuffers.Builder(held + 4096 + 256 * tables)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _indices(names: list[str], place: dict[str, int]) -> np.ndarray:
    return np.array([place[name] for name in names], np.int32)


def _tensor(tensor: GraphTensor, buffers: _Buffers) -> Any:
    made = schema.TensorT()
    made.name = tensor.name
    made.shape = np.array(tensor.shape, np.int32)
    if tensor.signature is not None:
        made.shapeSignature = np.array(tensor.signature, np.int32)
    made.hasRank = True
    made.type = dtypes.values()[tensor.dtype]
    made.isVariable = tensor.variable
    if tensor.data is not None and tensor.data.size:
        little = tensor.data.astype(tensor.data.dtype.newbyteorder("<"), copy=False)
        made.buffer = buffers.add(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    if tensor.quantization is not None:
        made.quantization = _quantization(tensor.quantization)
    return made


def _quantization(quantization: Quantization) -> Any:
    made = schema.QuantizationParametersT()
    made.scale = np.array(quantization.scale, np.float32)
    made.zeroPoint = np.array(quantization.zero_point, np.int64)
    made.quantizedDimension = quantization.axis
    return made


def _operator(
    graph: Graph, operator: GraphOperator, place: dict[str, int], codes: dict[tuple[str, int, str], int]
) -> Any:
    made = schema.OperatorT()
    custom = str(operator.options.get("customCode", "")) if operator.type == "CUSTOM" else ""
    made.opcodeIndex = codes.setdefault((operator.type, version(graph, operator), custom), len(codes))
    made.inputs = np.array([-1 if name is None else place[name] for name in operator.inputs], np.int32)
    made.outputs = _indices(operator.outputs, place)
    if operator.intermediates:
        made.intermediates = _indices(operator.intermediates, place)
    if operator.type == "CUSTOM" and "customOptions" in operator.options:
        made.customOptions = np.frombuffer(operator.options["customOptions"], np.uint8)
    table = options.to_object(operator.type, operator.options)
    if table is not None and table[1] == 1:
        made.builtinOptions, _, made.builtinOptionsType = table
    elif table is not None:
        made.builtinOptions2, _, made.builtinOptions2Type = table
    return made


def _code(builtin: str, number: int, custom: str) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode = options.enum_values("BuiltinOperator")[builtin]
    # readers older than the 32-bit field look here; 127 sends them to the new one
    made.deprecatedBuiltinCode = min(made.builtinCode, 127)
    made.version = number
    if custom:
        made.customCode = custom
    return made


def _signature(graph: Graph, place: dict[str, int]) -> Any:
    made = schema.SignatureDefT()
    made.signatureKey = SIGNATURE
    made.inputs = [_named(name, place[tensor]) for name, tensor in graph.inputs.items()]
    made.outputs = [_named(name, place[tensor]) for name, tensor in graph.outputs.items()]
    return made


def _named(name: str, index: int) -> Any:
    made = schema.TensorMapT()
    made.name = name
    made.tensorIndex = index
    return made
