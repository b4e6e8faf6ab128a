"""What a model is and needs, and what a board refuses of it."""

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from converters import registry
from converters.graph.ir import GraphTensor
from converters.graph.runtimes import least_runtime, runtime_of
from converters.graph.write import write
from converters.model import Model
from converters.preflight import RUNTIME_BYTES, Fit, preflight
from converters.shaping import Shaping
from device_agent.errors import InvalidRequest
from targets.schema import Target, load_target
from tests.converters.readers import networks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BOARD = load_target("rpi4")


def model_of(tmp_path: Path, data: bytes) -> Model:
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    return registry.reader("tflite").read(path, Shaping())


@pytest.fixture
def net(tmp_path) -> Model:
    return model_of(tmp_path, write(networks.convolutional()))


def test_costs(net):
    """Work, weights, arena and file of a small network, counted by hand."""
    compiled = preflight(net).compiled
    assert 36 * 3 * 18 + 3 * 108 == compiled.macs
    float32, int8 = compiled.memory["float32"], compiled.memory["int8"]
    assert 4 * (54 + 3 + 324) + 8 == float32.weights
    assert 54 + 4 * 3 + 324 + 8 == int8.weights  # the bias in four bytes, the shape of the reshape as it is
    assert 512 + 448 <= float32.arena <= 512 + 448 + 448  # image and features; features and flat
    assert float32.arena > 3 * int8.arena
    assert float32.file > float32.weights
    assert float32.file - float32.weights == int8.file - int8.weights


def test_operators_by_version(net):
    """Each version of a builtin with its number, its work, and the first runtime that has it."""
    compiled = preflight(net).compiled
    assert {
        ("CONV_2D", 1, 1, 1944, "1.5.0"),
        ("RESHAPE", 1, 1, 0, "1.5.0"),
        ("FULLY_CONNECTED", 6, 1, 324, "2.1.0"),
        ("SOFTMAX", 1, 1, 0, "1.5.0"),
    } == {attrs.astuple(use) for use in compiled.operators}
    assert "2.1.0" == compiled.least_runtime


def test_an_onnx_model_is_counted_as_it_is_compiled():
    """The operators of the source are those of the file; costs are those of the graph that is made of it."""
    path = EXAMPLES / "digits/digits.onnx"
    found = preflight(registry.reader_for(path).read(path, Shaping()), BOARD)
    assert 14 == sum(found.operator_counts.values())
    assert 10 == sum(use.count for use in found.compiled.operators)
    assert found.target.accepted
    assert ("cpu", "litert", "int8") == (found.target.processor, found.target.runtime, found.target.precision)


@pytest.mark.parametrize(("name", "expected"), [("ram_bytes", "ram"), ("flash_bytes", "flash")])
def test_what_does_not_fit(net, name, expected):
    """A board with too little memory of either kind is told; one that does not say is not judged."""
    small = preflight(net, attrs.evolve(BOARD, **{name: 1000})).target
    fit: Fit = getattr(small, expected)
    assert (1000, False, False) == (fit.available, fit.fits, small.accepted)
    assert () == small.refusals
    silent = preflight(net, attrs.evolve(BOARD, **{name: None})).target
    assert (None, None, True) == (
        getattr(silent, expected).available,
        getattr(silent, expected).fits,
        silent.accepted,
    )


def test_memory_by_the_formula(net):
    """RAM is twice the weights, the arena and the runtime, in the precision that is deployed."""
    for precision in ("int8", "float32"):
        found = preflight(net, BOARD, precision=precision)
        memory = found.compiled.memory[precision]
        assert 2 * memory.weights + memory.arena + RUNTIME_BYTES["litert"] == found.target.ram.needed
        assert memory.file == found.target.flash.needed


def unary(kind: str, shape: tuple[int, ...] = (1, 4), dtype: str = "float32") -> bytes:
    tensors = [GraphTensor("x", shape, dtype), GraphTensor("y", shape, dtype)]
    return write(networks.graph(tensors, [networks.operator(kind, ["x"], ["y"])], ["x"], ["y"]))


