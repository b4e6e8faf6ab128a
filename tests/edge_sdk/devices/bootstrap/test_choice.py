"""Which runtimes a device gets."""

import pytest

from device_agent.errors import InvalidRequest
from edge_sdk.devices.bootstrap import choice
from targets.schema import load_target


def test_only_the_preferred_runtime_comes_unasked() -> None:
    """OpenVINO is large: a board that may have it gets it where somebody asks for it."""
    board = load_target("rpi4")
    assert {"litert", "openvino"} <= board.runtimes.keys()
    assert ("litert",) == choice.choose(board, [])
    assert ("litert", "openvino") == choice.choose(board, ["openvino"])
    assert ("litert",) == choice.choose(board, ["litert", "litert"])


def test_what_is_there_stays() -> None:
    """An upgrade keeps a runtime that was asked for once, and drops one that the board has no more."""
    assert ("litert", "openvino") == choice.choose(load_target("rpi4"), [], ["litert", "openvino", "tflite"])


def test_a_runtime_that_the_board_cannot_have() -> None:
    """Refused with the board's own, and with why there is none for 32 bits."""
    with pytest.raises(InvalidRequest, match=r"rpi4-32bit.*'openvino'.*tflite.*aarch64 and x86_64 only"):
        choice.choose(load_target("rpi4-32bit"), ["openvino"])
    with pytest.raises(InvalidRequest, match=r"'onnxruntime'.*litert or openvino"):
        choice.choose(load_target("rpi4"), ["onnxruntime"])


def test_the_runtimes_of_a_release() -> None:
    """Its wheels say which they are: an older release remembers what it never wrote down."""
    wheels = [
        "numpy-2.4.6-cp311-x.whl",
        "ai_edge_litert-2.3.0-cp311-x.whl",
        "openvino-2026.4.1-22982-cp311-x.whl",
    ]
    assert ("litert", "openvino") == choice.among(wheels)
    assert ("tflite",) == choice.among(["tflite_runtime-2.14.0-cp311-x.whl"])
    assert () == choice.among(["openvino_genai-1-x.whl"])
