"""What a graph costs: multiply-accumulates, bytes of constants, bytes of the activation arena."""

from __future__ import annotations

import math

from attrs import frozen

from converters.graph import dtypes
from converters.graph.ir import Graph, GraphOperator, GraphTensor

ALIGNMENT = 64  # bytes: kDefaultTensorAlignment of the TFLite runtime
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16}  # of dtypes that NumPy has not


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one run of the graph; see `macs_of`."""
    return sum(macs_of(graph, operator) for operator in graph.operators)


def macs_of(graph: Graph, operator: GraphOperator) -> int:
    """Multiply-accumulates of one run of an operator; 0 for all that multiply no weights or matrices.

    With `|t|` the number of elements of a tensor, weights laid out as the schema documents them:
    CONV_2D, CONV_3D: |output| x what one output element reads; DEPTHWISE_CONV_2D: |output| x the window;
    the transposed ones: |input| x what one input element writes; FULLY_CONNECTED: |output| x columns;
    BATCH_MATMUL: |output| x the axis that is summed; recurrent cells: steps x batch x |weights|;
    SVDF: batch x |weights|.
    https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
    """
    shapes = [graph.tensors[name].shape if name is not None else () for name in operator.inputs]
    output = math.prod(graph.tensors[operator.outputs[0]].shape) if operator.outputs else 0
    match operator.type:
        case "CONV_2D":
            return output * math.prod(shapes[1][1:])
        case "DEPTHWISE_CONV_2D":
            return output * math.prod(shapes[1][1:3])
        case "CONV_3D":
            return output * math.prod(shapes[1][:4])
        case "TRANSPOSE_CONV":
            return math.prod(shapes[2]) * math.prod(shapes[1][:3])
        case "CONV_3D_TRANSPOSE":
            return math.prod(shapes[2]) * math.prod(shapes[1][:4])
        case "FULLY_CONNECTED":
            return output * shapes[1][-1]
        case "BATCH_MATMUL":
            return output * shapes[0][-2 if operator.options.get("adjX") else -1]
        case "UNIDIRECTIONAL_SEQUENCE_LSTM" | "UNIDIRECTIONAL_SEQUENCE_RNN" | "BIDIRECTIONAL_SEQUENCE_LSTM":
            return math.prod(shapes[0][:2]) * _weights(graph, operator)
        case "LSTM" | "RNN" | "SVDF":
            return math.prod(shapes[0][:1]) * _weights(graph, operator)
    return 0


def constant_bytes(graph: Graph) -> int:
    """Bytes of the constants as the file holds them: equal ones share a buffer and count once."""
    buffers = {
        tensor.data.tobytes()
        for tensor in graph.tensors.values()
        if tensor.data is not None and tensor.data.size
    }
    return sum(map(len, buffers))


def tensor_bytes(tensor: GraphTensor) -> int:
    """Bytes of a tensor's value; 0 for strings, whose size no one knows before the run."""
    dtype = dtypes.numpy_dtype(tensor.dtype)
    bits = dtype.itemsize * 8 if dtype is not None else _BITS.get(tensor.dtype, 0)
    return -(-math.prod(tensor.shape) * bits // 8)


def arena_bytes(graph: Graph) -> int:
    """Bytes of the activation arena: an estimate of what the TFLite runtime allocates.

    Greedy by size, as its ArenaPlanner does: inputs and outputs live through the run, other tensors from the
    operator that makes them to the last that reads them; the largest is placed first, each in the
    smallest gap that holds it between those that live at the same time; variables lie apart and always.
    Left out: scratch tensors of kernels, and the sharing of a buffer by an operator's input and output.
    https://github.com/google-ai-edge/LiteRT/blob/main/tflite/arena_planner.cc
    """
    variables = [tensor for tensor in graph.tensors.values() if tensor.variable]
    placed: list[_Placed] = []
    for size, first, last in sorted(_lives(graph), key=lambda life: (-life[0], life[1])):
        alive = sorted(
            (other for other in placed if other.first <= last and first <= other.last),
            key=lambda other: other.offset,
        )
        placed.append(_Placed(_offset(alive, size), size, first, last))
    activations = max((one.offset + one.size for one in placed), default=0)
    return _aligned(activations) + sum(_aligned(tensor_bytes(tensor)) for tensor in variables)


@frozen
class _Placed:
    offset: int  # bytes
    size: int  # bytes
    first: int  # operator by whose run it is needed
    last: int  # operator after whose run it is not


def _lives(graph: Graph) -> list[tuple[int, int, int]]:
    """Size in bytes, first and last operator of each tensor that lies in the arena."""
    end = len(graph.operators)
    ends = {*graph.inputs.values(), *graph.outputs.values()}
    first = dict.fromkeys(graph.inputs.values(), 0)
    last: dict[str, int] = {}
    for index, operator in enumerate(graph.operators):
        for made in operator.outputs:
            first.setdefault(made, index)
            last.setdefault(made, index)
        last.update((name, index) for name in operator.inputs if name is not None)
    lives = []
    for name, start in first.items():
        tensor = graph.tensors[name]
        if not tensor.variable and tensor.data is None:
            lives.append((tensor_bytes(tensor), start, end if name in ends else last[name]))
    return lives


def _offset(alive: list[_Placed], size: int) -> int:
    """Where a tensor of `size` bytes goes among those that live with it, in order of their offsets."""
    best, least, free = None, 0, 0
    for other in alive:
        start = _aligned(free)
        gap = other.offset - start
        if gap >= size and (best is None or gap < least):
            best, least = start, gap
        free = max(free, other.offset + other.size)
    return _aligned(free) if best is None else best


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _weights(graph: Graph, operator: GraphOperator) -> int:
    """Elements of the weight matrices, each of which a step uses once."""
    found = [graph.tensors[name] for name in operator.inputs[1:] if name is not None]
    return sum(math.prod(tensor.shape) for tensor in found if len(tensor.shape) == 2 and not tensor.variable)
