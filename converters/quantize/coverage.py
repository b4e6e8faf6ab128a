"""Which operators the quantiser makes integer; the others would stay in floating point."""

from __future__ import annotations

from converters.graph.ir import Graph, GraphOperator

# of ai-edge-quantizer's policy `static_wi8_ai8`; a test compares
INT8 = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "BROADCAST_TO",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
    }
    | {"DIV", "DYNAMIC_UPDATE_SLICE", "EQUAL", "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU", "HARD_SWISH"}
    | {"LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MIRROR_PAD", "MUL", "NOT_EQUAL", "PACK", "PAD", "PADV2"}
    | {"REDUCE_MIN", "RELU", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SELECT"}
    | {"SELECT_V2", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARED_DIFFERENCE"}
    | {"STABLEHLO_COMPOSITE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"}
)


def left_in_float(graph: Graph) -> list[GraphOperator]:
    """The operators of a float graph that have no int8 form."""
    found = []
    for operator in graph.operators:
        names = [name for name in (*operator.inputs, *operator.outputs) if name is not None]
        computes = any(graph.tensors[name].dtype.startswith("float") for name in names)
        if computes and operator.type not in INT8:
            found.append(operator)
    return found
