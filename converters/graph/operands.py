"""Whether operators have the operands that their builtin needs: what rewrites and costs rely on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from converters.graph.ir import Graph, GraphOperator
from device_agent.errors import InvalidModel

_ONE = (
    "ABS ADD_N CAST CEIL CONCATENATION COS DEQUANTIZE ELU EXP FLOOR GELU HARD_SWISH L2_NORMALIZATION "
    "LEAKY_RELU LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX NEG PACK QUANTIZE RANK RELU RELU6 RELU_0_TO_1 "
    "RELU_N1_TO_1 RESHAPE ROUND RSQRT SHAPE SIGN SIN SOFTMAX SQRT SQUARE SQUEEZE TANH UNPACK ZEROS_LIKE"
)
_TWO = (
    "ADD ARG_MAX ARG_MIN ATAN2 BATCH_MATMUL BITWISE_XOR BROADCAST_TO CUMSUM DIV EQUAL EXPAND_DIMS FILL "
    "FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR "
    "MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NOT_EQUAL PAD POW PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX "
    "REDUCE_MIN REDUCE_PROD REVERSE_V2 RIGHT_SHIFT SPLIT SQUARED_DIFFERENCE SUB SUM TILE TOPK_V2 "
    "TRANSPOSE"
)
_THREE = "PADV2 RANGE SCATTER_ND SELECT SELECT_V2 SLICE SPLIT_V"
# builtin -> the ranks of the inputs it needs, None where any will do
_RANKS: dict[str, tuple[int | None, ...]] = {
    **dict.fromkeys(_ONE.split(), (None,)),
    **dict.fromkeys(_TWO.split(), (None, None)),
    **dict.fromkeys(_THREE.split(), (None, None, None)),
    **dict.fromkeys(("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"), (4,)),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "LOCAL_RESPONSE_NORMALIZATION"), (4,)),
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"), (None, None, None)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), (4, 4)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (4, None)),
    **dict.fromkeys(("ONE_HOT", "STRIDED_SLICE"), (None, None, None, None)),
    **dict.fromkeys(("LSTM", "RNN", "SVDF"), (2,)),
    **dict.fromkeys(("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"), (3,)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (3,),
    "CONV_3D": (5, 5),
    "CONV_3D_TRANSPOSE": (None, 5, 5),
    "FULLY_CONNECTED": (None, 2),
    "TRANSPOSE_CONV": (None, 4, 4),
}


def check(graph: Graph, where: str) -> None:
    """Refuse operators without the inputs or outputs of their builtin, or of other ranks.

    Raises:
        InvalidModel: names the operator; `where` names the file in it.
    """
    for index, operator in enumerate(graph.operators):
        for problem in _problems(graph, operator):
            raise InvalidModel(
                "an operator's tensors do not fit it",
                where=f"{where}: operator {index} ({operator.type})",
                got=problem,
                next_step="Make the file anew: no runtime could run this one.",
            )


def _problems(graph: Graph, operator: GraphOperator) -> Iterator[str]:
    ranks = _RANKS.get(operator.type)
    if ranks is None:
        return
    if not operator.outputs:
        yield "no output"
    for place, rank in enumerate(ranks):
        name = operator.inputs[place] if place < len(operator.inputs) else None
        if name is None:
            yield f"no input {place}"
        elif rank is not None and len(graph.tensors[name].shape) != rank:
            yield f"input {place} of shape {list(graph.tensors[name].shape)}, where rank {rank} is needed"
    if operator.type == "RESHAPE":
        source, made = graph.tensors[operator.inputs[0] or ""].shape, graph.tensors[operator.outputs[0]].shape
        if math.prod(source) != math.prod(made):
            yield f"shapes {list(source)} and {list(made)}"
    if operator.type == "TRANSPOSE":
        order = graph.constant(operator.inputs[1])
        rank = len(graph.tensors[operator.inputs[0] or ""].shape)
        if order is not None and sorted(order.ravel().tolist()) != list(range(rank)):
            yield f"axes {order.tolist()} of {rank}"
