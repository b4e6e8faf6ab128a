"""The quantiser: every operator in what is asked for or with a reason, close to the float graph, and pure."""

import copy

import numpy as np
import pytest

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.write import write
from converters.quantize.integer.prepared import Prepared, Range, Rounded
from converters.quantize.integer.quantizer import applied, apply, float_operators
from converters.quantize.integer.tracing import Tracing
from converters.quantize.samples.calibration import Calibration
from converters.quantize.scheme import Scheme

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(8, 3, 3, 4))
DENSE = {"fusedActivationFunction": "NONE"}


def snr_db(source: Graph, made: Graph, calibration: Calibration) -> float:
    """Of the first output, over all samples."""
    signal = noise = 0.0
    runs = Tracing(source, write(source)), Tracing(made, write(made))
    for sample in calibration.samples():
        given = {}
        for public, name in made.inputs.items():
            tensor, array = made.tensors[name], sample[public]
            if tensor.quantization is not None:
                steps = np.rint(array / tensor.quantization.scale[0]) + tensor.quantization.zero_point[0]
                limits = np.iinfo(tensor.dtype)
                array = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
            given[public] = array
        runs[0].run(sample)
        runs[1].run(given)
        expected = runs[0].value(next(iter(source.outputs.values()))).copy()
        name = next(iter(made.outputs.values()))
        got = runs[1].value(name).astype(np.float64)
        found = made.tensors[name].quantization
        if found is not None:
            got = (got - found.zero_point[0]) * found.scale[0]
        signal += float(np.square(expected).sum())
        noise += float(np.square(expected - got).sum())
    return float(10 * np.log10(signal / noise))


def types(graph: Graph) -> list[str]:
    return [operator.type for operator in graph.operators]


def dense(graph_of, rows: list[tuple], outputs: list[str], **more: object) -> Graph:
    """x: [1, 8] -> FULLY_CONNECTED a -> ... with the operators of `rows` behind it."""
    tensors = {"x": (1, 8), "w": RNG.normal(size=(8, 8)), "b": RNG.normal(size=8), "a": (1, 8), **more}
    first = ("FULLY_CONNECTED", ["x", "w", "b"], ["a"], dict(DENSE))
    return graph_of(tensors, [first, *rows], ["x"], outputs)


@pytest.mark.parametrize(
    ("precision", "dtype", "bias", "least"),
    [("int8", "int8", "int32", 35), ("int16x8", "int16", "int64", 40)],
)
def test_integer_ends(conv_graph, samples, prepared, precision, dtype, bias, least):
    """Every operator, input and output is integer; weights are int8 per channel, zero-point 0, never -128."""
    graph, calibration = conv_graph(WEIGHTS, RNG.normal(size=8)), samples(4)
    made, fallbacks = apply(prepared(graph, calibration), Scheme(precision))
    assert (["CONV_2D"], ()) == (types(made), fallbacks)
    assert [dtype, dtype] == [made.tensors[name].dtype for name in "xy"]
    weights = made.tensors["w"]
    assert (8, (0,) * 8, 0) == (
        len(weights.quantization.scale),
        weights.quantization.zero_point,
        weights.quantization.axis,
    )
    assert -127 == min(-127, weights.data.min())
    assert bias == made.tensors["b"].dtype
    np.testing.assert_allclose(
        np.float32(made.tensors["x"].quantization.scale[0]) * np.float32(weights.quantization.scale),
        made.tensors["b"].quantization.scale,
        rtol=1e-6,
    )
    assert () == float_operators(made, ends_convert=False)
    assert snr_db(graph, made, calibration) > least


