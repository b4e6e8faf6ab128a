"""The LiteRT engine: calibrates once, builds in every precision, and looks inside what it built."""

import sys

import numpy as np
import pytest

from converters import registry
from converters.backends.litert import LEAST_VERSION
from converters.graph.ir import Graph
from converters.graph.write import write
from converters.model import Model
from converters.partition.types import Recipe
from converters.quantize.accuracy import fidelity
from converters.quantize.integer.litert_engine import LiteRTEngine
from converters.quantize.samples.calibration import Calibration
from converters.quantize.scheme import PRECISIONS, Scheme
from converters.quiet import quiet
from converters.shaping import Shaping
from device_agent.errors import CalibrationError, InvalidRequest

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(8, 3, 3, 4))


def silent(*_: object) -> None:
    pass


@pytest.fixture
def open_engine(tmp_path):
    """An engine for a graph, as the backend makes one of a file."""

    def made(
        graph: Graph, calibration: Calibration | None, progress=silent, runtime="litert"
    ) -> LiteRTEngine:
        path = tmp_path / "net.tflite"
        path.write_bytes(write(graph))
        model: Model = registry.reader("tflite").read(path, Shaping())
        found = registry.backend(runtime).engine(model, calibration, progress)
        assert isinstance(found, LiteRTEngine)
        return found

    return made


def snr_db(engine: LiteRTEngine, scheme: Scheme, calibration: Calibration) -> float | None:
    """Of the first output against the engine's own float model."""
    reference = fidelity.runner(engine.build(Scheme("float32", "float")).artifact)
    built = engine.build(scheme).artifact
    return fidelity.measure(built, "float", reference, calibration, limit=50).outputs[0].snr_db


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision(open_engine, conv_graph, samples, precision):
    """The artifact is called by its precision and computes what the float model does."""
    calibration = samples(64)
    weights = RNG.normal(size=(64, 3, 3, 64))
    engine = open_engine(conv_graph(weights, RNG.normal(size=64)), calibration)
    made = engine.build(Scheme(precision, "float"))
    assert (precision, f"net_{precision}.tflite") == (made.artifact.precision, made.artifact.title)
    assert (LEAST_VERSION, "litert") == (made.artifact.runtime_version, made.artifact.runtime)
    found = snr_db(engine, Scheme(precision, "float"), calibration)
    assert found is None if precision == "float32" else found > 15
    if precision != "float32":
        assert len(made.artifact.data) < 0.6 * 4 * weights.size


def test_layers(open_engine, conv_graph, samples):
    """Each operator with what it can compute in, and the name by which the file's user knows it."""
    first, second = open_engine(conv_graph(WEIGHTS, np.zeros(8), then="ZEROS_LIKE"), samples(4)).layers()
    assert ("y", "CONV_2D", ("int8", "int16x8", "float32")) == (first.name, first.type, first.precisions)
    assert 16 * 8 * 9 * 4 == first.macs
    assert ("z", ("float32",), 0) == (second.name, second.precisions, second.macs)


def test_mixed(open_engine, conv_graph, samples):
    """With exceptions the artifact is called mixed, and names what computes in floating point."""
    engine = open_engine(conv_graph(WEIGHTS, np.zeros(8), then="TANH"), samples(4))
    made = engine.build(Scheme(exceptions={"z": "float32"}))
    assert ("mixed", ("DEQUANTIZE", "TANH")) == (made.artifact.precision, made.artifact.float_operators)


def test_samples_are_read_once(open_engine, conv_graph, samples):
    """Schemes without repairs share one pass over the samples; the same scheme gives the same bytes."""
    given, passes = samples(4), []

    def counted():
        passes.append(None)
        return given.samples()

    engine = open_engine(conv_graph(WEIGHTS, np.zeros(8)), Calibration("counted", given.count, counted))
    first = engine.build(Scheme())
    for scheme in (Scheme(io="float"), Scheme("int16x8"), Scheme(ranges="octav")):
        engine.build(scheme)
    assert first.artifact == engine.build(Scheme()).artifact
    assert 1 == len(passes)