def test_operators_without_an_int8_form(tmp_path):
    """What has no integer form is refused by a processor of int8 alone; others run it in float."""
    model = model_of(tmp_path, unary("ZEROS_LIKE", (1, 2, 2, 4)))
    one = attrs.evolve(BOARD.processors[0], dtypes=("int8",))
    (refusal,) = preflight(model, attrs.evolve(BOARD, processors=(one,))).target.refusals
    assert ("ZEROS_LIKE", "y") == (refusal.operator, refusal.place)
    assert refusal.reason.startswith("it has no int8 form")
    assert preflight(model, BOARD).target.accepted


def test_an_old_runtime(tmp_path):
    """An operator that came after the board's runtime is refused with both versions."""
    tensors = [
        GraphTensor("x", (4,), "bool"),
        GraphTensor("i", (1, 1), "int32", np.zeros((1, 1), np.int32)),
        GraphTensor("y", (1,), "bool"),
    ]
    data = write(networks.graph(tensors, [networks.operator("GATHER_ND", ["x", "i"], ["y"])], ["x"], ["y"]))
    model = model_of(tmp_path, data)
    (refusal,) = preflight(model, load_target("rpi4-32bit")).target.refusals
    assert ("GATHER_ND", "TFLite 2.16.0", "TFLite 2.14.0") == (refusal.operator, refusal.got, refusal.limit)
    assert preflight(model, BOARD).target.accepted


def test_what_is_refused_is_still_counted(tmp_path):
    """Of a TFLite file with an operator that cannot run, the rest is known; the refusal is in both places."""
    model = model_of(tmp_path, networks.custom("Mine"))
    found = preflight(model, BOARD)
    assert ["CUSTOM:Mine"] == [use.type for use in found.compiled.operators]
    assert 1 == len(found.refusals)
    assert found.refusals == found.target.refusals
    assert not found.target.accepted


def test_a_null_model(tmp_path):
    """A model that computes nothing has no costs; its own board takes it."""
    path = tmp_path / "toy.null.json"
    ends = [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]
    path.write_text(json.dumps({"inputs": ends, "outputs": ends}))
    found = preflight(registry.reader("null").read(path, Shaping()), load_target("null"))
    assert found.compiled is None
    assert found.target.accepted
    assert (None, None) == (found.target.ram, found.target.flash)


def test_a_precision_that_the_board_has_not(net):
    """A board that does not compute in what is asked for says so, as `plan` does."""
    one = attrs.evolve(BOARD.processors[0], dtypes=("float32",))
    board: Target = attrs.evolve(BOARD, processors=(one,))
    with pytest.raises(InvalidRequest, match="no processor of rpi4 computes in int8"):
        preflight(net, board, precision="int8")
    assert "float32" == preflight(net, board).target.precision


def test_runtimes():
    """The runtime of a version, None where the table does not say, and the greatest of several."""
    assert ("1.14.0", None, None) == (
        runtime_of("CONV_2D", 3),
        runtime_of("CONV_2D", 99),
        runtime_of("CUSTOM", 1),
    )
    assert "2.16.0" == least_runtime({("CONV_2D", 3), ("GATHER_ND", 5), ("TRANSPOSE", 6)})
    assert "1.5.0" == least_runtime(set())


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("onnx/vww_mobilenetv1_025.onnx", 7_489_664),
        ("onnx/resnet8.onnx", 12_501_632),
        ("onnx/kws_dscnn.onnx", 2_656_768),
        ("onnx/ad01_autoencoder.onnx", 264_192),
        ("mlperf-tiny/vww_96_int8.tflite", 7_489_664),
        ("mlperf-tiny/pretrainedResnet_quant.tflite", 12_501_632),
    ],
)
def test_work_of_published_networks(zoo, name, macs):
    """MLPerf Tiny's networks do the work that is published of them (7.5, 12.5, 2.7 and 0.26 million)."""
    path = zoo / "models" / name
    assert macs == preflight(registry.reader_for(path).read(path, Shaping())).compiled.macs
