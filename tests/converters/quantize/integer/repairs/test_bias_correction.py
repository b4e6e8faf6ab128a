"""Bias correction: what rounding shifts the means of outputs by comes back, layer after layer."""

import numpy as np
import pytest
from attrs import evolve

from converters.graph.ir import GraphTensor
from converters.quantize.integer.quantizer import apply
from tests.converters.graph.passes.conftest import Builder
from tests.converters.quantize.integer.repairs.conftest import outputs


def shifts(case) -> np.ndarray:
    """How far the mean of each output channel is off, in steps of the output."""
    made, _ = apply(case.prepared, case.scheme)
    expected = outputs(case.source, case.calibration)
    off = (outputs(made, case.calibration) - expected).mean(axis=tuple(range(expected.ndim - 1)))
    return np.abs(off) / (np.ptp(expected) / 255)


def coarse(graph, steps: int = 5) -> None:
    """Weights that one great value per channel makes coarse, so that their rounding shifts outputs."""
    for operator in graph.operators:
        if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            tensor = graph.tensors[operator.inputs[1]]
            axis = 3 if operator.type == "DEPTHWISE_CONV_2D" else 0
            rows = np.moveaxis(tensor.data.copy(), axis, 0)
            rows.reshape(len(rows), -1)[:, 0] *= steps * 4
            tensor.data = np.ascontiguousarray(np.moveaxis(rows, 0, axis))


def test_means_come_back(tower, case, seeded):
    """Outputs of a network with coarse weights get their means and some decibels back, unseen samples too."""
    coarse(tower)
    sick = case(tower, seeded(tower))
    unseen = seeded(tower, seed=1)
    before, off, other = sick.snr_db(), shifts(sick), sick.snr_db(unseen)
    effect = sick.repair("bias_correction")
    print(f"{before:.1f} -> {sick.snr_db():.1f} dB, unseen {other:.1f} -> {sick.snr_db(unseen):.1f} dB")
    print(f"mean shift {off.mean():.2f} -> {shifts(sick).mean():.2f} steps: {effect.what}")
    assert effect.changed > 0
    assert sick.snr_db() > before + 1
    assert sick.snr_db(unseen) > other + 1
    assert shifts(sick).mean() < off.mean() / 2


def test_a_layer_without_bias_gets_one(case, seeded):
    """Where a layer has no bias, the integer one has; a bias that layers share becomes each one's own."""
    b = Builder((1, 8))
    shared = b.constant(6, value=np.zeros(6))
    relu = {"fusedActivationFunction": "RELU"}
    first = b.add("FULLY_CONNECTED", ["x", b.constant(6, 8), shared], (1, 6), **relu)
    second = b.add("FULLY_CONNECTED", [first, b.constant(6, 6), shared], (1, 6), **relu)
    graph = b.outputs(b.add("FULLY_CONNECTED", [second, b.constant(5, 6)], (1, 5)))
    for operator in graph.operators:
        tensor = graph.tensors[operator.inputs[1]]
        tensor.data = tensor.data.copy()
        tensor.data[:, 0] *= 200
    sick = case(graph, seeded(graph))
    before = shifts(sick)
    assert sick.repair("bias_correction").changed > 0
    made, _ = apply(sick.prepared, sick.scheme)
    biases = [operator.inputs[2] for operator in made.operators if operator.type == "FULLY_CONNECTED"]
    assert 3 == len(set(biases))
    assert shifts(sick).max() < max(before.max() / 2, 0.2)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_applied_twice_it_corrects_once(precision, tower, case, seeded):
    """Later layers are corrected for what they read from corrected ones; then nothing is left to correct."""
    coarse(tower)
    sick = case(tower, seeded(tower), precision)
    assert sick.repair("bias_correction").changed > 0
    state = sick.state()
    assert 0 == sick.repair("bias_correction").changed
    assert state == sick.state()


def test_the_float_function_stays(tower, case, seeded):
    """The float graph is not changed, and a layer that computes in floating point is not corrected."""
    coarse(tower)
    sick = case(tower, seeded(tower))
    sick.repair("bias_correction")
    expected = outputs(tower, sick.calibration)
    np.testing.assert_array_equal(expected, outputs(sick.prepared.graph, sick.calibration))
    names = {operator.outputs[0]: "float32" for operator in tower.operators}
    made, _ = apply(sick.prepared, evolve(sick.scheme, exceptions=names))
    np.testing.assert_array_equal(expected, outputs(made, sick.calibration))


def test_equalisation_scales_corrections(tower, case, seeded):
    """Corrections of channels that are equalised afterwards are divided as their biases are."""
    sick = case(tower, seeded(tower))
    name = tower.operators[0].outputs[0]
    bias = tower.tensors[tower.operators[0].inputs[2]].data
    sick.prepared.corrections[name] = np.ones_like(bias)
    assert sick.repair("equalization").changed > 0
    after = sick.prepared.graph.tensors[sick.prepared.graph.operators[0].inputs[2]].data
    assert np.ptp(after / bias) > 0.1
    np.testing.assert_allclose(after / bias, sick.prepared.corrections[name], rtol=1e-4)


def test_nothing_to_do(case, seeded):
    """Weights that are integers already shift nothing: the graph is untouched."""
    b = Builder((1, 6, 6, 4))
    graph = b.outputs(b.conv("x", 8, "SAME"))
    weights = graph.tensors[graph.operators[0].inputs[1]]
    weights.data = np.random.default_rng(0).integers(-127, 128, weights.shape).astype(np.float32)
    weights.data[:, 0, 0, 0] = 127
    sick = case(graph, seeded(graph))
    state = sick.state()
    assert 0 == sick.repair("bias_correction").changed
    assert state == sick.state()
    sick.context.scheme = type(sick.scheme)("dynamic")
    assert 0 == sick.repair("bias_correction").changed
    assert state == sick.state()


def test_models_with_a_state_are_left(tower, case, seeded):
    """What a model with a state computes of a sample depends on those before it: nothing is corrected."""
    coarse(tower)
    sick = case(tower, seeded(tower))
    sick.prepared.graph.tensors["state"] = GraphTensor("state", (1, 4), "float32", variable=True)
    effect = sick.repair("bias_correction")
    assert (0, True) == (effect.changed, "state" in effect.what)


@pytest.mark.zoo
def test_a_network_of_the_zoo(zoo_case):
    """A trained network that is equalised gains, on samples that calibration did not see."""
    sick, others = zoo_case("kws_dscnn", "kws")
    sick.repair("equalization")
    before = sick.snr_db(others)
    effect = sick.repair("bias_correction")
    print(f"kws_dscnn: {before:.2f} dB, corrected {sick.snr_db(others):.2f} dB: {effect.what}")
    assert effect.changed > 0
    assert sick.snr_db(others) > before + 1
