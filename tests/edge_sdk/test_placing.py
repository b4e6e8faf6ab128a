"""Where operators run on a device: whether it has the processor, and which takes each operator."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

import edge_sdk
from device_agent.bundle import Execution
from device_agent.errors import DeviceUnsuitable, RuntimeMissing, UnsupportedOperator
from device_agent.protocol import Queried, QueriedDevice, RuntimeDevice
from edge_sdk import placing
from edge_sdk.devices.device import Device
from targets.schema import load_target

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
LOCAL = load_target("local")
THERE = (
    RuntimeDevice("CPU", "a CPU", ("FP32",)),
    RuntimeDevice("GPU.0", "a GPU", ("FP16",)),
    RuntimeDevice("GPU.1", "another", ("FP16",)),
    RuntimeDevice("NPU", "", (), "its user-mode driver is missing: install it."),
)
QUERIED = Queried(
    ("conv", "nms", "softmax"),
    (QueriedDevice("GPU", ("conv", "softmax")), QueriedDevice("CPU", ("conv", "nms", "softmax"))),
)


@pytest.mark.parametrize("kind", ["CPU", "GPU", "GPU.1", "AUTO", "HETERO:GPU,CPU", "AUTO:GPU.0"])
def test_processors_that_are_there(kind: str) -> None:
    """What the runtime can use is enough; a plain AUTO asks for nothing in particular."""
    placing.check_processors(Execution(kind), THERE, "box")


@pytest.mark.parametrize(
    ("kind", "there", "words"),
    [
        ("GPU.2", THERE, r"box: the device has no GPU.2 .*CPU \(a CPU\), GPU.0 \(a GPU\), .*expected GPU.2"),
        ("GPU", THERE[:1], r"no GPU that OpenVINO can use: got CPU \(a CPU\), .*`--device-kind CPU`"),
        ("NPU", THERE, "no NPU .*On the device: its user-mode driver is missing: install it. `--device-kind"),
        ("HETERO:NPU,CPU", THERE, "expected NPU, for HETERO:NPU,CPU"),
        ("CPU", (), "got no processor at all"),
    ],
)
def test_processors_that_are_not(kind: str, there: tuple[RuntimeDevice, ...], words: str) -> None:
    """The refusal names what lacks, what there is, and the driver that is missing where the device knows."""
    with pytest.raises(DeviceUnsuitable, match=words):
        placing.check_processors(Execution(kind), there, "box")


def test_the_first_that_can() -> None:
    """Each operator goes to the first processor named that can run it."""
    assert {"conv": "GPU", "nms": "CPU", "softmax": "GPU"} == placing.assigned(QUERIED)
    turned = evolve(QUERIED, devices=QUERIED.devices[::-1])
    assert {"CPU"} == set(placing.assigned(turned).values())


def test_an_operator_that_none_can() -> None:
    """It is named, with what each processor said."""
    alone = evolve(QUERIED, devices=(evolve(QUERIED.devices[0], problem="no NonMaxSuppression"),))
    with pytest.raises(
        UnsupportedOperator, match=r"net: 1 of 3 operators run on none of GPU: got nms; GPU: no Non"
    ):
        placing.assigned(alone, "net")


@pytest.fixture
def device(state: Path) -> Iterator[Device]:
    """This machine, with an agent of the test's own."""
    with edge_sdk.device("local") as opened:
        yield opened


@pytest.fixture(scope="module")
def conversion(openvino: None) -> edge_sdk.Conversion:
    """The digits CNN for OpenVINO's CPU, strictly."""
    model = edge_sdk.load(DIGITS / "digits.onnx")
    plan = edge_sdk.plan(
        model, "local", precision="float32", runtime="openvino", execution=Execution(strict=True)
    )
    return edge_sdk.convert(model, plan)


def test_a_processor_for_each_operator(conversion: edge_sdk.Conversion, device: Device) -> None:
    """HETERO's operators are asked for and named in artifact and plan; a plain CPU is left as it is."""
    assert conversion is edge_sdk.place(conversion, device)
    spread = Execution("HETERO:CPU", precision="f32")
    asked = evolve(
        conversion,
        plan=evolve(conversion.plan, execution=spread),
        artifact=evolve(conversion.artifact, execution=spread),
    )
    placing.check(asked.plan, LOCAL, device)
    placed = edge_sdk.place(asked, device, name="toy")
    affinities = placed.artifact.execution.affinities
    assert ({"CPU"}, placed.artifact.execution) == (set(affinities.values()), placed.plan.execution)
    assert "node_relu" in affinities
    assert () == device.deployments()


def test_nothing_is_made_for_a_device_that_cannot(conversion: edge_sdk.Conversion, device: Device) -> None:
    """A runtime that the device lacks, or too old, and a processor that it lacks, are refused beforehand."""
    with pytest.raises(
        RuntimeMissing, match=r"too old.*openvino >= 9999.*--runtime openvino.*`--runtime litert`"
    ):
        placing.check(conversion.plan, evolve(LOCAL, runtimes={"openvino": "9999"}), device)
    with pytest.raises(DeviceUnsuitable, match=r"no GPU\.7"):
        placing.check(evolve(conversion.plan, execution=Execution("GPU.7")), LOCAL, device)


def test_a_bundle_for_what_is_not_there(
    conversion: edge_sdk.Conversion, device: Device, tmp_path: Path
) -> None:
    """A bundle for another processor is not sent either."""
    wrong = evolve(conversion, artifact=evolve(conversion.artifact, execution=Execution("GPU.7")))
    bundle = edge_sdk.pack(wrong, tmp_path / "bundle")
    with pytest.raises(DeviceUnsuitable, match=r"no GPU\.7"):
        edge_sdk.deploy(bundle, device)
    assert () == device.deployments()
