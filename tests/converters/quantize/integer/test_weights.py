"""Smaller weights: the forms they take, on the runtimes that shall run them."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer import weights
from device_agent.errors import InvalidRequest
from tests.converters.quantize.integer.older_runtime import PYTHON, OlderRuntime

Run = Callable[[bytes, dict[str, np.ndarray]], dict[str, np.ndarray] | str]
DRAW = np.random.default_rng(5)
FLAT = {"padding": "SAME", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
DEEP = {"padding": "SAME", "strideD": 1, "dilationDFactor": 1} | FLAT


def litert(model: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    found: dict[str, np.ndarray] = interpreter.get_signature_runner()(**feed)
    return found


@pytest.fixture(params=["litert", "tflite"])
def on(request: pytest.FixtureRequest, older: OlderRuntime) -> tuple[str, Run]:
    """A runtime's name and how to run a model on it."""
    if request.param == "tflite" and not PYTHON:
        pytest.skip("EDGE_TFLITE_PYTHON names no Python that has tflite-runtime 2.14")
    return request.param, litert if request.param == "litert" else older.run


def values(*shape: int) -> np.ndarray:
    """Normal, and every channel of another size, so that a scale for all is worse than one for each."""
    return (DRAW.standard_normal(shape) * 2.0 ** (np.arange(shape[-1]) % 5)).astype(np.float32)


def graph(operator: str, inputs: list[Any], shape: tuple[int, ...], options: Any) -> Graph:
    """An operator with constant inputs (arrays) and the others from outside (shapes)."""
    tensors = {"y": GraphTensor("y", shape, "float32")}
    names: list[str | None] = []
    for place, given in enumerate(inputs):
        name = f"i{place}"
        if given is None:
            names.append(None)
            continue
        constant = isinstance(given, np.ndarray)
        held = given if isinstance(given, np.ndarray) else None
        dims = given.shape if isinstance(given, np.ndarray) else given
        tensors[name] = GraphTensor(name, dims, str(given.dtype) if constant else "float32", held)
        names.append(name)
    feeds = {name: name for name, tensor in tensors.items() if tensor.data is None and name != "y"}
    return Graph(tensors, [GraphOperator(operator, names, ["y"], options)], feeds, {"y": "y"})


