"""Operator versions: which version of a builtin an operator needs.

From the table of the TFLite runtime:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/op_version.cc
"""

from __future__ import annotations

from converters.graph.ir import Graph, GraphOperator, GraphTensor

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
    "AVERAGE_POOL_2D": {"int16": 3},
    "BATCH_MATMUL": {"int16": 3},
    "BROADCAST_TO": {"int8": 3, "int16": 3},
    "CONCATENATION": {"int16": 3},
    "DEPTH_TO_SPACE": {"int8": 2},
    "EQUAL": {"int16": 4},
    "EXP": {"int8": 2, "int16": 2},
    "FILL": {"int8": 3, "int16": 3, "bool": 2},
    "FLOOR_DIV": {"float32": 2, "int8": 3, "int16": 3},
    "FLOOR_MOD": {"int8": 2, "int16": 2},
    "GATHER": {"int16": 4, "bool": 3},
    "GATHER_ND": {"int16": 3, "bool": 5},
    "GELU": {"int8": 2, "uint8": 2},
    "GREATER": {"int8": 2},
    "GREATER_EQUAL": {"int8": 2, "int16": 3},
    "LESS": {"int8": 2, "int16": 3},
    "LESS_EQUAL": {"int8": 2},
    "LOGISTIC": {"int16": 3},
    "MAXIMUM": {"int16": 4},
    "MAX_POOL_2D": {"int16": 3},
    "MEAN": {"int16": 3},
    "MINIMUM": {"int16": 4},
    "MIRROR_PAD": {"int16": 3},
    "MUL": {"int64": 5, "int16": 7},
    "PACK": {"int16": 3},
    "PAD": {"int16": 3},
    "PADV2": {"int16": 3},
    "RANGE": {"int64": 2},
    "REDUCE_MAX": {"int16": 3},
    "REDUCE_MIN": {"int16": 3},
    "REDUCE_PROD": {"int8": 2, "int16": 2},
    "RELU": {"uint8": 2, "int16": 3},
    "RELU6": {"int16": 3},
    "REVERSE_V2": {"int8": 3, "bool": 2},
    "RSQRT": {"int8": 2, "int16": 3},
    "SIGN": {"int32": 2},
    "SLICE": {"int16": 4},
    "SOFTMAX": {"int16": 3},
    "SPACE_TO_DEPTH": {"int8": 2},
    "SPLIT": {"int32": 3, "int16": 4},
    "SPLIT_V": {"int8": 2},
    "STRIDED_SLICE": {"bool": 3},
    "SUB": {"int64": 4, "int16": 5},
    "TANH": {"int16": 3},
    "TILE": {"int8": 3},
    "TOPK_V2": {"int8": 2, "int16": 3},
    "UNPACK": {"int8": 2, "uint8": 2, "bool": 3, "int16": 4},
}
_OVER_FOUR_AXES = {"PAD": 4, "PADV2": 4, "SLICE": 5, "STRIDED_SLICE": 4}
_FOR_MANY_AXES = {"DIV": 2, "MAXIMUM": 3, "MINIMUM": 3, "SUB": 3}
_MAX_PLAIN_BROADCAST = 4  # axes


def version(graph: Graph, operator: GraphOperator) -> int:
    """The least version of the builtin that computes this operator, or a later one that its file states."""
    return max(operator.stated_version, _needed(graph, operator))


def _needed(graph: Graph, operator: GraphOperator) -> int:
    tensors = [graph.tensors[name] for name in (*operator.inputs, *operator.outputs) if name is not None]
    dtypes = {tensor.dtype for tensor in tensors}
    int8 = "int8" in dtypes
    if operator.type == "FULLY_CONNECTED":
        return _fully_connected(graph, operator)
    if operator.type == "CONV_2D":
        grouped = tensors[0].shape[-1:] != tensors[1].shape[-1:]
        hybrid = 5 if _per_channel(tensors[1]) else 2
        return 6 if grouped else 1 if not int8 else 3 if tensors[0].dtype == "int8" else hybrid
    if operator.type == "TRANSPOSE_CONV":
        return 3 if len(operator.inputs) > 3 else 2 if int8 else 1
    if operator.type in ("QUANTIZE", "DEQUANTIZE"):
        return _scaled(operator.type, tensors)
    if operator.type in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        return _resize(operator, tensors[0].dtype)
    if operator.type == "DEPTHWISE_CONV_2D":
        dilated = any(operator.options.get(f"dilation{side}Factor", 1) != 1 for side in "HW")
        hybrid = 6 if _per_channel(tensors[1]) else 4
        return (3 if tensors[0].dtype == "int8" else hybrid) if int8 else 2 if dilated else 1
    if operator.type == "EMBEDDING_LOOKUP":
        return 4 if tensors[1].dtype == "int4" or _per_channel(tensors[1]) else 1
    if operator.type == "BATCH_MATMUL" and tensors[0].dtype == "float32" and int8:
        return 4 if operator.options.get("asymmetricQuantizeInputs") else 1
    if operator.type == "TRANSPOSE":
        return _transpose(len(tensors[0].shape), tensors[0].dtype)
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


def _scaled(builtin: str, tensors: list[GraphTensor]) -> int:
    """QUANTIZE and DEQUANTIZE: by the integers' dtype, and whether each channel has a scale."""
    held = tensors[-1] if builtin == "QUANTIZE" else tensors[0]
    if held.dtype == "int4":
        return 4 if builtin == "QUANTIZE" else 6
    if _per_channel(held):
        return 3 if builtin == "QUANTIZE" else 5
    if builtin == "QUANTIZE":
        return 2 if held.dtype == "int16" or tensors[0].dtype != "float32" else 1
    return {"int8": 2, "int16": 3, "float16": 3}.get(held.dtype, 1)


def _resize(operator: GraphOperator, dtype: str) -> int:
    centred, aligned = operator.options.get("halfPixelCenters"), operator.options.get("alignCorners")
    if dtype == "int16":
        return 4
    if centred or (aligned and operator.type == "RESIZE_NEAREST_NEIGHBOR"):
        return 3
    return 2 if dtype == "int8" else 1


def _transpose(rank: int, dtype: str) -> int:
    if rank > 5:
        return 6
    if dtype == "int16":
        return 5
    if rank > _MAX_PLAIN_BROADCAST:
        return 4
    return {"bool": 3, "int8": 2}.get(dtype, 1)


def _per_channel(tensor: GraphTensor) -> bool:
    return tensor.quantization is not None and len(tensor.quantization.scale) > 1


def _fully_connected(graph: Graph, operator: GraphOperator) -> int:
    held, values = graph.tensors[operator.inputs[1] or ""], graph.tensors[operator.inputs[0] or ""]
    hybrid = values.dtype == "float32" and held.dtype == "int8"
    if hybrid and _per_channel(held):
        return 12
    if len(operator.inputs) < 3 or operator.inputs[2] is None:
        return 6
    if operator.options.get("keepNumDims"):
        return 5
    if hybrid:
        return 9 if operator.options.get("asymmetricQuantizeInputs") else 3
    return 4 if held.dtype == "int8" else 1
