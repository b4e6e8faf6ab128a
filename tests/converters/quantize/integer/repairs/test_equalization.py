"""Equalisation: the float function stays, channels come to one range, and outliers cost nothing any more."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.graph.ir import Graph
from converters.quantize.integer.repairs.equalization import _measured
from converters.quantize.integer.repairs.tied import groups
from tests.converters.graph.passes.conftest import Builder
from tests.converters.quantize.integer.repairs.conftest import outputs

NETWORKS = int(os.environ.get("EDGE_REPAIR_NETWORKS", "12"))  # 300 takes a minute


def unbalance(graph: Graph, generator: np.random.Generator, spread: float = 2.0) -> None:
    """Multiply the output channels of every layer by factors over `spread` decades."""
    for operator in graph.operators:
        if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            axis = 3 if operator.type == "DEPTHWISE_CONV_2D" else 0
            weights, bias = graph.tensors[operator.inputs[1]], graph.tensors[operator.inputs[2]]
            factor = 10 ** generator.uniform(-spread, 0, len(bias.data))
            lined = [1] * 4 if axis else [1] * weights.data.ndim
            lined[axis] = -1
            weights.data = (weights.data * factor.reshape(lined)).astype(np.float32)
            bias.data = (bias.data * factor).astype(np.float32)


def outlier(graph: Graph, first: int, then: int, channel: int = 3, factor: float = 100) -> None:
    """Make a channel between two operators so much larger; the function stays."""
    maker, reader = graph.operators[first], graph.operators[then]
    for place in (1, 2):
        tensor = graph.tensors[maker.inputs[place]]
        tensor.data = tensor.data.copy()
        tensor.data[channel] *= factor
    weights = graph.tensors[reader.inputs[1]]
    weights.data = weights.data.copy()
    weights.data[..., channel] /= factor


def test_an_outlier_channel_is_repaired(tower, case, seeded):
    """One channel 100 times the others leaves 1 step for them; equalised, the outputs are as before it."""
    calibration, unseen = seeded(tower), seeded(tower, seed=1)
    sound = case(tower, calibration)
    healthy, usual = sound.snr_db(), sound.snr_db(unseen)
    outlier(tower, 0, 1)
    sick = case(tower, calibration)
    collapsed = sick.snr_db()
    effect = sick.repair("equalization")
    repaired = sick.snr_db()
    print(f"healthy {healthy:.1f} dB, outlier {collapsed:.1f} dB, repaired {repaired:.1f} dB: {effect.what}")
    assert effect.changed >= 1
    assert collapsed < healthy - 10
    assert repaired > healthy - 1
    assert sick.snr_db(unseen) > usual - 1


def test_the_ranges_are_of_the_changed_graph(tower, case, seeded):
    """After the repair, ranges and statistics are those of the equalised activations."""
    outlier(tower, 0, 1)
    sick = case(tower, seeded(tower))
    name = tower.operators[0].outputs[0]
    before = sick.context.statistics.tensors[name].channel_maximum
    sick.repair("equalization")
    after = sick.context.statistics.tensors[name].channel_maximum
    assert before.max() / np.median(before) > 50
    assert after.max() / after.min() < 2
    assert np.sort(after)[-2] <= after.max() / 1.09  # room for values that calibration did not see
    assert sick.prepared.ranges[name].maximum == after.max()


def test_nothing_to_do(tower, case, seeded):
    """A second time, nothing is left to equalise and nothing is touched; nor in a float scheme."""
    unbalance(tower, np.random.default_rng(0))
    sick = case(tower, seeded(tower))
    assert sick.repair("equalization").changed > 0
    state = sick.state()
    assert 0 == sick.repair("equalization").changed
    assert state == sick.state()
    other = case(tower, seeded(tower), "int8")
    other.context.scheme = type(other.scheme)("weight-int8")
    state = other.state()
    assert 0 == other.repair("equalization").changed
    assert state == other.state()


def test_arrays_of_the_source_are_not_written_to(tower, case, seeded):
    """The graph that a repaired one was copied from computes what it did."""
    unbalance(tower, np.random.default_rng(0))
    before = {name: None if t.data is None else t.data.copy() for name, t in tower.tensors.items()}
    case(tower, seeded(tower)).repair("equalization")
    for name, data in before.items():
        np.testing.assert_array_equal(data, tower.tensors[name].data)


def test_integers_of_changed_weights_go(tower, case, seeded):
    """Integers chosen for weights that equalisation changes are not kept."""
    unbalance(tower, np.random.default_rng(0))
    sick = case(tower, seeded(tower))
    sick.repair("weight_rounding")
    held = set(sick.prepared.rounded)
    sick.repair("equalization")
    changed = {n for n in held if sick.prepared.graph.tensors[n].data is not tower.tensors[n].data}
    assert changed
    assert set() == changed & set(sick.prepared.rounded)


def grow(b: Builder, generator: np.random.Generator, depthwise: Callable[..., str]) -> Graph:
    """A random network of what equalisation passes through or stops at."""
    made = b.conv("x", 8, "SAME", fusedActivationFunction="RELU")
    for _ in range(int(generator.integers(3, 9))):
        made = LAYERS[int(generator.integers(len(LAYERS)))](b, made, depthwise)
    _, height, width, channels = b.graph.tensors[made].shape
    if generator.integers(2):
        made = b.reshape(made, 1, height * width * channels)
    else:
        made = b.add("MEAN", [made, b.constant(value=[1, 2], dtype="int32")], (1, channels), keepDims=False)
    made = b.dense(made, 12, fusedActivationFunction="RELU")
    return b.outputs(b.dense(made, 4))


def same(b: Builder, tensor: str, builtin: str, *more: str, **options: Any) -> str:
    return b.add(builtin, [tensor, *more], b.graph.tensors[tensor].shape, **options)


def residual(b: Builder, tensor: str, _: Any) -> str:
    inner = b.conv(tensor, b.graph.tensors[tensor].shape[-1], "SAME", fusedActivationFunction="RELU")
    inner = b.conv(inner, b.graph.tensors[tensor].shape[-1], "SAME")
    return b.binary("ADD", tensor, inner, fusedActivationFunction="RELU")


def gated(b: Builder, tensor: str, _: Any) -> str:
    channels = b.graph.tensors[tensor].shape[-1]
    axes = b.constant(value=[1, 2], dtype="int32")
    gate = b.add("MEAN", [tensor, axes], (1, 1, 1, channels), keepDims=True)
    gate = b.unary("LOGISTIC", b.conv_1x1(gate, channels))
    return b.binary("MUL", tensor, gate)


def padded(b: Builder, tensor: str, _: Any) -> str:
    batch, height, width, channels = b.graph.tensors[tensor].shape
    pads = b.constant(value=[[0, 0], [1, 1], [0, 2], [0, 0]], dtype="int32")
    return b.add("PAD", [tensor, pads], (batch, height + 2, width + 2, channels))


def pooled(kind: str) -> Callable[..., str]:
    def add(b: Builder, tensor: str, _: Any) -> str:
        options = {"padding": "SAME", "strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}
        return same(b, tensor, kind, **options)

    return add


def widened(b: Builder, tensor: str, _: Any) -> str:
    batch, height, width, channels = b.graph.tensors[tensor].shape
    other = b.conv(tensor, 4, "SAME", fusedActivationFunction="RELU")
    return b.add("CONCATENATION", [other, tensor], (batch, height, width, channels + 4), axis=3)


def joined(b: Builder, tensor: str, _: Any) -> str:
    batch, height, width, channels = b.graph.tensors[tensor].shape
    other = b.conv(tensor, channels, "SAME")
    return b.add("CONCATENATION", [tensor, other], (batch, 2 * height, width, channels), axis=1)


LAYERS: list[Callable[..., str]] = [
    lambda b, t, d: b.conv(t, 8, "SAME", fusedActivationFunction="RELU"),
    lambda b, t, d: b.conv(t, 12, "SAME", fusedActivationFunction="RELU6"),
    lambda b, t, d: b.conv(t, 8, "SAME"),
    lambda b, t, d: d(b, t, fusedActivationFunction="RELU"),
    lambda b, t, d: d(b, t, 2),
    lambda b, t, d: b.unary("RELU", t),
    lambda b, t, d: b.unary("HARD_SWISH", t),
    lambda b, t, d: same(b, t, "LEAKY_RELU", alpha=0.1),
    lambda b, t, d: same(b, t, "PRELU", b.constant(1, 1, b.graph.tensors[t].shape[-1])),
    lambda b, t, d: b.binary("ADD", t, b.constant(b.graph.tensors[t].shape[-1])),
    lambda b, t, d: b.binary("MUL", t, b.constant(1, 1, 1, b.graph.tensors[t].shape[-1])),
    lambda b, t, d: b.transpose(t, 0, 2, 1, 3),
    residual,
    gated,
    padded,
    joined,
    widened,
    pooled("MAX_POOL_2D"),
    pooled("AVERAGE_POOL_2D"),
]


class Growing(Builder):
    """A builder with a pointwise convolution."""

    def conv_1x1(self, tensor: str, channels: int) -> str:
        *rest, into = self.graph.tensors[tensor].shape
        inputs = [tensor, self.constant(channels, 1, 1, into), self.constant(channels)]
        options = {"padding": "SAME", "strideH": 1, "strideW": 1}
        return self.add("CONV_2D", list(inputs), (*rest, channels), **options)


def test_the_float_function_stays(case, seeded, depthwise):
    """Random networks compute the same within 1e-5 of their outputs' range, however much was equalised."""
    changed = 0
    worst = 0.0
    for seed in range(NETWORKS):
        generator = np.random.default_rng(seed)
        graph = grow(Growing((1, 6, 5, 3)), generator, depthwise)
        unbalance(graph, generator)
        sick = case(graph, seeded(graph, 4))
        expected = outputs(graph, sick.calibration)
        effect = sick.repair("equalization")
        changed += effect.changed > 0
        got = outputs(sick.prepared.graph, sick.calibration)
        worst = max(worst, float(np.abs(expected - got).max() / np.ptp(expected)))
    print(f"{changed} of {NETWORKS} networks equalised, at most {worst:.2g} of the range off")
    assert changed > NETWORKS * 0.8
    assert worst <= 1e-5