def test_no_calibration_is_an_error(open_engine, conv_graph):
    """Without calibration data the three ways to give it are shown; what needs none is built."""
    engine = open_engine(conv_graph(WEIGHTS, np.zeros(8)), None)
    with pytest.raises(CalibrationError, match="none was given") as caught:
        engine.build(Scheme())
    for way in ("--calibration data.npz", "--preprocessing", "mycode:samples"):
        assert way in str(caught.value)
    assert engine.build(Scheme("float16", "float")).artifact.data


def test_an_unknown_repair(open_engine, conv_graph, samples):
    """It is refused with those that are known."""
    with pytest.raises(InvalidRequest, match=r"'magic'.*equalization"):
        open_engine(conv_graph(WEIGHTS, np.zeros(8)), samples(4)).build(Scheme(repairs=("magic",)))


def test_repairs_leave_the_engine_as_it_was(open_engine, conv_graph, samples):
    """What a repair changes is a copy: the plain scheme gives the same bytes before and after."""
    engine = open_engine(conv_graph(WEIGHTS, RNG.normal(size=8)), samples(4))
    before = engine.build(Scheme()).artifact.sha256
    repaired = engine.build(Scheme(repairs=("weight_rounding", "bias_correction")))
    assert ["weight_rounding", "bias_correction"] == [one.repair for one in repaired.effects]
    assert before == engine.build(Scheme()).artifact.sha256


def test_nothing_reaches_the_terminal(capfd, open_engine, conv_graph, samples):
    """The runtime's own announcements stay off standard output and error."""
    with quiet():
        engine = open_engine(conv_graph(WEIGHTS, np.zeros(8)), samples(4, 40))
    engine.build(Scheme())
    engine.errors(Scheme(), samples(4, 2).samples())
    print("still there", file=sys.stderr)
    assert ("", "still there\n") == tuple(capfd.readouterr())


def test_errors_of_layers(open_engine, conv_graph, samples):
    """They are those of the tensors themselves: of one layer they are what its output shows."""
    calibration = samples(4, 30)
    engine = open_engine(conv_graph(WEIGHTS, RNG.normal(size=8)), calibration)
    (found,) = engine.errors(Scheme(), calibration.samples())
    assert ("y", "CONV_2D", "int8") == (found.layer, found.type, found.precision)
    assert found.snr_db == pytest.approx(snr_db(engine, Scheme(), calibration), abs=0.2)
    assert found.cosine > 0.999
    assert found.range_use == pytest.approx(1, abs=0.01)
    assert 0 == found.saturation


def test_errors_of_clipped_and_float_layers(open_engine, conv_graph, samples):
    """A range that was cut off shows as saturation; a float layer has no range to fill."""
    graph = conv_graph(WEIGHTS, RNG.normal(size=8), then="ABS")
    engine = open_engine(graph, samples(4, 2))
    louder = ({"input": 3 * sample["input"]} for sample in samples(4, 10).samples())
    clipped, left = engine.errors(Scheme(exceptions={"z": "float32"}), louder)
    assert 1 == clipped.range_use
    assert 0.05 < clipped.saturation < 0.9
    assert ("float32", None, None) == (left.precision, left.range_use, left.saturation)


def test_as_good_as_the_other_quantiser(open_engine, conv_graph, samples, tmp_path):
    """Ours in int8 is at least as close to float as ai-edge-quantizer's, but for half a decibel."""
    calibration = samples(4, 40)
    graph = conv_graph(WEIGHTS, RNG.normal(size=8), then="TANH")
    engine = open_engine(graph, calibration)
    with quiet():
        from ai_edge_quantizer import quantizer, recipe

        other = quantizer.Quantizer(write(graph), recipe.static_wi8_ai8())
        rows = {"serving_default": list(calibration.samples())}
        (tmp_path / "other.tflite").write_bytes(other.quantize(other.calibrate(rows)).quantized_model)
    model = registry.reader("tflite").read(tmp_path / "other.tflite", Shaping())
    theirs = registry.backend("litert").compile(model, Recipe("int8", "integer"), None, silent)
    assert ("CONV_2D", "TANH") == theirs.operators
    reference = fidelity.runner(engine.build(Scheme("float32", "float")).artifact)
    found = fidelity.measure(theirs, "float", reference, calibration, limit=50).outputs[0].snr_db
    assert snr_db(engine, Scheme(), calibration) >= found - 0.5