def int32(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


CASES: dict[str, tuple[list[Any], tuple[int, ...], dict[str, Any]]] = {
    "CONV_2D": ([(1, 8, 8, 16), values(32, 3, 3, 16), values(32)], (1, 8, 8, 32), FLAT),
    "CONV_2D in groups": ([(1, 8, 8, 16), values(32, 3, 3, 8), values(32)], (1, 8, 8, 32), FLAT),
    "DEPTHWISE_CONV_2D": (
        [(1, 8, 8, 128), values(1, 3, 3, 128), values(128)], (1, 8, 8, 128), FLAT | {"depthMultiplier": 1},
    ),
    "FULLY_CONNECTED": ([(4, 64), values(32, 64), values(32)], (4, 32), {}),
    "FULLY_CONNECTED without bias": ([(4, 64), values(32, 64)], (4, 32), {}),
    "FULLY_CONNECTED keeping axes": ([(2, 3, 64), values(32, 64)], (2, 3, 32), {"keepNumDims": True}),
    "BATCH_MATMUL": ([(2, 4, 64), values(2, 64, 32)], (2, 4, 32), {}),
    "BATCH_MATMUL transposed": ([(2, 4, 64), values(2, 32, 64)], (2, 4, 32), {"adjY": True}),
    "TRANSPOSE_CONV": (
        [int32(1, 16, 16, 32), values(32, 3, 3, 16), (1, 8, 8, 16), values(32)], (1, 16, 16, 32),
        {"padding": "SAME", "strideH": 2, "strideW": 2},
    ),
    "EMBEDDING_LOOKUP": ([int32(3, 0, 63), values(64, 32)], (3, 32), {}),
    "GATHER": ([values(64, 32), int32(3, 0, 63)], (3, 32), {}),
    "CONV_3D": ([(1, 4, 8, 8, 4), values(3, 3, 3, 4, 16), values(16)], (1, 4, 8, 8, 16), DEEP),
}  # fmt: skip
DIRECT = {  # read by the kernel itself, by runtime and precision
    ("litert", "dynamic"): {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV",
        "EMBEDDING_LOOKUP", "GATHER",
    },
    ("tflite", "dynamic"): {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER",
    },
    ("litert", "weight-int8"): {"EMBEDDING_LOOKUP", "GATHER"},
    ("tflite", "weight-int8"): {"EMBEDDING_LOOKUP", "GATHER"},
    ("litert", "weight-int4"): {"EMBEDDING_LOOKUP"},
    ("tflite", "weight-int4"): {"EMBEDDING_LOOKUP", "GATHER"},
}  # fmt: skip


def rounded(whole: Graph, made: Graph) -> Graph:
    """The float graph with the weights that the quantised one stands for."""
    copied = copy.deepcopy(whole)
    for name, tensor in made.tensors.items():
        if name.endswith("_quantized") and tensor.data is not None:
            copied.tensors[name.removesuffix("_quantized")].data = real(tensor)
    return copied


def real(tensor: GraphTensor) -> np.ndarray:
    """A quantised constant's values, decoded anew."""
    data = tensor.data
    if data is None or tensor.dtype == "float16" or tensor.quantization is None:
        return np.asarray(data, np.float32)
    if tensor.dtype == "int4":
        halves = np.stack([data & 0xF, data >> 4], axis=-1).reshape(-1)[: np.prod(tensor.shape)]
        data = np.where(halves > 7, halves.astype(np.int8) - 16, halves).reshape(tensor.shape)
    scale = np.array(tensor.quantization.scale, np.float32)
    if len(scale) > 1:
        scale = scale.reshape([-1 if a == tensor.quantization.axis else 1 for a in range(data.ndim)])
    return data.astype(np.float32) * scale


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("precision", weights.PRECISIONS)
def test_operators_compute_with_the_rounded_weights(on: tuple[str, Run], precision: str, case: str) -> None:
    """On the runtime itself, and the file is as much smaller as the weights are; nothing given is changed.

    Hybrid kernels round the activations to 8 bits, too; else it is the float operator with those weights.
    """
    name, run = on
    inputs, shape, options = CASES[case]
    operator = case.split()[0]
    whole = graph(operator, inputs, shape, options)
    before = copy.deepcopy(whole)
    made, fallbacks = weights.apply(whole, precision, runtime=name)
    assert before == whole
    feed = {public: values(*whole.tensors[public].shape) for public in whole.inputs}
    expected = litert(write(rounded(whole, made)), feed)["y"]
    got = run(write(made), feed)
    assert not isinstance(got, str), got
    hybrid = precision == "dynamic" and operator not in ("EMBEDDING_LOOKUP", "GATHER", "CONV_3D")
    assert np.abs(got["y"] - expected).max() <= (0.02 if hybrid else 1e-5) * np.abs(expected).max()
    direct = operator in DIRECT.get((name, precision), ())
    steps = [one.type for one in made.operators if one.type == "DEQUANTIZE"]
    assert (direct and operator != "GATHER") == (not steps)
    asked = {"dynamic": direct or operator == "EMBEDDING_LOOKUP", "weight-int4": name == "litert"}
    assert asked.get(precision, True) == (not fallbacks)
    assert all((operator, "weight-int8") == (f.type, f.precision) for f in fallbacks)
    held = max((t for t in made.tensors.values() if t.data is not None), key=lambda t: np.prod(t.shape))
    bits = {"float16": 16, "weight-int4": 8 if fallbacks else 4}.get(precision, 8)
    assert bits * int(np.prod(held.shape)) == 8 * (held.data.nbytes if held.data is not None else 0)


@pytest.mark.parametrize("precision", ["weight-int8", "weight-int4", "float16"])
def test_recurrent_weights_are_dequantised(on: tuple[str, Run], precision: str) -> None:
    """No kernel of an LSTM holds int4 or float16, and none int8 beside a float state."""
    name, run = on
    units, fed = 32, 40
    parts = [values(units, fed) / 50 for _ in range(4)] + [values(units, units) / 50 for _ in range(4)]
    given: list[Any] = [(1, 5, fed), *parts, None, None, None, *(values(units) / 9 for _ in range(4))]
    whole = graph("UNIDIRECTIONAL_SEQUENCE_LSTM", given, (1, 5, units), {"fusedActivationFunction": "TANH"})
    states = [GraphTensor(state, (1, units), "float32", variable=True) for state in ("h", "c")]
    whole.tensors |= {state.name: state for state in states}
    whole.operators[0].inputs += [None, None, "h", "c", None, None, None, None]
    made, fallbacks = weights.apply(whole, precision, runtime=name)
    assert ["DEQUANTIZE"] * 8 == [one.type for one in made.operators[:-1]]
    assert (precision == "weight-int4" and name == "tflite") == bool(fallbacks)
    feed = {"i0": values(1, 5, fed)}
    expected, got = litert(write(rounded(whole, made)), feed)["y"], run(write(made), feed)
    assert not isinstance(got, str), got
    np.testing.assert_allclose(got["y"], expected, rtol=1e-4, atol=1e-5)


def test_small_weights_stay_float() -> None:
    """Fewer than 1,024 elements are not worth a scale and an operator; the operator is named."""
    whole = graph("FULLY_CONNECTED", [(4, 31), values(33, 31), values(33)], (4, 33), {})
    made, (fallback,) = weights.apply(whole, "weight-int8")
    assert whole == made
    assert ("y", "FULLY_CONNECTED", "float32") == (fallback.layer, fallback.type, fallback.precision)
    assert "1023 elements" in fallback.reason


def test_weights_past_float16_stay_float() -> None:
    """They would become Inf."""
    whole = graph("FULLY_CONNECTED", [(4, 64), values(32, 64) * 1e5], (4, 32), {})
    made, (fallback,) = weights.apply(whole, "float16")
    assert whole == made
    assert "65504" in fallback.reason


def test_a_constant_that_two_operators_read_is_dequantised_once() -> None:
    """Also where one of them is no operator of weights."""
    whole = graph("FULLY_CONNECTED", [(32, 64), values(32, 64)], (32, 32), {})
    whole.tensors["z"] = GraphTensor("z", (32, 64), "float32")
    whole.operators.append(GraphOperator("ADD", ["i0", "i1"], ["z"]))
    whole.outputs["z"] = "z"
    made, fallbacks = weights.apply(whole, "dynamic")
    assert ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"] == [one.type for one in made.operators]
    assert "shared" in fallbacks[0].reason
    feed = {"i0": values(32, 64)}
    expected, got = litert(write(rounded(whole, made)), feed), litert(write(made), feed)
    np.testing.assert_allclose(got["z"], expected["z"], rtol=1e-6)
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-5, atol=1e-3)


def test_a_channel_of_zeros_has_a_scale() -> None:
    """A scale of 0 is refused by runtimes; of zeros any will do. The least float32 would divide to Inf."""
    held = values(32, 64)
    held[3], held[4] = 0.0, 1e-44
    integers, scale = weights.symmetric(held, 0, 8)
    assert (scale >= np.finfo(np.float32).tiny).all()
    assert 1.0 == scale[3]
    assert not integers[3:5].any()
    np.testing.assert_allclose(integers * scale[:, None], held, atol=float(scale[5:].max()) / 2 + 1e-6)


def test_int4_lies_two_in_a_byte() -> None:
    """The first in the low half, an odd last one alone."""
    assert [0xF1, 0x07] == weights.packed(np.array([1, -1, 7], np.int8)).tolist()


def test_other_precisions_are_refused() -> None:
    """Those that need ranges of activations are not made here."""
    with pytest.raises(InvalidRequest, match="not a precision of weights"):
        weights.apply(graph("FULLY_CONNECTED", [(4, 64), values(32, 64)], (4, 32), {}), "int8")