def test_float_ends(conv_graph, samples, prepared):
    """With float ends a QUANTIZE and a DEQUANTIZE convert, and all between them is integer."""
    graph, calibration = conv_graph(WEIGHTS, RNG.normal(size=8)), samples(4)
    made, _ = apply(prepared(graph, calibration), Scheme(io="float"))
    assert ["QUANTIZE", "CONV_2D", "DEQUANTIZE"] == types(made)
    assert () == float_operators(made, ends_convert=True)
    assert ("QUANTIZE", "DEQUANTIZE") == float_operators(made, ends_convert=False)
    assert snr_db(graph, made, calibration) > 35


@pytest.mark.parametrize(
    ("kind", "shape", "axis", "inputs"),
    [
        ("CONV_2D", (4, 3, 3, 3), 0, ["x", "w", "b"]),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 3, ["x", "w", "b"]),
        ("FULLY_CONNECTED", (4, 12), 0, ["x", "w", "b"]),
        ("TRANSPOSE_CONV", (4, 3, 3, 3), 0, ["s", "w", "x", "b"]),
    ],
)
def test_dead_channels_get_room(kind, shape, axis, inputs):
    """Channels 1 and 2 are dead and have a bias: their scale gives it a step it fits in."""
    weights = np.moveaxis(np.ones(shape, np.float32), axis, 0)
    weights[:3] = 0
    weights = np.ascontiguousarray(np.moveaxis(weights, 0, axis))
    tensors = [
        GraphTensor("x", (1, 2, 2, 3), "float32"),
        GraphTensor("s", (4,), "int32", np.zeros(4, np.int32)),
        GraphTensor("w", weights.shape, "float32", weights),
        GraphTensor("b", (4,), "float32", np.array([0.0, 1.0, -1.0, 1.0], np.float32)),
        GraphTensor("y", (1, 2, 2, 4), "float32"),
    ]
    graph = Graph(
        {one.name: one for one in tensors}, [GraphOperator(kind, inputs, ["y"])], {"x": "x"}, {"y": "y"}
    )
    made = applied(Prepared(graph, {"x": Range(0, 2.55), "y": Range(-1, 1)}), Scheme())
    assert 2 == made.widened_channels
    after = made.graph.tensors["w"]
    steps = 1 / (0.01 * np.array(after.quantization.scale[1:3]))
    np.testing.assert_allclose([2.0**30] * 2, steps, rtol=1e-5)
    assert after.quantization.scale[3] == pytest.approx(1 / 127)
    assert [0, 2**30, -(2**30)] == pytest.approx(made.graph.tensors["b"].data[:3].tolist(), rel=1e-5)


@pytest.mark.parametrize(("precision", "value", "most"), [("int8", 5, 0.2), ("int16x8", 0.05, 0.002)])
def test_dead_channels_keep_their_bias(conv_graph, samples, prepared, precision, value, most):
    """A channel of zero weights answers with its bias in integers too, a small one in int16."""
    weights, bias = WEIGHTS.copy(), RNG.normal(size=8)
    weights[2:4] = 0
    bias[2:4] = value, -value
    graph, calibration = conv_graph(weights, bias), samples(4)
    made, _ = apply(prepared(graph, calibration), Scheme(precision, io="float"))
    run = Tracing(made, write(made))
    for sample in calibration.samples():
        run.run(sample)
        np.testing.assert_allclose(
            [value, -value], run.value(made.outputs["output"])[0, 0, 0, 2:4], atol=most
        )


def test_operators_without_an_integer_form_stay_float(conv_graph, samples, prepared):
    """Such an operator is named with the reason, and so is an output that it makes."""
    graph, calibration = conv_graph(WEIGHTS, np.zeros(8), then="ZEROS_LIKE"), samples(4)
    made, fallbacks = apply(prepared(graph, calibration), Scheme())
    assert ["CONV_2D", "DEQUANTIZE", "ZEROS_LIKE"] == types(made)
    assert [("z", "ZEROS_LIKE", "float32"), ("z", "OUTPUT", "float32")] == [
        (one.layer, one.type, one.precision) for one in fallbacks
    ]
    assert "no integer form" in fallbacks[0].reason
    assert "'output' stays float32" in fallbacks[1].reason