def test_relu6_is_kept_below_its_bound(case, seeded, depthwise):
    """Channels that reach 6 stay; the others grow to 3 at most, so that few unseen values are cut."""
    b = Builder((1, 8, 8, 4))
    made = b.conv("x", 4, "SAME", fusedActivationFunction="RELU6")
    graph = b.outputs(b.conv(depthwise(b, made), 4, "SAME"))
    weights, bias = (graph.tensors[graph.operators[0].inputs[place]] for place in (1, 2))
    scale = np.array([1, 1e-2, 1e-3, 1], np.float32)
    weights.data, bias.data = weights.data * scale.reshape(4, 1, 1, 1), bias.data * scale
    graph.tensors[graph.operators[1].inputs[1]].data /= scale
    sick = case(graph, seeded(graph))
    expected, before = outputs(graph, sick.calibration), sick.snr_db()
    assert sick.repair("equalization").changed >= 1
    after = sick.context.statistics.tensors[made].channel_maximum
    np.testing.assert_allclose([6, 3, 3, 6], after, rtol=1e-3)
    np.testing.assert_allclose(expected, outputs(sick.prepared.graph, sick.calibration), rtol=1e-4, atol=1e-4)
    assert sick.snr_db() > before + 10


@pytest.mark.parametrize("builtin", ["LOGISTIC", "HARD_SWISH", "RELU_N1_TO_1"])
def test_what_is_not_homogeneous_stops(builtin, case, seeded):
    """Behind f(x / s) != f(x) / s, and before outputs of the graph, nothing is scaled."""
    b = Builder((1, 4, 4, 3))
    graph = b.outputs(b.conv(b.unary(builtin, b.conv("x", 8, "SAME")), 4, "SAME"))
    unbalance(graph, np.random.default_rng(0))
    assert [] == groups(graph)
    sick = case(graph, seeded(graph))
    state = sick.state()
    assert 0 == sick.repair("equalization").changed
    assert state == sick.state()


