"""The OpenVINO runtime with the real openvino, on the only processor that every machine has: the CPU."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest, WorkerFailed
from device_agent.runtimes.base import Options
from device_agent.runtimes.openvino import OpenVINO
from device_agent.tensors import Tensor
from tests.device_agent import irs

np = pytest.importorskip("numpy")  # the agent is tested where there is none
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None and not os.environ.get("EDGE_EXTRAS_REQUIRED"),
    reason="openvino is not installed: the extra `openvino`",
)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IR with a convolution."""
    return irs.convolution(tmp_path_factory.mktemp("net"))


def run(path: Path, execution: Execution) -> Any:
    session = OpenVINO().load(path, irs.options(path, execution))
    session.set_inputs({"pixels": irs.ones((1, 3, 8, 8))})
    session.invoke()
    return irs.array_of(session.get_outputs()["scores"])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_open_sizes_and_dtypes(tmp_path: Path, dtype: str) -> None:
    """An input takes the size that it is given, also none; outputs come in the shape of their run."""
    path = irs.doubled(tmp_path, dtype)
    session = OpenVINO().load(path, Options())
    assert ((-1, 3), dtype) == (session.inputs[0].shape, session.inputs[0].dtype)
    for count in (2, 4, 1, 0, 4):
        given = np.random.default_rng(count).integers(0, 2, (count, 3)).astype(dtype)
        session.set_inputs({"x": Tensor(dtype, given.shape, given.tobytes())})
        session.invoke()
        found = session.get_outputs()["y"]
        assert ((2 * count, 3), dtype) == (found.shape, found.dtype)
        expected = ~given if dtype == "bool" else given
        np.testing.assert_array_equal(np.concatenate([expected, expected]), irs.array_of(found))
    with pytest.raises(InvalidRequest, match="does not fit"):
        session.set_inputs({"x": irs.ones((3, 1), dtype)})


def test_inputs_stay_until_the_next(net: Path) -> None:
    """What is in place is computed as often as the model is run, whatever became of the caller's memory."""
    session = OpenVINO().load(net, irs.options(net))
    given = irs.ones((1, 3, 8, 8))
    session.set_inputs({"pixels": given})
    session.invoke()
    first = session.get_outputs()
    del given
    for _ in range(3):
        session.invoke()
        assert first == session.get_outputs()


@pytest.mark.parametrize("device", ["HETERO:CPU", "AUTO", "AUTO:CPU"])
def test_every_way_to_the_cpu_computes_the_same(net: Path, device: str) -> None:
    """Threads and precision reach the CPU also where something stands between."""
    np.testing.assert_array_equal(run(net, irs.F32), run(net, evolve(irs.F32, device=device)))


@pytest.mark.parametrize("device", ["CPU", "HETERO:CPU", "AUTO"])
def test_placement_is_read_back(net: Path, device: str) -> None:
    """Operators name what they were made of, in execution order; none departs."""
    session = OpenVINO().load(net, irs.options(net, evolve(irs.F32, device=device)))
    found = session.placement()
    assert (device, ()) == (found.device, found.departures)
    assert {"CPU"} == {operator.device for operator in found.operators}
    sources = [source for operator in found.operators for source in operator.sources]
    assert ["conv", "relu", "mean"] == [name for name in sources if name in ("conv", "relu", "mean")]
    assert not {"Const", "Input", "Output"} & {operator.type for operator in found.operators}


def test_affinities(net: Path) -> None:
    """They are set by the names in the file: one that is not there is named."""
    hetero = Execution("HETERO:CPU", precision="f32", affinities={"conv": "CPU"}, strict=True)
    np.testing.assert_array_equal(run(net, irs.F32), run(net, hetero))
    with pytest.raises(WorkerFailed, match=r"no operator of that name.*got cnov"):
        run(net, evolve(hetero, affinities={"cnov": "CPU"}))
    with pytest.raises(WorkerFailed, match=r"conv: .*not among the device's: got 'GPU', expected CPU"):
        run(net, evolve(hetero, affinities={"conv": "GPU"}))


@pytest.mark.parametrize("device", ["NPU.7", "HETERO:NPU.7,CPU", "BRAIN"])
def test_a_processor_that_is_not_there(net: Path, device: str) -> None:
    """The refusal says which are, and nothing of OpenVINO's source files."""
    with pytest.raises(
        WorkerFailed, match=r"net\.xml: OpenVINO has no (NPU\.7|BRAIN) here, only .*CPU"
    ) as caught:
        run(net, Execution(device))
    assert "src/" not in str(caught.value)


def test_auto_that_falls_back(net: Path) -> None:
    """AUTO goes on without a processor that is not there: a departure, and an error where it is strict."""
    session = OpenVINO().load(net, irs.options(net, Execution("AUTO:NPU.7,CPU")))
    found = session.placement()
    assert len(found.operators) == len(found.departures)
    assert found.departures[0].endswith("runs on CPU, not on NPU.7")
    with pytest.raises(WorkerFailed, match=r"NPU\.7"):
        OpenVINO().load(net, irs.options(net, Execution("AUTO:NPU.7,CPU", strict=True)))


def test_devices_and_query(net: Path) -> None:
    """The CPU runs every operator; what is not there says so; constants are no operators."""
    cpu = next(device for device in OpenVINO().devices() if device.name == "CPU")
    assert "FP32" in cpu.capabilities
    assert "" != cpu.title
    assert "" == cpu.problem
    found = OpenVINO().query(net, irs.options(net), ("CPU", "HETERO:CPU", "NPU.7", "cpu", "AUTO"))
    assert {"conv", "relu", "mean"} <= set(found.operators)
    assert "pixels" not in found.operators
    assert [found.operators] * 2 + [()] * 3 == [device.operators for device in found.devices]
    problems = ["", "", "OpenVINO has no NPU.7", "not the name of a processor", "AUTO chooses when"]
    for problem, device in zip(problems, found.devices, strict=True):
        assert problem == device.problem[: len(problem)]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"<net/>", b'<?xml version="1.0"?><net name="x" version="11">']
)
def test_broken_models_are_refused(net: Path, tmp_path: Path, content: bytes) -> None:
    """With a reason that names no source files of OpenVINO's."""
    broken = tmp_path / "net.xml"
    broken.write_bytes(content)
    (tmp_path / "net.bin").write_bytes(net.with_suffix(".bin").read_bytes())
    with pytest.raises(WorkerFailed, match=r"net\.xml: openvino refuses the model") as caught:
        OpenVINO().load(broken, irs.options(broken))
    assert "src/" not in str(caught.value)


def test_missing_or_short_weights(net: Path, tmp_path: Path) -> None:
    """An IR without its `.bin`, or with a shorter one, is refused."""
    alone = tmp_path / "net.xml"
    alone.write_bytes(net.read_bytes())
    with pytest.raises(WorkerFailed, match="openvino refuses the model"):
        OpenVINO().load(alone, Options())
    alone.with_suffix(".bin").write_bytes(net.with_suffix(".bin").read_bytes()[:-4])
    with pytest.raises(WorkerFailed, match="openvino refuses the model"):
        OpenVINO().load(alone, irs.options(alone))
