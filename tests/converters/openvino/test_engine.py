"""Models quantised by NNCF, as the ladder asks for them, and run by OpenVINO here."""

import sys
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters import registry
from converters.artifact import Artifact
from converters.model import Model
from converters.openvino.engine import OpenVINOEngine
from converters.openvino.opened import OpenModel, open_model
from converters.progress import silent
from converters.quantize.accuracy.fidelity import runner
from converters.quantize.accuracy.metrics.choice import choose
from converters.quantize.engine import Apart
from converters.quantize.samples.calibration import Calibration, load_calibration
from converters.quantize.samples.validation import load_validation
from converters.quantize.scheme import Scheme
from converters.quantize.search import auto
from converters.quantize.search.budget import resident_bytes
from converters.quantize.search.timing import Stopwatch
from converters.quantize.search.types import Goal
from converters.shaping import Shaping
from device_agent.bundle import Execution
from device_agent.errors import CalibrationError, InvalidRequest, QuantizationError
from tests.conftest import needs
from tests.converters.openvino import transformer

FLOAT, INT8 = Scheme("float32", "float"), Scheme("int8", "float")
SMOOTH = Scheme("int8", "float", repairs=("smooth_quant",))
EXECUTION = Execution(precision="f32")


def engine_of(path, samples: np.ndarray) -> tuple[Model, Calibration, OpenVINOEngine, OpenModel]:
    model = registry.reader_for(path).read(path, Shaping())
    calibration = load_calibration(samples, model)
    opened = open_model(model, silent)
    engine = OpenVINOEngine(model, opened, calibration, execution=EXECUTION, progress=silent)
    return model, calibration, engine, opened


def outputs(artifact: Artifact, samples: np.ndarray) -> np.ndarray:
    run = runner(artifact)
    (given,), (made,) = artifact.inputs, artifact.outputs
    return np.concatenate([run({given.name: sample[None]})[made.name] for sample in samples])


def snr_db(engine: OpenVINOEngine, scheme: Scheme, samples: np.ndarray) -> float:
    signal = outputs(engine.build(FLOAT).artifact, samples)
    other = outputs(engine.build(scheme).artifact, samples)
    return float(10 * np.log10(np.square(signal).sum() / np.square(signal - other).sum()))


@pytest.fixture(autouse=True, scope="module")
def needs_nncf() -> None:
    """Skips without NNCF."""
    needs("nncf", extra="openvino")


@pytest.fixture(scope="module")
def transformers(needs_nncf, tmp_path_factory):
    """The transformer's block with its calibration and engine, for all tests of this module."""
    path = transformer.write(tmp_path_factory.mktemp("transformer") / "block.onnx")
    return engine_of(path, transformer.samples(50))


@pytest.fixture
def block(transformers) -> Iterator[OpenVINOEngine]:
    yield transformers[2]
    transformers[2].allow(None)


def test_smooth_quant(block):
    """Channels behind a normalisation that are 60 times wider cost 15 dB, which SmoothQuant brings back."""
    samples = transformer.samples(30, 1)
    plain, smoothed = (snr_db(block, scheme, samples) for scheme in (INT8, SMOOTH))
    assert plain < 20
    assert smoothed > plain + 10
    (effect,) = block.build(SMOOTH).effects
    assert ("smooth_quant", 5) == (effect.repair, effect.changed)


def test_the_same_scheme_gives_the_same_bytes(transformers, block):
    """Also where NNCF is asked anew, by another engine."""
    model, calibration, _, opened = transformers
    other = OpenVINOEngine(model, opened, calibration, execution=EXECUTION, progress=silent)
    assert block.build(INT8).artifact.digest == other.build(INT8).artifact.digest


def test_weights_tell_artifacts_apart(block):
    """Two schemes may give the same operators: their constants are in another file."""
    one, other = (block.build(Scheme("int8", "float", ranges=name)).artifact for name in ("minmax", "mse"))
    assert one.sha256 == other.sha256
    assert one.digest != other.digest


def test_both_bias_corrections(block):
    """NNCF has one at a time: the other says so, and the model is that of the first alone."""
    both = block.build(Scheme("int8", "float", repairs=("bias_correction", "fast_bias_correction")))
    alone = block.build(Scheme("int8", "float", repairs=("bias_correction",)))
    assert alone.artifact.digest == both.artifact.digest
    assert ["bias_correction", 1, "fast_bias_correction", 0] == [
        value for effect in both.effects for value in (effect.repair, effect.changed)
    ]


def test_the_child_and_the_artifact_agree(transformers, block):
    """The tolerance, which the child measured, is what the artifact's own runs come to here."""
    _, calibration, _, _ = transformers
    samples = np.concatenate([sample["tokens"] for sample in calibration.samples()])
    chosen = samples[np.unique(np.linspace(0, len(samples) - 1, 8).astype(int))]
    found = np.abs(
        outputs(block.build(FLOAT).artifact, chosen) - outputs(block.build(INT8).artifact, chosen)
    ).max()
    assert pytest.approx(block.build(INT8).artifact.tolerance["scores"], rel=1e-6) == found


def test_layers(block):
    """They are called as in the source, name what they read, and tell their multiplications."""
    layers = {layer.name: layer for layer in block.layers()}
    up = layers["node/up"]
    assert ("MatMul", "node/up", 8 * 32 * 64) == (up.type, up.label, up.macs)
    assert all(set(layer.inputs) <= layers.keys() for layer in layers.values())