def test_a_channel_that_never_wakes_is_a_usual_one(tower, case, seeded):
    """A channel that is 0 in calibration is scaled as the others are, and does not set the step."""
    outlier(tower, 0, 1)
    for place in (1, 2):
        tensor = tower.tensors[tower.operators[0].inputs[place]]
        tensor.data = tensor.data.copy()
        tensor.data[5] = 0 if place == 1 else -1  # below 0 whatever comes in, so 0 behind the RELU
    sick = case(tower, seeded(tower))
    sick.repair("equalization")
    bias = sick.prepared.graph.tensors[sick.prepared.graph.operators[0].inputs[2]].data
    before = tower.tensors[tower.operators[0].inputs[2]].data
    factors = before / bias
    assert np.median(factors) / 4 < factors[5] < np.median(factors) * 4


def test_weights_that_operators_share_stop(case, seeded):
    """Weights that two layers share would have to absorb two factors: nothing is scaled on either side."""
    b = Builder((1, 4, 4, 8))
    made = b.conv("x", 8, "SAME", fusedActivationFunction="RELU")
    last = b.conv(made, 8, "SAME", fusedActivationFunction="RELU")
    graph = b.outputs(b.conv(last, 8, "SAME"))
    assert 2 == len(groups(graph))
    graph.operators[1].inputs[1] = graph.operators[0].inputs[1]
    assert [] == groups(graph)