def test_an_exception_is_an_island(graph_of, prepared, normal):
    """A layer named by the scheme is float between conversions, each made once however many read it."""
    rows = [
        ("FULLY_CONNECTED", ["a", "w", "b"], ["c"], dict(DENSE)),
        ("ADD", ["a", "c"], ["d"], dict(DENSE)),
        ("MUL", ["c", "d"], ["e"], dict(DENSE)),
    ]
    graph = dense(graph_of, rows, ["e"], c=(1, 8), d=(1, 8), e=(1, 8))
    calibration = normal({"x": (1, 8)})
    scheme = Scheme(exceptions={"c": "float32"})
    made, fallbacks = apply(prepared(graph, calibration), scheme)
    expected = ["FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "ADD", "MUL"]
    assert (expected, ()) == (types(made), fallbacks)
    assert ["float32", "int8"] == [made.tensors[name].dtype for name in ("c", "d")]
    assert {"int8", "float32"} == {one.dtype for name, one in made.tensors.items() if name.startswith("w")}
    assert snr_db(graph, made, calibration) > 25
    wider, _ = apply(prepared(graph, calibration), Scheme(exceptions={"c": "int16x8"}))
    assert ["QUANTIZE"] * 2 == [one for one in types(wider) if one == "QUANTIZE"]
    assert "int16" == wider.tensors["c"].dtype


def test_one_scale_where_operators_need_it(graph_of, prepared, normal):
    """What is joined, and what is reshaped behind it, holds the union of the ranges."""
    rows = [
        ("FULLY_CONNECTED", ["x", "v", None], ["c"], dict(DENSE)),
        ("CONCATENATION", ["a", "c"], ["d"], {"axis": 1}),
        ("RESHAPE", ["d", "shape"], ["e"]),
    ]
    more = {"v": 10 * RNG.normal(size=(8, 8)), "c": (1, 8), "d": (1, 16), "shape": np.array([4, 4], np.int32)}
    graph = dense(graph_of, rows, ["e"], e=(4, 4), **more)
    calibration = normal({"x": (1, 8)})
    before = prepared(graph, calibration)
    made, _ = apply(before, Scheme())
    assert 1 == len({made.tensors[name].quantization for name in "acde"})
    span = made.tensors["e"].quantization.scale[0] * 255
    assert span == pytest.approx(before.ranges["d"].maximum - before.ranges["d"].minimum, rel=0.01)
    assert snr_db(graph, made, calibration) > 30


def test_a_fixed_scale_travels(graph_of, prepared, normal):
    """The scale that LOGISTIC's kernel needs is that of what is reshaped from it."""
    rows = [("LOGISTIC", ["a"], ["c"]), ("RESHAPE", ["c", "shape"], ["d"])]
    graph = dense(graph_of, rows, ["d"], c=(1, 8), d=(8, 1), shape=np.array([8, 1], np.int32))
    made, _ = apply(prepared(graph, normal({"x": (1, 8)})), Scheme())
    for name in "cd":
        found = made.tensors[name].quantization
        assert ((1 / 256,), (-128,)) == (found.scale, found.zero_point)
    wider, _ = apply(prepared(graph, normal({"x": (1, 8)})), Scheme("int16x8"))
    assert ((1 / 32768,), (0,)) == (
        wider.tensors["d"].quantization.scale,
        wider.tensors["d"].quantization.zero_point,
    )


def test_a_fixed_scale_that_does_not_fit_is_left(graph_of, prepared, normal):
    """Scores of LOGISTIC that are joined with values beyond 1 are requantised behind it."""
    rows = [("LOGISTIC", ["a"], ["c"]), ("CONCATENATION", ["a", "c"], ["d"], {"axis": 1})]
    graph = dense(graph_of, rows, ["d"], c=(1, 8), d=(1, 16))
    calibration = normal({"x": (1, 8)})
    made, _ = apply(prepared(graph, calibration), Scheme())
    assert ["FULLY_CONNECTED", "LOGISTIC", "QUANTIZE", "CONCATENATION"] == types(made)
    assert (1 / 256,) == made.tensors["c"].quantization.scale
    joined = [made.tensors[name].quantization for name in made.operators[-1].inputs]
    assert {made.tensors["d"].quantization} == set(joined)
    assert snr_db(graph, made, calibration) > 30


def test_what_only_moves_values_follows(graph_of, prepared, normal):
    """A RESHAPE between two float layers is float, one before an integer layer integer."""
    rows = [
        ("RESHAPE", ["a", "shape"], ["c"]),
        ("FULLY_CONNECTED", ["c", "w", "b"], ["d"], dict(DENSE)),
        ("RESHAPE", ["d", "shape"], ["e"]),
    ]
    shape = np.array([1, 8], np.int32)
    graph = dense(graph_of, rows, ["e"], c=(1, 8), d=(1, 8), e=(1, 8), shape=shape)
    found = prepared(graph, normal({"x": (1, 8)}))
    for exceptions, expected in (
        ({"a": "float32", "d": "float32"}, ["float32"] * 3),
        ({"a": "float32"}, ["int8", "int8", "int8"]),
        ({"a": "int16x8", "d": "int16x8"}, ["int16"] * 3),
        ({"a": "float32", "d": "float32", "c": "int8"}, ["int8", "float32", "float32"]),
    ):
        made, _ = apply(found, Scheme(io="float", exceptions=exceptions))
        assert expected == [made.tensors[name].dtype for name in "cde"]


def test_padding_with_the_least_float(graph_of, prepared, normal):
    """A maximum is padded with the least float there is: it becomes the least step, and takes no room."""
    tensors = {"x": (1, 2, 2, 1), "pads": np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)}
    tensors |= {"least": np.array(np.finfo(np.float32).min), "p": (1, 4, 4, 1), "y": (1, 2, 2, 1)}
    pool = {"padding": "VALID", "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
    rows = [("PADV2", ["x", "pads", "least"], ["p"]), ("MAX_POOL_2D", ["p"], ["y"], pool)]
    graph, calibration = graph_of(tensors, rows, ["x"], ["y"]), normal({"x": (1, 2, 2, 1)})
    made, _ = apply(prepared(graph, calibration), Scheme())
    assert {"int8"} == {made.tensors[name].dtype for name in ("x", "least", "p", "y")}
    assert snr_db(graph, made, calibration) > 30


@pytest.mark.parametrize("least", [-np.inf, np.finfo(np.float32).min, -1e9])
@pytest.mark.parametrize("kind", ["ADD", "SELECT_V2"])
def test_what_masks_stays_float(graph_of, prepared, normal, kind, least):
    """No integer is far enough below the others for SOFTMAX to leave it out: both operators are named."""
    here = np.array([[True, False, True, True]])
    tensors = {
        "x": (1, 4),
        "s": (1, 4),
        "here": here,
        "least": np.array(least, np.float32),
        "m": (1, 4),
        "y": (1, 4),
    }
    tensors["mask"] = np.where(here, 0, least).astype(np.float32)
    mask = ("ADD", ["s", "mask"], ["m"]) if kind == "ADD" else ("SELECT_V2", ["here", "s", "least"], ["m"])
    del tensors["mask" if kind == "SELECT_V2" else "here"]
    if kind == "ADD":
        del tensors["least"]
    rows = [("MUL", ["x", "x"], ["s"]), mask, ("SOFTMAX", ["m"], ["y"], {"beta": 1.0})]
    graph = graph_of(tensors, rows, ["x"], ["y"])
    calibration = normal({"x": (1, 4)})
    for precision in ("int8", "int16x8"):
        made, fallbacks = apply(prepared(graph, calibration), Scheme(precision))
        assert [kind, "SOFTMAX"] == [one.type for one in fallbacks][:2]
        assert "stands for infinity" in fallbacks[0].reason
        assert snr_db(graph, made, calibration) > 30


def test_several_outputs(graph_of, prepared, normal):
    """All outputs of a split have its input's scale."""
    rows = [("SPLIT", ["axis", "a"], ["c", "d"], {"numSplits": 2}), ("ADD", ["c", "d"], ["e"], dict(DENSE))]
    graph = dense(graph_of, rows, ["e"], axis=np.array(1, np.int32), c=(1, 4), d=(1, 4), e=(1, 4))
    calibration = normal({"x": (1, 8)})
    made, _ = apply(prepared(graph, calibration), Scheme())
    assert 1 == len({made.tensors[name].quantization for name in "acd"})
    assert snr_db(graph, made, calibration) > 30


def test_an_input_that_is_an_output(graph_of, prepared, normal):
    """It keeps one tensor; with integer ends it is integer at both."""
    graph = dense(graph_of, [], ["a", "x"])
    for io, dtype in (("integer", "int8"), ("float", "float32")):
        made, _ = apply(prepared(graph, normal({"x": (1, 8)})), Scheme(io=io))
        assert "x" == made.outputs["x"] == made.inputs["x"]
        assert dtype == made.tensors["x"].dtype


def test_the_public_input_of_a_float_operator_stays_float(graph_of, prepared, normal):
    """With integer ends too, and a fallback says so."""
    graph = dense(graph_of, [], ["a"])
    made, fallbacks = apply(prepared(graph, normal({"x": (1, 8)})), Scheme(exceptions={"a": "float32"}))
    assert ["FULLY_CONNECTED"] == types(made)
    assert ["INPUT", "OUTPUT"] == [one.type for one in fallbacks]


def test_integers_are_left_alone(graph_of, prepared, normal):
    """An operator on integer tensors stays as it is, whatever the scheme."""
    rows = [("SHAPE", ["a"], ["n"], {"outType": "INT32"}), ("ADD", ["n", "n"], ["m"], dict(DENSE))]
    graph = dense(graph_of, rows, ["a", "m"], n=(2,), m=(2,))
    for name in "nm":
        graph.tensors[name].dtype = "int32"
    made, _ = apply(prepared(graph, normal({"x": (1, 8)})), Scheme())
    assert [("int32", None)] * 2 == [
        (made.tensors[name].dtype, made.tensors[name].quantization) for name in "nm"
    ]


def test_chosen_integers_are_kept(conv_graph, samples, prepared):
    """Weights that were rounded otherwise than to the nearest go into the graph with their scales."""
    found = prepared(conv_graph(WEIGHTS, np.zeros(8)), samples(4))
    integers = RNG.integers(-127, 128, WEIGHTS.shape).astype(np.int8)
    scale = np.linspace(0.01, 0.02, 8, dtype=np.float32)
    found.rounded["w"] = Rounded(integers, scale)
    made, _ = apply(found, Scheme())
    np.testing.assert_array_equal(integers, made.tensors["w"].data)
    np.testing.assert_array_equal(scale, np.float32(made.tensors["w"].quantization.scale))


def test_a_fully_connected_layer_has_one_scale_on_tflite_runtime(graph_of, prepared, normal):
    """tflite-runtime 2.14 reads the first scale only; LiteRT takes one per channel."""
    graph = dense(graph_of, [], ["a"])
    found = prepared(graph, normal({"x": (1, 8)}))
    for runtime, scales in (("litert", 8), ("tflite", 1)):
        made, _ = apply(found, Scheme(), runtime=runtime)
        assert scales == len(made.tensors["w"].quantization.scale)


def test_what_calibration_did_not_see_stays_float(graph_of, prepared, normal):
    """A tensor without a range cannot be quantised: the operators around it stay float."""
    found = prepared(dense(graph_of, [("RELU", ["a"], ["c"])], ["c"], c=(1, 8)), normal({"x": (1, 8)}))
    del found.ranges["a"]
    made, fallbacks = apply(found, Scheme())
    assert ["FULLY_CONNECTED", "RELU"] == types(made)
    assert "saw no finite values of 'a'" in fallbacks[0].reason


def test_quantising_changes_nothing_else(conv_graph, samples, prepared):
    """The float graph, its ranges and constants are as before, and the same call gives the same bytes."""
    found = prepared(conv_graph(WEIGHTS, RNG.normal(size=8), then="TANH"), samples(4))
    before = copy.deepcopy(found)
    files = [write(apply(found, Scheme(io="float", exceptions={"z": "int16x8"}))[0]) for _ in range(2)]
    assert before == found
    assert files[0] == files[1]


@pytest.mark.parametrize(("low", "kinds"), [(-1e6, ["MAXIMUM"]), (-0.01, ["QUANTIZE", "MAXIMUM"])])
def test_what_is_clipped_takes_the_range_that_is_left(graph_of, prepared, normal, low, kinds):
    """A bound out of the way takes no room; what is far wider than what is left of it is cut off before."""
    tensors = {"x": (1, 8), "minus": np.array(-1.0), "c": (1, 8), "low": np.array(low), "y": (1, 8)}
    tensors |= {"zero": np.array(0.0), "d": (1, 8)}
    rows = [("MAXIMUM", ["x", "zero"], ["c"]), ("MUL", ["c", "minus"], ["d"], dict(DENSE))]
    rows.append(("MAXIMUM", ["d", "low"], ["y"]))
    graph, calibration = graph_of(tensors, rows, ["x"], ["y"]), normal({"x": (1, 8)})
    made, _ = apply(prepared(graph, calibration), Scheme())
    assert ["MAXIMUM", "MUL", *kinds] == types(made)
    assert snr_db(graph, made, calibration) > 30


def test_a_dead_layer_can_be_loaded(graph_of, prepared):
    """Great weights on an input that is always 0: the output's scale is one that XNNPACK takes."""
    weights = np.zeros((8, 8))
    weights[:, 0] = 1e4
    tensors = {"x": (1, 8), "w": weights, "y": (1, 8)}
    graph = graph_of(tensors, [("FULLY_CONNECTED", ["x", "w", None], ["y"], dict(DENSE))], ["x"], ["y"])
    rows = RNG.normal(size=(16, 1, 8)).astype(np.float32)
    rows[..., 0] = 0
    made, _ = apply(prepared(graph, Calibration("dead", 16, lambda: ({"x": row} for row in rows))), Scheme())
    run = Tracing(made, write(made))
    run.run({"x": np.zeros((1, 8), np.int8)})
    assert 1e4 / 127 * made.tensors["x"].quantization.scale[0] <= 64 * made.tensors["y"].quantization.scale[0]


def test_a_division_by_almost_nothing_runs(graph_of, prepared, normal):
    """A divisor that is rounded to 0 does not stop the model, as LiteRT's own kernel would."""
    tensors = {"x": (1, 8), "small": np.array(1e-4), "s": (1, 8), "d": (1, 8), "y": (1, 8)}
    rows = [
        ("MUL", ["x", "x"], ["s"], dict(DENSE)),
        ("ADD", ["s", "small"], ["d"], dict(DENSE)),
        ("DIV", ["x", "d"], ["y"], dict(DENSE)),
    ]
    graph, calibration = graph_of(tensors, rows, ["x"], ["y"]), normal({"x": (1, 8)})
    made, fallbacks = apply(prepared(graph, calibration), Scheme(io="float"))
    assert ((), ()) == (fallbacks, float_operators(made, ends_convert=True))
    run = Tracing(made, write(made))
    run.run({"x": np.zeros((1, 8), np.float32)})
    assert np.isfinite(run.value(made.outputs["y"])).all()