def test_exceptions_are_left_in_float(block):
    """An operator that is ignored stays float, and nothing else does that was not."""
    built = block.build(Scheme("int8", "float", {"node/up": "float32"}))
    assert "mixed" == built.artifact.precision
    assert () == built.fallbacks
    plain = block.build(INT8).artifact.float_operators
    assert "MatMul" not in plain
    assert 1 == built.artifact.float_operators.count("MatMul")


def test_the_errors_of_layers(block):
    """The layer behind the wide channels loses most of what its input still had."""
    samples = [{"tokens": sample[None]} for sample in transformer.samples(4, 2)]
    plain = {error.layer: error for error in block.errors(INT8, samples)}
    smoothed = {error.layer: error for error in block.errors(SMOOTH, samples)}
    assert plain["node/up"].snr_db < 15 < 25 < plain["node/joined"].snr_db
    assert smoothed["node/up"].snr_db > plain["node/up"].snr_db + 10
    assert ("int8", "float32") == (plain["node/up"].precision, plain["node/mixed"].precision)


def test_weights_alone(block):
    """Fewer bits, fewer bytes; the last matrix keeps 8, and is told of."""
    built = [
        block.build(Scheme(name, "float")) for name in ("float32", "float16", "weight-int8", "weight-int4")
    ]
    sizes = [len(one.artifact.files[f"{one.artifact.title[:-4]}.bin"]) for one in built]
    assert sorted(sizes, reverse=True) == sizes
    assert [()] * 3 == [one.fallbacks for one in built[:3]]
    assert [("node/voted", "weight-int8")] == [(one.layer, one.precision) for one in built[3].fallbacks]


@pytest.mark.parametrize("precision", ["int16x8", "dynamic"])
def test_what_openvino_has_not(block, precision):
    """Refused by name, with what there is."""
    with pytest.raises(QuantizationError, match=f"{precision} does not exist on OpenVINO") as caught:
        block.build(Scheme(precision, "float"))
    assert "weight-int4" in caught.value.expected


def test_unknown_names(block):
    """Ranges and repairs of LiteRT are none of NNCF's."""
    with pytest.raises(InvalidRequest, match="octav"):
        block.build(Scheme("int8", "float", ranges="octav"))
    with pytest.raises(InvalidRequest, match="equalization"):
        block.build(Scheme("int8", "float", repairs=("equalization",)))


def test_a_search(transformers, block):
    """The ladder finds that repairs keep what plain int8 loses, timing candidates on one thread."""
    model, calibration, _, _ = transformers
    validation = load_validation(transformer.samples(20, 3), model)
    metric, _ = choose("snr", model, validation)
    search, built = auto.search(
        model, block, calibration, validation, metric, Goal(max_drop=0.0),
        journal=None, progress=silent, io="float",
    )  # fmt: skip
    assert search.met
    assert "smooth_quant" in search.candidates[search.best - 1].scheme.repairs
    assert search.errors
    assert Stopwatch({"tokens": transformer.samples(1)}).latency_ns(built.artifact) > 0


def test_nothing_heavy_is_imported_here(block):
    """NNCF and PyTorch are imported by the child alone, whose memory is told."""
    before = set(sys.modules)
    block.build(INT8)
    assert not {"nncf", "torch"} & (sys.modules.keys() - before)
    assert isinstance(block, Apart)
    assert block.held_bytes() > 50 << 20
    assert resident_bytes() > 0


def scaled_layers(path) -> object:
    """x: float32[1, 64] -> twice a matrix, factors of channels, biases, Relu: a normalisation that stayed."""
    random = np.random.default_rng(0)
    nodes, constants, last = [], [], "x"
    for layer in range(2):
        values = {
            "w": random.normal(size=(64, 64)) / 8,
            "c": random.uniform(0.5, 1.5, (1, 64)),
            "b": random.normal(size=(1, 64)) / 10,
        }
        for (name, value), kind in zip(values.items(), ("MatMul", "Mul", "Add"), strict=True):
            constants.append(numpy_helper.from_array(value.astype(np.float32), f"{name}{layer}"))
            nodes.append(
                helper.make_node(kind, [last, f"{name}{layer}"], [f"{kind}{layer}"], f"{kind}{layer}")
            )
            last = f"{kind}{layer}"
        nodes.append(helper.make_node("Relu", [last], [f"relu{layer}"], f"relu{layer}"))
        last = f"relu{layer}"
    graph = helper.make_graph(
        nodes, "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 64])], constants,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_factors_and_time(tmp_path):
    """Factors of channels behind matrices are folded; a build that takes too long ends with its process."""
    samples = np.random.default_rng(1).normal(size=(40, 64)).astype(np.float32)
    _, _, engine, _ = engine_of(scaled_layers(tmp_path / "layers.onnx"), samples)
    assert not [layer for layer in engine.layers() if layer.type == "Multiply"]
    assert snr_db(engine, INT8, samples) > 30
    engine.allow(0.01)
    with pytest.raises(QuantizationError, match="did not finish"):
        engine.build(SMOOTH)
    engine.allow(None)
    assert (1, 64) == engine.build(FLOAT).artifact.outputs[0].shape
    assert len(engine.errors(INT8, [{"x": samples[:1]}])) > 0


def test_without_samples(write_ir, tmp_path):
    """Int8 needs them; and int4 is refused where only the last matrix could have it, which keeps 8 bits."""
    path = write_ir(tmp_path / "net.xml")
    model = registry.reader_for(path).read(path, Shaping(1))
    engine = OpenVINOEngine(model, open_model(model, silent), None, execution=EXECUTION, progress=silent)
    with pytest.raises(CalibrationError, match="needs calibration data"):
        engine.build(INT8)
    with pytest.raises(QuantizationError, match="stores no weights of this model in weight-int4"):
        engine.build(Scheme("weight-int4", "float"))
