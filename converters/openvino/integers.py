"""Which operators of a quantised IR compute with integers; decided from what each reads, nothing runs.

OpenVINO's integer operators are written as float ones behind FakeQuantize; what it does with them when it
loads the model follows from that.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

# that have integer kernels, if all that they read is quantised
KERNELS = frozenset(
    ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul",
     "Add", "Subtract", "Multiply", "Maximum", "Minimum", "AvgPool", "AdaptiveAvgPool", "ReduceMean",
     "ReduceSum", "Interpolate", "LSTMSequence", "GRUSequence")
)  # fmt: skip
# that hand quantised values on
CARRIERS = frozenset(
    ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "VariadicSplit", "StridedSlice",
     "Slice", "Gather", "Pad", "MaxPool", "ReduceMax", "ReduceMin", "Broadcast", "Tile", "DepthToSpace",
     "SpaceToDepth", "ShuffleChannels", "Convert", "Relu", "Clamp")
)  # fmt: skip
# that are computed with the operator before them, on its way out
FUSED = frozenset(
    ("Add", "Subtract", "Multiply", "Relu", "PRelu", "Clamp", "Sigmoid", "Swish", "HSwish", "HSigmoid",
     "Gelu", "Elu", "Tanh", "Abs", "Mish", "SoftPlus")
)  # fmt: skip


@frozen
class Node:
    """An operator of an IR, without those that only make constants.

    `reads` are the operators whose results it reads, inputs of the model by their own names; `constants` how
    many of its operands are constant; `floats` whether it reads or gives floating point.
    """

    name: str
    type: str
    reads: tuple[str, ...]
    constants: int
    floats: bool


def float_operators(nodes: Sequence[Node]) -> frozenset[str]:
    """The names of those that compute in floating point, of nodes in execution order.

    FakeQuantize and Convert are none: they are how values come to be integers.
    """
    quantised: set[str] = set()  # what they give is
    integer: set[str] = set()
    for node in nodes:
        held = bool(node.reads) and all(name in quantised for name in node.reads)
        behind = bool(node.reads) and all(name in quantised or name in integer for name in node.reads)
        if node.type == "FakeQuantize":
            quantised.add(node.name)
        elif node.type in CARRIERS and held:
            quantised.add(node.name)
            integer.add(node.name)
        elif (node.type in KERNELS and held) or (node.type in FUSED and behind):
            integer.add(node.name)
        elif node.type in CARRIERS and behind and node.type not in ("Relu", "Clamp"):
            integer.add(node.name)  # moves what an integer operator gives
    return frozenset(
        node.name
        for node in nodes
        if node.floats and node.name not in integer and node.type not in ("FakeQuantize", "Convert")
    )
