"""One-operator float graphs, several shapes and options of each type, to quantise and run."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import evolve, field, frozen

DRAW = np.random.default_rng(11)


@frozen
class Real:
    """An input from outside: its shape, and the range its values are drawn from and quantised to."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


@frozen
class Index:
    """An int32 input from outside, below `limit`."""

    shape: tuple[int, ...]
    limit: int


@frozen
class Flag:
    """A bool input from outside."""

    shape: tuple[int, ...]


@frozen(eq=False)
class Case:
    """A graph of one operator.

    `inputs` are `Real`, constants, or None for one that is absent; `outputs` the dtypes of its outputs, whose
    shapes LiteRT is asked for where `shapes` does not say. `steps` is how many steps of int8, and of
    int16, the output may be off.
    """

    type: str
    inputs: tuple[Real | Index | Flag | np.ndarray | None, ...]
    options: dict[str, Any] = field(factory=dict)
    outputs: tuple[str, ...] = ("float32",)
    steps: tuple[float, float] = (2, 2)
    label: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> str:
        """What a test is called."""
        shapes = [
            "x".join(map(str, given.shape)) + ("c" if isinstance(given, np.ndarray) else "")
            for given in self.inputs
            if given is not None
        ]
        return " ".join([self.type, *shapes, self.label]).strip()


