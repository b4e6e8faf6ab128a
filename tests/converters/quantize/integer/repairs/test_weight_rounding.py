"""Weight rounding: integers that change outputs less than the nearest ones do."""

import numpy as np
import pytest

from converters.quantize.integer.quantizer import apply
from converters.quantize.integer.repairs import gptq, weight_rounding
from converters.quantize.integer.repairs.patches import mean, product, sampled
from converters.quantize.integer.repairs.weighted import weighted
from converters.quantize.scheme import Scheme
from tests.converters.graph.passes.conftest import Builder
from tests.converters.quantize.integer.repairs.conftest import outputs

RNG = np.random.default_rng(0)


def problem(inputs: int, outputs: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, their steps, and the Hessian of inputs that depend on each other."""
    x = RNG.normal(size=(rows, inputs)) @ RNG.normal(size=(inputs, inputs))
    weights = RNG.normal(size=(outputs, inputs)).astype(np.float32)
    return weights, np.abs(weights).max(axis=1) / 7.0, x.T @ x / rows


def test_gptq_beats_the_nearest():
    """For inputs that depend on each other the error falls by more than half; over several blocks too."""
    for inputs in (24, 300):
        weights, scale, hessian = problem(inputs, 16, 4 * inputs)
        old = gptq.loss(weights, scale, hessian, gptq.nearest(weights, scale, 7))
        new = gptq.loss(weights, scale, hessian, gptq.chosen(weights, scale, hessian, 7))
        assert new < old / 2


def test_unrelated_inputs_leave_the_nearest():
    """Inputs that have nothing to do with each other make the nearest integers the best."""
    weights, scale, _ = problem(12, 8, 50)
    found = gptq.chosen(weights, scale, np.eye(12), 7)
    np.testing.assert_array_equal(gptq.nearest(weights, scale, 7), found)


def test_inputs_that_are_never_awake():
    """Inputs that are always zero, or always the same as others, are no problem."""
    weights, scale, hessian = problem(6, 4, 50)
    hessian[2], hessian[:, 2] = 0, 0
    hessian[5], hessian[:, 5] = hessian[4], hessian[:, 4]
    hessian[5, 5] = hessian[4, 4]
    found = gptq.chosen(weights, scale, hessian, 7)
    nearest = gptq.nearest(weights, scale, 7)
    np.testing.assert_array_equal(nearest[:, 2], found[:, 2])
    assert gptq.loss(weights, scale, hessian, found) <= gptq.loss(weights, scale, hessian, nearest)
    np.testing.assert_array_equal(nearest, gptq.chosen(weights, scale, np.zeros((6, 6)), 7))


def test_descent_finds_the_best_of_a_small_problem():
    """From the nearest integers, coordinate descent is never worse, and mostly the best of all there are."""
    best = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(30, 3)) @ generator.normal(size=(3, 3))
        weights, hessian = generator.normal(size=(1, 3)), (x.T @ x)[None]
        scale = np.abs(weights).max(axis=1) / 3
        start = gptq.nearest(weights, scale, 3)
        found = gptq.descended(weights, scale, hessian, start, 3)
        grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3)
        errors = weights - grid * scale
        least = np.einsum("ok,kj,oj->o", errors, hessian[0], errors).min()
        got = gptq.loss(weights, scale, hessian, found)
        assert got <= gptq.loss(weights, scale, hessian, start)
        best += got <= least * (1 + 1e-9)
    assert best >= 12


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kind", ["conv", "grouped", "depthwise", "dense"])
def test_patches_are_what_kernels_read(kind, padding, case, seeded, depthwise):
    """Sampled inputs times weights are outputs of LiteRT's kernels; the mean input gives the mean output."""
    b = Builder((1, 7, 6, 4))
    options = {"dilationHFactor": 2} if padding == "VALID" and kind == "conv" else {}
    if kind == "dense":
        graph = b.outputs(b.dense(b.reshape("x", 2, 84), 5))
    elif kind == "depthwise":
        made = depthwise(b, "x", 2, padding=padding, strideH=2, strideW=2)
        graph = b.outputs(made)
        graph.tensors[made].shape = (1, 4, 3, 8) if padding == "SAME" else (1, 3, 2, 8)
    else:
        made = b.conv("x", 6, padding, 1 if options else 2, **options)
        graph = b.outputs(made)
        if options:
            graph.tensors[made].shape = (1, 3, 4, 6)
        if kind == "grouped":
            weights = graph.tensors[graph.operators[0].inputs[1]]
            weights.data = weights.data[..., :2].copy()
            weights.shape = weights.data.shape
    graph.tensors[graph.operators[-1].inputs[2]].data *= 0
    layer = weighted(graph, graph.operators[-1])
    data = seeded(graph, 1)
    read = next(iter(data.samples()))["x"]
    expected = outputs(graph, data).reshape(-1, graph.tensors[layer.output].shape[-1])
    weights = graph.tensors[layer.weights].data
    patches = sampled(graph, layer, read, 1000, np.random.default_rng(0))
    got = np.array([product(layer, weights, patch.astype(np.float64)) for patch in patches])
    np.testing.assert_allclose(expected, got, rtol=0, atol=1e-5 * np.abs(expected).max())
    average = product(layer, weights, mean(graph, layer, read))
    np.testing.assert_allclose(expected.mean(axis=0), average, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert 5 == len(sampled(graph, layer, read, 5, np.random.default_rng(0))) or len(expected) < 5


def test_a_network_gains(tower, case, seeded):
    """The outputs of a small network come nearer to the float one's, on samples it was not rounded for."""
    for operator in tower.operators:  # one great weight per channel makes the steps of the others coarse
        if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = tower.tensors[operator.inputs[1]]
            axis = 3 if operator.type == "DEPTHWISE_CONV_2D" else 0
            rows = np.moveaxis(tensor.data.copy(), axis, 0)
            rows.reshape(len(rows), -1)[:, 0] *= 20
            tensor.data = np.ascontiguousarray(np.moveaxis(rows, 0, axis))
    sick = case(tower, seeded(tower))
    unseen = seeded(tower, seed=1, scale=0.7)  # within the ranges
    before, other = sick.snr_db(), sick.snr_db(unseen)
    effect = sick.repair("weight_rounding")
    print(f"{before:.1f} -> {sick.snr_db():.1f} dB, unseen {other:.1f} -> {sick.snr_db(unseen):.1f} dB")
    print(effect.what)
    assert effect.changed > 0
    assert sick.snr_db() > before + 1
    assert sick.snr_db(unseen) > other + 0.5
    state = sick.state()
    assert 0 == sick.repair("weight_rounding").changed
    assert state == sick.state()


def test_wide_and_grouped_layers_are_rounded_in_parts(monkeypatch, case, seeded):
    """Layers wider than one Hessian, and groups of channels, are rounded part by part, all of them."""
    b = Builder((1, 6, 6, 8))
    inputs = ["x", b.constant(8, 3, 3, 4), b.constant(8)]
    made = b.add("CONV_2D", list(inputs), (1, 6, 6, 8), padding="SAME", strideH=1, strideW=1)
    graph = b.outputs(b.dense(b.reshape(made, 1, 288), 6))
    for part, memory in ((2048, 1 << 28), (100, 1 << 28), (100, 50_000)):
        monkeypatch.setattr(weight_rounding, "WIDEST", part)
        monkeypatch.setattr(weight_rounding, "MEMORY", memory)
        sick = case(graph, seeded(graph))
        before = sick.snr_db()
        effect = sick.repair("weight_rounding")
        assert "2 layers" in effect.what
        for name, rounded in sick.prepared.rounded.items():
            off = np.abs(
                rounded.integers * _lined(rounded.scale, rounded.integers) - graph.tensors[name].data
            )
            steps = off / _lined(rounded.scale, rounded.integers)
            assert steps.max() < 8
        assert sick.snr_db() > before - 0.5


def _lined(scale: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return scale.reshape(-1, *[1] * (weights.ndim - 1))


def test_nothing_to_do(tower, case, seeded):
    """Weights that are integers already, and layers that stay in floating point, are left alone."""
    b = Builder((1, 6, 6, 4))
    graph = b.outputs(b.conv("x", 8, "SAME"))
    weights = graph.tensors[graph.operators[0].inputs[1]]
    weights.data = RNG.integers(-127, 128, weights.shape).astype(np.float32)
    weights.data[:, 0, 0, 0] = 127
    exceptions = {operator.outputs[0]: "float32" for operator in tower.operators}
    for network, scheme in (
        (graph, Scheme()),
        (tower, Scheme(exceptions=exceptions)),
        (tower, Scheme("float16")),
    ):
        sick = case(network, seeded(network))
        sick.context.scheme = scheme
        state = sick.state()
        assert 0 == sick.repair("weight_rounding").changed
        assert state == sick.state()


def test_layers_without_channels_are_none():
    """A convolution of no channels at all has no weights to change."""
    b = Builder((1, 4, 4, 0))
    graph = b.outputs(b.conv("x", 8, "SAME"))
    assert weighted(graph, graph.operators[0]) is None


def test_channels_of_zeros(case, seeded):
    """Channels without weights, and a layer without any, have no step to round to and stay zero."""
    b = Builder((1, 12))
    graph = b.outputs(b.dense(b.dense("x", 8), 6))
    first, second = (graph.tensors[operator.inputs[1]] for operator in graph.operators)
    first.data = np.zeros_like(first.data)
    second.data = second.data.copy()
    second.data[2] = 0
    sick = case(graph, seeded(graph))
    sick.repair("weight_rounding")
    for name, rounded in sick.prepared.rounded.items():
        assert not rounded.integers[np.all(graph.tensors[name].data == 0, axis=1)].any()
    sick.prepared.ranges.update(dict.fromkeys(sick.prepared.ranges, sick.prepared.ranges["x"]))
    apply(sick.prepared, sick.scheme)


def test_few_rows_are_not_believed(case, seeded):
    """Of 8 samples nobody learns how 256 inputs go together: integers stay near the nearest ones."""
    b = Builder((1, 256))
    graph = b.outputs(b.dense("x", 12))
    sick = case(graph, seeded(graph, 8))
    sick.repair("weight_rounding")
    weights = graph.tensors[graph.operators[0].inputs[1]].data
    scale = np.abs(weights).max(axis=1) / 127
    nearest = gptq.nearest(weights, scale, 127)
    rounded = sick.prepared.rounded.get(graph.operators[0].inputs[1])
    chosen = nearest if rounded is None else rounded.integers
    errors = [float(((weights - each * scale[:, None]) ** 2).sum()) for each in (nearest, chosen)]
    print(f"error {errors[0]:.4g} of the nearest, {errors[1]:.4g} of the chosen integers")
    assert errors[1] < 1.1 * errors[0]


@pytest.mark.zoo
def test_a_network_of_the_zoo(zoo_case):
    """A trained network that is equalised gains, on samples that calibration did not see."""
    sick, others = zoo_case("kws_dscnn", "kws")
    sick.repair("equalization")
    before = sick.snr_db(others)
    effect = sick.repair("weight_rounding")
    print(f"kws_dscnn: {before:.2f} dB, rounded {sick.snr_db(others):.2f} dB: {effect.what}")
    assert effect.changed > 0
    assert sick.snr_db(others) > before + 1
