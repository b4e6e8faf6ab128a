"""Operator versions: which version of a builtin an operator needs, and which runtime has it.

From the tables of the TFLite runtime:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/op_version.cc
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/runtime_version.cc
The latter ends with 2.10; of what is newer, 2.14.0 stands for what tflite-runtime 2.14.0 was seen to load.
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
# builtin -> the version for a dtype of its data, where it is not that of float32
_FOR_DTYPE: dict[str, dict[str, int]] = {
    "ABS": {"int32": 5, "int16": 4, "int8": 2},
    "ADD": {"int64": 4, "int16": 5},
    "ARG_MAX": {"int8": 2, "bool": 3},
    "ARG_MIN": {"int8": 2, "bool": 3},
    "BATCH_MATMUL": {"int16": 3},
    "BROADCAST_TO": {"int8": 3, "int16": 3},
    "CONCATENATION": {"int16": 3},
    "DEPTH_TO_SPACE": {"int8": 2},
    "EQUAL": {"int16": 4},
    "EXP": {"int8": 2, "int16": 2},
    "FILL": {"int8": 3, "int16": 3, "bool": 2},
    "FLOOR_MOD": {"int8": 2, "int16": 2},
    "GATHER": {"int16": 4, "bool": 3},
    "GATHER_ND": {"int16": 3, "bool": 5},
    "GELU": {"int8": 2, "uint8": 2},
    "GREATER": {"int8": 2},
    "GREATER_EQUAL": {"int8": 2, "int16": 3},
    "LESS": {"int8": 2, "int16": 3},
    "LESS_EQUAL": {"int8": 2},
    "MAXIMUM": {"int16": 4},
    "MEAN": {"int16": 3},
    "MINIMUM": {"int16": 4},
    "MIRROR_PAD": {"int16": 3},
    "MUL": {"int64": 5, "int16": 7},
    "PACK": {"int16": 3},
    "PAD": {"int16": 3},
    "PADV2": {"int16": 3},
    "REDUCE_MAX": {"int16": 3},
    "REDUCE_MIN": {"int16": 3},
    "REDUCE_PROD": {"int8": 2, "int16": 2},
    "REVERSE_V2": {"int8": 3, "bool": 2},
    "SIGN": {"int32": 2},
    "SLICE": {"int16": 4},
    "SPACE_TO_DEPTH": {"int8": 2},
    "SPLIT": {"int32": 3, "int16": 4},
    "SPLIT_V": {"int8": 2},
    "STRIDED_SLICE": {"bool": 3},
    "SUB": {"int64": 4, "int16": 5},
    "TILE": {"int8": 3},
    "TOPK_V2": {"int8": 2, "int16": 3},
}
_OVER_FOUR_AXES = {"PAD": 4, "PADV2": 4, "SLICE": 5, "STRIDED_SLICE": 4}
_FOR_MANY_AXES = {"DIV": 2, "MAXIMUM": 3, "MINIMUM": 3, "SUB": 3}
# builtin -> the first runtime that has its version 1, 2, ...; 1.14.0 for one that is not named here
_RUNTIMES: dict[str, str] = {
    "ABS": "1.13.0 2.4.0 2.5.0 2.6.0 2.14.0",
    "ADD": "1.5.0 1.14.0 2.4.0 2.6.0 2.14.0",
    "ARG_MAX": "1.9.0 1.14.0 2.9.0",
    "ARG_MIN": "1.9.0 1.14.0 2.9.0",
    "ATAN2": "2.10.0",
    "AVERAGE_POOL_2D": "1.5.0 1.14.0",
    "BATCH_MATMUL": "2.3.0 2.3.0 2.4.0",
    "BITCAST": "2.14.0",
    "BITWISE_XOR": "2.14.0",
    "BROADCAST_TO": "2.5.0 2.5.0 2.5.0",
    "CAST": "1.5.0 2.7.0 2.8.0 2.9.0 2.14.0",
    "CEIL": "1.14.0",
    "CONCATENATION": "1.5.0 1.14.0 2.3.0",
    "CONV_2D": "1.5.0 1.14.0 1.14.0",
    "COS": "1.14.0",
    "CUMSUM": "2.4.0",
    "DEPTHWISE_CONV_2D": "1.5.0 1.12.0 1.14.0",
    "DEPTH_TO_SPACE": "2.1.0 2.5.0",
    "DEQUANTIZE": "1.13.1 1.14.0 1.15.0",
    "DIV": "1.6.0 2.3.0",
    "ELU": "1.14.0",
    "EQUAL": "1.14.0 1.14.0 2.3.0 2.14.0",
    "EXP": "1.7.0 2.11.0",
    "FILL": "1.13.0 2.3.0 2.5.0",
    "FLOOR": "1.9.0",
    "FLOOR_MOD": "1.13.0 2.14.0",
    "FULLY_CONNECTED": "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0",
    "GATHER": "1.6.0 1.14.0 1.15.0 2.4.0 2.5.0",
    "GATHER_ND": "1.14.0 2.3.0 2.5.0 2.14.0 2.15.0",
    "GELU": "2.9.0 2.9.0",
    "GREATER": "1.14.0",
    "GREATER_EQUAL": "1.14.0 1.14.0 2.14.0",
    "HARD_SWISH": "1.15.0",
    "LEAKY_RELU": "1.13.1 2.3.0",
    "LESS": "1.14.0 1.14.0 2.14.0",
    "LESS_EQUAL": "1.14.0",
    "LOG": "1.14.0",
    "LOGICAL_AND": "1.11.0",
    "LOGICAL_NOT": "1.11.0",
    "LOGICAL_OR": "1.11.0",
    "MAXIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MAX_POOL_2D": "1.5.0 1.14.0",
    "MEAN": "1.6.0 1.14.0 2.4.0",
    "MINIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MIRROR_PAD": "1.13.1 2.3.0 2.14.0",
    "MUL": "1.5.0 1.14.0 1.15.0 2.3.0 2.6.0 2.11.0 2.14.0",
    "NEG": "1.9.0",
    "NOT_EQUAL": "1.14.0",
    "ONE_HOT": "1.11.0",
    "PACK": "1.11.0 1.14.0 2.3.0",
    "PAD": "1.5.0 1.14.0 2.4.0 2.6.0",
    "PADV2": "1.9.0 1.14.0 2.4.0 2.6.0",
    "POW": "1.10.0",
    "PRELU": "1.8.0",
    "QUANTIZE": "1.14.0 1.15.0",
    "REDUCE_ALL": "2.6.0",
    "REDUCE_ANY": "1.11.0",
    "REDUCE_MAX": "1.11.0 1.14.0 2.5.0",
    "REDUCE_MIN": "1.11.0 1.14.0 2.5.0",
    "REDUCE_PROD": "1.11.0 2.6.0",
    "RELU": "1.5.0 2.1.0",
    "RELU6": "1.5.0 1.14.0",
    "RELU_0_TO_1": "2.10.0",
    "RELU_N1_TO_1": "1.5.0",
    "RESHAPE": "1.5.0",
    "RESIZE_BILINEAR": "1.7.0 1.14.0 2.2.0 2.5.0",
    "RESIZE_NEAREST_NEIGHBOR": "1.13.1 1.14.0 2.3.0 2.4.0",
    "REVERSE_SEQUENCE": "1.14.0",
    "REVERSE_V2": "1.14.0 2.2.0 2.5.0",
    "RIGHT_SHIFT": "2.14.0",
    "ROUND": "1.14.0",
    "RSQRT": "1.10.0 2.5.0",
    "SCATTER_ND": "2.1.0",
    "SELECT_V2": "2.2.0",
    "SIGN": "2.14.0 2.14.0",
    "SIN": "1.9.0",
    "SLICE": "1.14.0 1.14.0 1.14.0 2.4.0 2.5.0",
    "SOFTMAX": "1.5.0 1.14.0",
    "SPACE_TO_DEPTH": "1.5.0 1.14.0",
    "SPLIT": "1.5.0 1.14.0 1.14.0 2.3.0",
    "SPLIT_V": "1.13.1 2.3.0",
    "SQRT": "1.10.0",
    "STRIDED_SLICE": "1.6.0 1.14.0 2.1.0 2.2.0",
    "SUB": "1.6.0 1.14.0 2.3.0 2.4.0 2.4.0",
    "SUM": "1.10.0 1.15.0",
    "TILE": "1.10.1 2.2.0 2.8.0",
    "TOPK_V2": "1.7.0 1.14.0 2.14.0",
    "TRANSPOSE": "1.6.0 1.14.0 1.15.0 2.3.0 2.4.0 2.12.0",
    "UNPACK": "1.11.0 1.14.0 2.2.0 2.3.0",
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
    if operator.type == "CAST":
        return 5 if "float16" in dtypes else 3 if int8 else 1
    if operator.type in _OVER_FOUR_AXES and len(tensors[0].shape) > _MAX_PLAIN_BROADCAST:
        return _OVER_FOUR_AXES[operator.type]
    if operator.type in _FOR_MANY_AXES and tensors[0].shape != tensors[1].shape:
        rank = max(len(tensor.shape) for tensor in tensors)
        if rank > _MAX_PLAIN_BROADCAST:
            return _FOR_MANY_AXES[operator.type]
    first = 2 if operator.type == "BROADCAST_TO" else 1  # its version 1 was taken back
    data = tensors[1 if operator.type in ("FILL", "SPLIT") else 0].dtype
    known = _FOR_DTYPE.get(operator.type, {}).get(data)
    return known or (2 if int8 and operator.type in _SECOND_FOR_INT8 else first)


def _transpose(rank: int, dtype: str) -> int:
    if rank > 5:
        return 6
    if dtype == "int16":
        return 5
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
