"""Operator versions: which version of a builtin an operator needs, and which runtime has it.

From the tables of the TFLite runtime:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/op_version.cc
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/runtime_version.cc
"""

from __future__ import annotations

from converters.graph.ir import Graph, GraphOperator

_SECOND_FOR_INT8 = frozenset(
    (
        "ADD",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CONCATENATION",
        "DEQUANTIZE",
        "EQUAL",
        "GATHER",
        "L2_NORMALIZATION",
        "LEAKY_RELU",
        "LOGISTIC",
        "LOG_SOFTMAX",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "MUL",
        "NOT_EQUAL",
        "PACK",
        "PAD",
        "PADV2",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SPLIT",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
    )
)
_FOR_INT64 = {"ADD": 4, "MUL": 5, "SUB": 4}
_FOR_MANY_AXES = {"DIV": 2, "MAXIMUM": 3, "MINIMUM": 3, "SUB": 3}
# builtin -> the first runtime that has its version 1, 2, ...; 1.14.0 for one that is not named here
_RUNTIMES: dict[str, str] = {
    "ABS": "1.13.0",
    "ADD": "1.5.0 1.14.0 2.4.0 2.6.0",
    "AVERAGE_POOL_2D": "1.5.0 1.14.0",
    "BATCH_MATMUL": "2.3.0 2.3.0",
    "CAST": "1.5.0",
    "CONCATENATION": "1.5.0 1.14.0",
    "CONV_2D": "1.5.0 1.14.0 1.14.0",
    "DEPTHWISE_CONV_2D": "1.5.0 1.12.0 1.14.0",
    "DEQUANTIZE": "1.13.1 1.14.0 1.15.0",
    "DIV": "1.6.0 2.3.0",
    "EXP": "1.7.0",
    "FLOOR": "1.9.0",
    "FULLY_CONNECTED": "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0",
    "HARD_SWISH": "1.15.0",
    "LEAKY_RELU": "1.13.1 2.3.0",
    "MAXIMUM": "1.14.0 1.14.0 2.3.0",
    "MAX_POOL_2D": "1.5.0 1.14.0",
    "MEAN": "1.6.0 1.14.0",
    "MINIMUM": "1.14.0 1.14.0 2.3.0",
    "MIRROR_PAD": "1.13.1 2.3.0",
    "MUL": "1.5.0 1.14.0 1.15.0 2.3.0 2.6.0",
    "NEG": "1.9.0",
    "PAD": "1.5.0 1.14.0",
    "PADV2": "1.9.0 1.14.0",
    "POW": "1.10.0",
    "QUANTIZE": "1.14.0 1.15.0",
    "REDUCE_MAX": "1.11.0 1.14.0",
    "REDUCE_MIN": "1.11.0 1.14.0",
    "RELU": "1.5.0 2.1.0",
    "RELU6": "1.5.0 1.14.0",
    "RELU_0_TO_1": "2.10.0",
    "RELU_N1_TO_1": "1.5.0",
    "RESHAPE": "1.5.0",
    "SIN": "1.9.0",
    "SOFTMAX": "1.5.0 1.14.0",
    "SQRT": "1.10.0",
    "SUB": "1.6.0 1.14.0 2.3.0 2.4.0",
    "SUM": "1.10.0 1.15.0",
    "TRANSPOSE": "1.6.0 1.14.0 1.15.0 2.3.0 2.4.0 2.12.0",
}
_MAX_PLAIN_BROADCAST = 4  # axes


def version(graph: Graph, operator: GraphOperator) -> int:
    """The least version of the builtin that computes this operator."""
    tensors = [graph.tensors[name] for name in (*operator.inputs, *operator.outputs) if name is not None]
    dtypes = {tensor.dtype for tensor in tensors}
    int8 = "int8" in dtypes
    if operator.type == "FULLY_CONNECTED":
        return _fully_connected(graph, operator)
    if operator.type == "CONV_2D":
        return 3 if int8 else 1
    if operator.type == "DEPTHWISE_CONV_2D":
        dilated = any(operator.options.get(f"dilation{side}Factor", 1) != 1 for side in "HW")
        return 3 if int8 else 2 if dilated else 1
    if operator.type == "TRANSPOSE":
        return _transpose(len(tensors[0].shape), tensors[0].dtype)
    if operator.type == "DEQUANTIZE" and "float16" in dtypes:
        return 3
    if operator.type in _FOR_INT64 and "int64" in dtypes:
        return _FOR_INT64[operator.type]
    if operator.type in _FOR_MANY_AXES and tensors[0].shape != tensors[1].shape:
        rank = max(len(tensor.shape) for tensor in tensors)
        if rank > _MAX_PLAIN_BROADCAST:
            return _FOR_MANY_AXES[operator.type]
    if operator.type == "BROADCAST_TO":
        return 3 if len(tensors[-1].shape) > 8 else 2
    return 2 if int8 and operator.type in _SECOND_FOR_INT8 else 1


def _transpose(rank: int, dtype: str) -> int:
    if rank > 5:
        return 6
    if rank > _MAX_PLAIN_BROADCAST:
        return 4
    return {"bool": 3, "int8": 2}.get(dtype, 1)


def _fully_connected(graph: Graph, operator: GraphOperator) -> int:
    if len(operator.inputs) < 3 or operator.inputs[2] is None:
        return 6
    if operator.options.get("keepNumDims"):
        return 5
    weights = graph.tensors[operator.inputs[1] or ""].dtype
    activations = graph.tensors[operator.inputs[0] or ""].dtype
    return 1 if weights != "int8" else 4 if activations == "int8" else 3


def least_runtime(used: set[tuple[str, int]]) -> str:
    """The first runtime that has all of these (builtin, version) pairs."""
    found = {"1.5.0"}
    for builtin, number in used:
        known = _RUNTIMES.get(builtin, "1.14.0").split()
        found.add(known[min(number, len(known)) - 1])
    return max(found, key=lambda text: tuple(map(int, text.split("."))))