def test_biases_that_operators_share_become_their_own(case, seeded):
    """A bias that two layers share is scaled for the one and kept for the other."""
    b = Builder((1, 4, 4, 8))
    made = b.conv("x", 8, "SAME", fusedActivationFunction="RELU")
    made = b.conv(made, 8, "SAME", fusedActivationFunction="RELU")
    graph = b.outputs(b.conv(made, 8, "SAME"))
    unbalance(graph, np.random.default_rng(0))
    graph.operators[1].inputs[2] = graph.operators[0].inputs[2]
    graph.operators[2].inputs[2] = graph.operators[0].inputs[2]
    del graph.tensors["constant_5"], graph.tensors["constant_8"]
    sick = case(graph, seeded(graph))
    assert 2 == sick.repair("equalization").changed
    expected, got = outputs(graph, sick.calibration), outputs(sick.prepared.graph, sick.calibration)
    np.testing.assert_allclose(expected, got, rtol=0, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("stop", ["HARD_SWISH", "SOFTMAX", "fused", "MEAN", "computed"])
def test_one_reader_or_maker_is_enough_to_stop(stop):
    """A tensor between convolutions stays if something else reads or makes it that takes no factor."""
    b = Builder((1, 8, 8, 8))
    made = b.conv("x", 8, "SAME", fusedActivationFunction="RELU_N1_TO_1" if stop == "fused" else "RELU")
    last = b.conv(made, 4, "SAME")
    if stop == "MEAN":  # over the channels: what is last then has as many values, and is another axis
        axes = b.constant(value=[3], dtype="int32")
        row = b.add("MEAN", [made, axes], (1, 8, 8), keepDims=False)
        assert [] == groups(b.outputs(last, b.dense(b.reshape(row, 8, 8), 4)))
    elif stop == "computed":  # of a constant, which no layer made
        fixed = b.add(
            "RESHAPE", [b.constant(512), b.constant(value=[1, 8, 8, 8], dtype="int32")], (1, 8, 8, 8)
        )
        assert [] == groups(b.outputs(b.conv(b.binary("ADD", made, fixed), 4, "SAME")))
    else:
        more = [] if stop == "fused" else [b.unary(stop, made)]
        assert [] == groups(b.outputs(last, *more))


def test_an_operator_with_one_scale_counts_its_input(case, seeded):
    """A pool's step is that of what it reads, wider than what it makes: the expected noise knows."""
    b = Builder((1, 8, 8, 4))
    made = b.conv("x", 8, "SAME", fusedActivationFunction="RELU")
    pool = pooled("AVERAGE_POOL_2D")(b, made, None)
    graph = b.outputs(b.conv(pool, 4, "SAME"))
    sick = case(graph, seeded(graph))
    (group,) = groups(graph)
    (reader,) = _measured(sick.prepared, group, sick.context.statistics, 255).readers
    found = sick.context.statistics.tensors
    assert found[pool].maximum < found[made].maximum == reader.span.max()


def test_what_a_group_holds():
    """A residual sum joins three tensors; a graph's output, a constant factor per channel, a flat row."""
    b = Growing((1, 4, 4, 6))
    trunk = b.conv("x", 8, "SAME", fusedActivationFunction="RELU")
    branch = b.conv(trunk, 8, "SAME")
    joined_up = b.binary("ADD", trunk, branch)
    graph = b.outputs(b.dense(b.reshape(joined_up, 1, 128), 4))
    (group,) = groups(graph)
    assert {trunk, branch, joined_up, graph.operators[-1].inputs[0]} == set(group.tensors)
    assert (8, 2, 2) == (group.channels, len(group.makers), len(group.readers))
    graph.outputs["more"] = branch
    assert [] == groups(graph)


@pytest.mark.zoo
def test_a_network_of_the_zoo(zoo_case):
    """With its biases corrected, a trained network gains, on samples that calibration did not see."""
    plain, others = zoo_case("kws_dscnn", "kws")
    sick, _ = zoo_case("kws_dscnn", "kws")
    expected = outputs(sick.source, others)
    effect = sick.repair("equalization")
    got = outputs(sick.prepared.graph, others)
    np.testing.assert_allclose(expected, got, rtol=0, atol=1e-5 * np.ptp(expected))
    assert effect.changed > 0
    for each in (plain, sick):
        each.repair("bias_correction")
    before, after = plain.snr_db(others), sick.snr_db(others)
    print(f"kws_dscnn, biases corrected: {before:.2f} dB, equalised too {after:.2f} dB: {effect.what}")
    assert after > before + 1