def real(*shape: int, low: float = -1.0, high: float = 1.0) -> Real:
    return Real(shape, low, high)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def floats(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return DRAW.uniform(low, high, shape).astype(np.float32)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def moved(*cases: Case) -> list[Case]:
    """Operators that only move values: exact, but for one step where inputs come to one scale."""
    return [evolve(case, steps=(1, 1)) if case.steps == (2, 2) else case for case in cases]


def _unary() -> list[Case]:
    found = []
    for kind, low, high in (
        ("ABS", -3, 2), ("CEIL", -5, 5), ("COS", -4, 4), ("ELU", -4, 3), ("FLOOR", -5, 5),
        ("HARD_SWISH", -6, 5), ("LOG", 0.1, 5), ("LOGISTIC", -7, 6), ("NEG", -3, 2), ("RELU", -3, 2),
        ("RELU6", -3, 9), ("RELU_0_TO_1", -2, 3), ("RELU_N1_TO_1", -2, 3), ("ROUND", -5, 5),
        ("RSQRT", 0.3, 5), ("SIGN", -2, 3), ("SIN", -4, 4), ("SQRT", 0, 5), ("SQUARE", -3, 2),
        ("TANH", -3, 4),
    ):  # fmt: skip
        found.append(Case(kind, (real(1, 4, 5, 8, low=low, high=high),)))
        found.append(Case(kind, (real(3, 7, low=low / 2, high=high),)))
    x = real(1, 4, 5, 8, low=-4, high=3)
    return [
        *found,
        # int16: a straight line to the entry past the greatest value, which saturates
        Case("EXP", (real(1, 4, 5, 8, low=-3, high=2),), steps=(2, 100)),
        Case("EXP", (real(3, 7, low=-2, high=0.5),), steps=(2, 100)),
        Case("GELU", (x,), {"approximate": False}, label="exact"),
        Case("GELU", (x,), {"approximate": True}, label="tanh"),
        Case("LEAKY_RELU", (x,), {"alpha": 0.1}),
        Case("LEAKY_RELU", (x,), {"alpha": -0.5}, label="negative"),
        Case("PRELU", (x, floats(1, 1, 8, low=0.05, high=0.5))),
        Case("PRELU", (x, floats(1, 1, 8, low=-0.5, high=0.5)), label="negative"),
        Case("PRELU", (real(1, 6, 8, low=-4, high=3), floats(1, 8, low=0.05, high=0.5))),
        Case("POW", (real(2, 3, 8, low=-3, high=2), number(2.0)), label="2"),
        Case("POW", (real(2, 3, 8, low=0.5, high=2), floats(1, 1, 8, low=-1, high=2)), label="channels"),
        Case("POW", (real(2, 3, 8, low=0.0, high=4), number(0.5)), label="half"),
        Case("POW", (real(2, 3, 8, low=0.5, high=4), number(-1.0)), label="inverse"),
        Case("SOFTMAX", (real(4, 10, low=-6, high=5),), {"beta": 1.0}, steps=(2, 4)),
        Case("SOFTMAX", (real(1, 3, 4, 5, low=-2, high=2),), {"beta": 1.0}),
        Case("SOFTMAX", (real(4, 10, low=-6, high=5),), {"beta": 0.5}, label="beta"),
        Case("LOG_SOFTMAX", (real(4, 10, low=-3, high=3),)),
        Case("L2_NORMALIZATION", (real(4, 16, low=-3, high=3),)),
        Case("L2_NORMALIZATION", (real(1, 3, 3, 16, low=0, high=3),)),
        Case("CUMSUM", (real(2, 5, 8), ints(1)), {}),
        Case("CUMSUM", (real(2, 5, 8), ints(-1)), {"exclusive": True, "reverse": True}, label="back"),
        Case(
            "LOCAL_RESPONSE_NORMALIZATION", (real(1, 4, 4, 8),),
            {"radius": 2, "bias": 1.0, "alpha": 0.5, "beta": 0.75},
        ),
        Case("CAST", (real(4, 5, low=-4, high=3),), {"inDataType": "FLOAT32", "outDataType": "INT32"},
             ("int32",), (0, 0), "to int32"),
        Case("CAST", (real(4, 5, low=-4, high=3),), {"inDataType": "FLOAT32", "outDataType": "BOOL"},
             ("bool",), (0, 0), "to bool"),
        Case("CAST", (Flag((4, 5)),), {"inDataType": "BOOL", "outDataType": "FLOAT32"}, label="of bool"),
    ]  # fmt: skip


def _binary() -> list[Case]:
    found = []
    x, other = real(1, 4, 5, 8, low=-3, high=2), real(1, 4, 5, 8, low=-1, high=4)
    for kind in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
        fuses = kind in ("ADD", "SUB", "MUL")
        found += [
            Case(kind, (x, other)),
            Case(kind, (x, real(1, 1, 1, 8, low=-1, high=4)), label="broadcast"),
            Case(kind, (x, floats(8, low=-2, high=2))),
            Case(kind, (x, number(0.7)), label="scalar"),
            Case(kind, (real(2, 6, low=-2, high=9), real(2, 6, low=-2, high=9)), label="matrix"),
            Case(kind, (real(2, 3, 2, 2, 4), real(2, 3, 1, 1, 4, low=-1, high=4)), label="five axes"),
        ]
        if fuses:
            found.append(Case(kind, (x, other), {"fusedActivationFunction": "RELU"}, label="relu"))
            found.append(Case(kind, (x, other), {"fusedActivationFunction": "RELU6"}, label="relu6"))
    positive = real(1, 4, 5, 8, low=0.5, high=4)
    # one step of a divisor of 0.5 is 3 % of it, and of the quotient
    found += [
        Case("DIV", (x, positive)),
        Case("DIV", (x, real(1, 4, 1, 1, low=0.5, high=2)), label="broadcast"),
        Case("DIV", (x, number(3.0)), label="scalar"),
        Case("DIV", (x, floats(8, low=0.5, high=2))),
        Case("DIV", (number(1.0), positive), label="inverse"),
        Case("DIV", (x, positive), {"fusedActivationFunction": "RELU"}, label="relu"),
        Case("FLOOR_DIV", (x, number(0.5)), label="scalar"),
        Case("FLOOR_MOD", (x, number(0.75)), label="scalar"),
        Case("ATAN2", (x, other)),
        Case("ATAN2", (x, np.ones(x.shape, np.float32)), label="ones"),
        Case("ATAN2", (np.ones(x.shape, np.float32), x), label="ones first"),
        Case("ADD_N", (x, other, real(1, 4, 5, 8))),
        Case("ADD_N", (x, other)),
    ]
    # within a step the kernels decide as they round
    for kind in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
        found.append(Case(kind, (x, evolve(x)), {}, ("bool",), (0, 0)))
        found.append(Case(kind, (x, floats(8, low=-2, high=2)), {}, ("bool",), (0, 0)))
        found.append(Case(kind, (x, evolve(other, shape=(1, 1, 5, 8))), {}, ("bool",), (0, 0)))
    return found


def _reductions() -> list[Case]:
    found = []
    x = real(1, 4, 5, 8, low=-3, high=2)
    for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        found += [
            Case(kind, (x, ints(1, 2)), {"keepDims": False}, label="space"),
            Case(kind, (x, ints(1, 2)), {"keepDims": True}, label="kept"),
            Case(kind, (x, ints(-1)), {"keepDims": True}, label="last"),
            Case(kind, (real(6, 10, low=0.5, high=4), ints(0)), {"keepDims": False}, label="first"),
            Case(kind, (real(2, 3, 4, low=-2, high=9), ints(0, 1, 2)), {"keepDims": False}, label="all"),
        ]
    found += [
        Case("REDUCE_PROD", (real(2, 3, 4, low=-2, high=2), ints(2)), {"keepDims": False}),
        Case("REDUCE_PROD", (real(2, 3, 2, low=0.5, high=2), ints(-1)), {"keepDims": True}, label="kept"),
    ]
    for kind in ("ARG_MAX", "ARG_MIN"):
        for axis in (-1, 1):
            found.append(
                Case(kind, (real(2, 5, 9), ints(axis).reshape(())), {"outputType": "INT32"}, ("int32",),
                     (0, 0), f"axis {axis}")
            )  # fmt: skip
    return found


def _pools() -> list[Case]:
    found = []
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
        for padding, size, stride in (("VALID", 2, 2), ("SAME", 3, 2), ("SAME", 3, 1)):
            label = f"{padding} {size} {stride}"
            # a root near 0 is steep: a step of int16 there is 1/181 of the range
            steps = (2, 200) if kind == "L2_POOL_2D" else (2, 2)
            x = real(1, 6, 7, 8, low=-3, high=2)
            found.append(Case(kind, (x,), _window(padding, stride, size, size), steps=steps, label=label))
    whole = _window("VALID", 1, 6, 7)
    return [*found, Case("AVERAGE_POOL_2D", (real(1, 6, 7, 8, low=0, high=6),), whole, label="whole")]


def _window(padding: str, stride: int, height: int, width: int) -> dict[str, Any]:
    strides = {"padding": padding, "strideH": stride, "strideW": stride}
    return strides | {"filterHeight": height, "filterWidth": width}


def _movement() -> list[Case]:
    x = real(1, 4, 6, 8, low=-3, high=2)
    wide = real(1, 4, 6, 8, low=-1, high=7)
    joined = {"axis": 3, "fusedActivationFunction": "NONE"}
    edges = ints(0, 0, 1, 2, 2, 1, 0, 0).reshape(4, 2)
    five = ints(5).reshape(())
    crops = ints(0, 0, 0, 0).reshape(2, 2)
    # the int16 kernel of RESIZE_BILINEAR weighs with 10 bits: 128 steps of int16 are half a step of int8
    resized = {"alignCorners": False, "halfPixelCenters": False}
    half, corners = resized | {"halfPixelCenters": True}, resized | {"alignCorners": True}
    return moved(
        Case("CONCATENATION", (x, x), joined),
        Case("CONCATENATION", (x, wide, real(1, 4, 6, 3, low=0, high=1)), joined, label="ranges"),
        Case("CONCATENATION", (x, wide), {"axis": -3}, label="axis"),
        Case("CONCATENATION", (x, floats(1, 4, 6, 2, low=-4, high=4)), joined, label="constant"),
        Case("SPLIT", (ints(3).reshape(()), x), {"numSplits": 2}, ("float32",) * 2),
        Case("SPLIT_V", (x, ints(1, 7), ints(3).reshape(())), {"numSplits": 2}, ("float32",) * 2),
        Case("PACK", (real(3, 4), real(3, 4, low=-2, high=3)), {"axis": 1, "valuesCount": 2}),
        Case("UNPACK", (real(3, 2, 4),), {"axis": 1, "num": 2}, ("float32",) * 2),
        Case("PAD", (x, ints(0, 0, 1, 2, 0, 1, 0, 0).reshape(4, 2))),
        Case("PAD", (real(2, 3, low=1, high=4), ints(0, 1, 2, 0).reshape(2, 2)), label="above zero"),
        Case("PADV2", (x, ints(0, 0, 1, 2, 0, 1, 0, 0).reshape(4, 2), number(-1.5))),
        Case("MIRROR_PAD", (x, edges), {"mode": "REFLECT"}),
        Case("MIRROR_PAD", (x, edges), {"mode": "SYMMETRIC"}, label="symmetric"),
        Case("RESHAPE", (x, ints(4, 48)), {"newShape": [4, 48]}),
        Case("SQUEEZE", (real(1, 4, 1, 3),), {"squeezeDims": [2]}),
        Case("EXPAND_DIMS", (real(4, 3), ints(1).reshape(()))),
        Case("TRANSPOSE", (x, ints(0, 3, 1, 2))),
        Case("TRANSPOSE", (real(2, 3, 4, 2, 3), ints(4, 0, 2, 1, 3)), label="five"),
        Case("SLICE", (x, ints(0, 1, 2, 0), ints(1, 2, 3, 8)), shapes=((1, 2, 3, 8),)),
        Case("STRIDED_SLICE", (x, ints(0, 3, 0, 1), ints(1, 0, 6, 8), ints(1, -1, 2, 3))),
        Case("GATHER", (x, ints(3, 0, 0)), {"axis": 2}),
        Case("GATHER", (floats(12, 6), Index((3,), 12)), {"axis": 0}, label="table"),
        Case("GATHER_ND", (real(3, 4, 5), ints(2, 1, 0, 3).reshape(2, 2))),
        Case("TILE", (real(2, 3), ints(2, 2))),
        Case("BROADCAST_TO", (real(1, 3, 1), ints(2, 3, 4))),
        Case("REVERSE_V2", (x, ints(2))),
        Case("SPACE_TO_DEPTH", (x,), {"blockSize": 2}),
        Case("DEPTH_TO_SPACE", (x,), {"blockSize": 2}),
        Case("SPACE_TO_BATCH_ND", (x, ints(2, 2), crops)),
        Case("BATCH_TO_SPACE_ND", (real(4, 2, 3, 5), ints(2, 2), crops)),
        Case("RESIZE_NEAREST_NEIGHBOR", (x, ints(8, 12)), resized),
        Case("RESIZE_NEAREST_NEIGHBOR", (x, ints(7, 9)), half, label="half"),
        Case("RESIZE_BILINEAR", (x, ints(8, 12)), resized),
        Case("RESIZE_BILINEAR", (x, ints(7, 9)), half, steps=(1, 128), label="half"),
        Case("RESIZE_BILINEAR", (x, ints(8, 11)), corners, steps=(1, 128), label="corners"),
        Case("SELECT", (DRAW.random((2, 5)) > 0.5, real(2, 5), real(2, 5, low=-2, high=3))),
        Case("SELECT_V2", (DRAW.random((2, 5)) > 0.5, real(2, 5), real(1, 5, low=-2, high=3))),
        Case("SELECT_V2", (DRAW.random((2, 5)) > 0.5, real(2, 5), number(-9.0)), label="constant"),
        Case("TOPK_V2", (real(3, 9), ints(4).reshape(())), {}, ("float32", "int32")),
        Case("DYNAMIC_UPDATE_SLICE", (real(3, 5), real(1, 2, low=-2, high=3), ints(1, 2))),
        Case("REVERSE_SEQUENCE", (real(2, 5, 3), ints(3, 5)), {"seqDim": 1, "batchDim": 0}),
        Case("ONE_HOT", (Index((3,), 5), five, number(1.0), number(0.0)), {"axis": -1}),
        Case("ONE_HOT", (Index((3,), 5), five, number(0.5), number(-2.0)), {"axis": 0}, label="first"),
        Case("SCATTER_ND", (ints(4, 1, 4).reshape(3, 1), real(3, 3, high=2), ints(6, 3)), label="twice"),
        Case("SCATTER_ND", (ints(4, 1).reshape(2, 1), real(2, 3), ints(6, 3))),
        Case("EMBEDDING_LOOKUP", (Index((3,), 12), floats(12, 6))),
    )  # fmt: skip


def _weighted() -> list[Case]:
    flat = {"padding": "SAME", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    deep = flat | {"strideD": 1, "dilationDFactor": 1}
    far = (2, 200)  # the weights that it is compared with are not rounded
    thin = deep | {"padding": "VALID", "strideD": 2, "strideH": 2} | {"fusedActivationFunction": "RELU"}
    wider = deep | {"dilationDFactor": 3, "dilationHFactor": 2}
    each = flat | {"depthMultiplier": 1}
    strides = {"padding": "VALID", "strideH": 2, "strideW": 2}
    dilated = {"dilationHFactor": 2, "dilationWFactor": 2}
    back = {"padding": "SAME", "strideH": 2, "strideW": 2}
    size = ints(1, 12, 14, 6)
    relu, relu6 = ({"fusedActivationFunction": kind} for kind in ("RELU", "RELU6"))
    x = real(1, 6, 7, 8, low=-3, high=2)
    kernel, bias, channels = floats(6, 3, 3, 8), floats(6), floats(1, 3, 3, 8)
    left, right, other = real(2, 3, 8), real(2, 8, 5, low=-2, high=3), real(2, 5, 8, low=-2, high=3)
    return [
        Case("CONV_2D", (x, kernel, bias), flat),
        Case("CONV_2D", (x, floats(6, 1, 1, 8), bias), flat | relu6, label="relu6"),
        Case("CONV_2D", (x, kernel, bias), flat | strides, label="strides"),
        Case("CONV_2D", (x, kernel, bias), flat | dilated, label="dilated"),
        Case("CONV_2D", (x, floats(6, 3, 3, 4), bias), flat, label="groups"),
        Case("DEPTHWISE_CONV_2D", (x, channels, floats(8)), each),
        Case("DEPTHWISE_CONV_2D", (x, channels, floats(8)), each | strides | relu, label="strides"),
        Case("DEPTHWISE_CONV_2D", (x, channels, floats(8)), each | dilated, label="dilated"),
        Case("DEPTHWISE_CONV_2D", (x, floats(1, 3, 3, 16), floats(16)), each | {"depthMultiplier": 2}),
        Case("FULLY_CONNECTED", (real(3, 16), floats(5, 16), floats(5))),
        Case("FULLY_CONNECTED", (real(3, 16), floats(5, 16), None), label="no bias"),
        Case("FULLY_CONNECTED", (real(2, 3, 16), floats(5, 16), floats(5)), relu | {"keepNumDims": True}),
        Case("TRANSPOSE_CONV", (size, kernel, x), back),
        Case("TRANSPOSE_CONV", (size, kernel, x, bias), back, label="bias"),
        Case("BATCH_MATMUL", (left, right)),
        Case("BATCH_MATMUL", (left, other), {"adjY": True}, label="transposed"),
        Case("BATCH_MATMUL", (real(2, 8, 3), right), {"adjX": True}, label="transposed left"),
        Case("BATCH_MATMUL", (left, floats(8, 5)), label="constant"),
        Case("CONV_3D", (real(1, 3, 5, 5, 4), floats(3, 3, 3, 4, 6), bias), deep, steps=far),
        Case("CONV_3D", (real(2, 7, 6, 5, 2), floats(3, 2, 2, 2, 6), bias), thin, steps=far, label="strides"),
        Case(
            "CONV_3D",
            (real(1, 7, 5, 5, 2), floats(2, 3, 3, 2, 6), bias),
            deep | wider,
            steps=far,
            label="dilated",
        ),
    ]


CASES = (*_weighted(), *_unary(), *_binary(), *_reductions(), *_pools(), *_movement())
