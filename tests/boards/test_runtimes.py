"""Every runtime that a board may have, on the architectures that it has wheels for."""

from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from device_agent.bundle import Bundle, write_bundle
from device_agent.errors import ActivationFailed
from targets.schema import Target, load_target
from tests.boards.conftest import converted
from tests.boards.emulator import Workshop
from tests.boards.observe import answers

pytestmark = [pytest.mark.board, pytest.mark.zoo, pytest.mark.slow, pytest.mark.timeout(600)]
TFLITE_64 = """\
title = "A 64-bit board with the older runtime"
architecture = "aarch64"
ram_bytes = 1_000_000_000
source = "test"
[runtimes]
tflite = "2.14.0"
[[processors]]
name = "cpu"
kind = "Cortex-A72"
backends = ["tflite"]
dtypes = ["int8", "float32"]
"""


def tflite_64(folder: Path) -> str:
    """A board file."""
    path = folder / "tflite64.toml"
    path.write_text(TFLITE_64)
    return str(path)


@pytest.mark.parametrize(
    ("architecture", "board", "runtime"),
    [
        ("arm64", "rpi4", ("litert", "2.")),
        ("arm64", "tflite64", ("tflite", "2.14.0")),
        ("armhf", "rpi4-32bit", ("tflite", "2.14.0")),
    ],
)
def test_it_computes_what_the_host_computes(
    shop: Workshop,
    architecture: str,
    board: str,
    runtime: tuple[str, str],
    zoo: Path,
    calibration: Path,
    tmp_path: Path,
) -> None:
    """Installed without internet there, int8 and float32 ResNet-8 stay within their tolerance."""
    name = tflite_64(tmp_path) if board == "tflite64" else board
    target: Target = load_target(name)
    model = zoo / "models/onnx/resnet8.onnx"
    with shop.board("user", f"{architecture}-{runtime[0]}", architecture=architecture) as device:
        outcome = device.install(target)
        assert outcome.agent is not None
        found = {one.name: one.version for one in outcome.agent.runtimes}
        assert found[runtime[0]].startswith(runtime[1])
        assert target.architecture == outcome.agent.machine
        with device.device(target) as there:
            for precision in ("float32", "int8"):
                bundle = converted(model, name, precision, calibration, tmp_path)
                assert there.deploy(bundle).parity.passed
        answers(device, bundle)
        if runtime[0] == "tflite":
            newer = with_a_newer_operator(bundle, tmp_path)
            refused = pytest.raises(ActivationFailed, match=r"FULLY_CONNECTED.*version '?12")
            with device.device(target) as there, refused:
                there.deploy(newer)
            answers(device, bundle)


def with_a_newer_operator(bundle: Bundle, folder: Path) -> Bundle:
    """The same bundle, its model asking for a version of an operator that tflite-runtime does not know."""
    layers = {layer.title: (layer.mediaType, bundle.read(layer)) for layer in bundle.manifest.layers}
    title = bundle.config.model
    model = schema.ModelT.InitFromPackedBuf(layers[title][1], 0)
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = 12
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    layers[title] = (layers[title][0], bytes(builder.Output()))
    return write_bundle(folder / "newer", bundle.config, layers)
