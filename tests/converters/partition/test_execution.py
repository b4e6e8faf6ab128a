"""How OpenVINO may be asked to run a model, and what a plan makes of that."""

import pytest

from converters.partition.execution import device_kind, precisions_in, settled_execution
from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest
from targets.schema import Processor

CPU, GPU, NPU, OTHER = (
    Processor(name, "", ("openvino",), ("int8", "float32")) for name in ("cpu", "gpu", "npu", "dsp")
)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("CPU", "CPU"),
        (" gpu.1 ", "GPU.1"),
        ("npu", "NPU"),
        ("auto", "AUTO"),
        ("Auto:gpu, cpu", "AUTO:GPU,CPU"),
        ("HETERO:GPU.1,CPU", "HETERO:GPU.1,CPU"),
        ("hetero:cpu", "HETERO:CPU"),
    ],
)
def test_devices_as_openvino_spells_them(text, device):
    """Case and spaces do not matter."""
    assert device == device_kind(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a kind of device: got '', expected CPU, GPU, GPU.1, NPU, AUTO"),
        ("TPU", "got 'TPU'"),
        ("GPU:1", "got 'GPU:1'"),
        ("MULTI:CPU,GPU", "got 'MULTI:CPU,GPU'"),
        ("HETERO", "HETERO needs the devices.*HETERO:GPU,CPU"),
        ("HETERO:", "HETERO can hand a model on to: got ''"),
        ("HETERO:GPU,,CPU", "HETERO can hand a model on to: got ''"),
        ("AUTO:-CPU", "AUTO can hand a model on to: got '-CPU'"),
        ("HETERO:AUTO,CPU", "got 'AUTO'"),
        ("HETERO:GPU,CPU,GPU", "named twice: got GPU"),
    ],
)
def test_what_is_no_device(text, words):
    """What OpenVINO does not have, or what would mean nothing, is refused with what there is."""
    with pytest.raises(InvalidRequest, match=words):
        device_kind(text)


@pytest.mark.parametrize(
    ("processor", "device", "precision"),
    [(CPU, "CPU", "f32"), (GPU, "GPU", "f32"), (NPU, "NPU", "f16"), (OTHER, "CPU", "f32")],
)
def test_the_processor_gives_the_device(processor, device, precision):
    """Where nothing is asked, the board's processor runs it, in float32 if it has that."""
    assert Execution(device, "latency", precision) == settled_execution(None, processor)


def test_what_is_asked_stands():
    """A device that is asked for takes the processor's place; the precision is one that all of it have."""
    asked = Execution(device="hetero:npu,cpu", hint="throughput", streams=2, strict=True)
    assert Execution("HETERO:NPU,CPU", "throughput", "f16", 2, {}, strict=True) == settled_execution(
        asked, GPU
    )
    assert "bf16" == settled_execution(Execution(device="", precision="bf16"), CPU).precision


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            Execution(device="NPU", precision="f32"),
            "NPU does not compute in that precision.*f32, expected f16",
        ),
        (Execution(device="HETERO:GPU,CPU", precision="bf16"), "bf16, expected f32 or f16"),
        (Execution(device="", precision="f8"), "precision"),
        (Execution(device="", hint="speed"), "hint.*'speed'"),
        (Execution(device="", streams=0), "streams"),
    ],
)
def test_what_a_device_does_not_have(asked, words):
    """A precision that a device named does not compute in, and senseless hints and streams, are refused."""
    with pytest.raises(InvalidRequest, match=words):
        settled_execution(asked, CPU)


def test_precisions_that_all_have():
    """What can be asked for is what every processor named computes in."""
    assert [("f32", "f16", "bf16"), ("f32", "f16"), ("f16",), ("f32", "f16")] == [
        precisions_in(device) for device in ("CPU", "HETERO:GPU.1,CPU", "AUTO:NPU,CPU", "AUTO")
    ]
