"""What departs from what was asked, decided without OpenVINO."""

import pytest

from device_agent.bundle import Execution
from device_agent.errors import WorkerFailed
from device_agent.protocol import PlacedOperator, Placement
from device_agent.runtimes.base import Options
from device_agent.runtimes.openvino_devices import absent, compiled_with, properties
from device_agent.runtimes.openvino_placement import against, departures

ON = {
    "conv": PlacedOperator("conv", "Convolution", "GPU.0", "f16", ("conv", "relu")),
    "copy": PlacedOperator("copy", "Reorder", "CPU", "f32", ()),
    "mean": PlacedOperator("mean", "Reduce", "CPU", "f32", ("mean",)),
}


@pytest.mark.parametrize(
    ("asked", "affinities", "elsewhere"),
    [
        ("HETERO:GPU,CPU", {}, []),
        ("HETERO:GPU,CPU", {"relu": "GPU", "mean": "CPU"}, []),
        ("HETERO:GPU,CPU", {"mean": "GPU"}, ["mean (Reduce) runs on CPU, not on GPU"]),
        ("HETERO:GPU,CPU", {"conv": "CPU"}, ["conv (Convolution) runs on GPU.0, not on CPU"]),
        ("HETERO:GPU.1,CPU", {}, ["conv (Convolution) runs on GPU.0, not on GPU.1 or CPU"]),
        ("GPU", {}, ["copy (Reorder) runs on CPU, not on GPU", "mean (Reduce) runs on CPU, not on GPU"]),
        ("AUTO", {}, []),
        ("AUTO:CPU,GPU", {}, ["conv (Convolution) runs on GPU.0, not on CPU"]),
        (
            "AUTO:NPU,GPU,CPU",
            {},
            [f"{o.name} ({o.type}) runs on {o.device}, not on NPU" for o in ON.values()],
        ),
    ],
)
def test_departures(asked: str, affinities: dict[str, str], elsewhere: list[str]) -> None:
    """Under HETERO an affinity counts, under AUTO the first that is named; each operator is told of."""
    placed = tuple(ON.values())
    assert tuple(elsewhere) == departures(asked, affinities, placed)
    assert Placement(asked, placed, tuple(elsewhere)) == against(
        Execution(asked, affinities=affinities), placed
    )


def test_strict() -> None:
    """What is strict fails, and names up to five operators."""
    placed = tuple(PlacedOperator(f"op{index}", "Add", "CPU", "f32", ()) for index in range(7))
    with pytest.raises(
        WorkerFailed, match=r"7 of 7 operators.*op4 \(Add\) runs on CPU, not on NPU and 2 more"
    ):
        against(Execution("AUTO:NPU,CPU", strict=True), placed)
    assert () == against(Execution("CPU", strict=True), placed).departures


def test_absent_processors() -> None:
    """A refusal names what is missing and what is there; a plain AUTO needs nothing."""
    refusal = absent("HETERO:NPU,CPU", ("CPU", "GPU"))
    assert refusal is not None
    assert "OpenVINO has no NPU here, only CPU and GPU" == refusal.what
    assert [None] * 4 == [
        absent(device, ("CPU", "GPU")) for device in ("CPU", "GPU.0", "AUTO:GPU,CPU", "AUTO")
    ]


def test_properties_go_to_the_processor_they_are_for() -> None:
    """The CPU gets the threads, an NPU neither streams nor another precision than its own."""
    asked = {"hint": "throughput", "precision": "f32", "streams": 2}
    options = Options(threads=3, profile=True)
    gpu = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 2}
    cpu = {"INFERENCE_NUM_THREADS": 3, "ENABLE_CPU_PINNING": False, **gpu}
    common = {"PERFORMANCE_HINT": "THROUGHPUT", "PERF_COUNT": True}
    assert {**common, **cpu} == properties(Execution("CPU", **asked), options, ("CPU",))
    found = properties(Execution("HETERO:NPU,GPU,CPU", **asked), options, ("CPU",))
    assert {**common, "DEVICE_PROPERTIES": {"GPU": gpu, "CPU": cpu}} == found
    found = properties(Execution("AUTO", **asked), options, ("CPU",))
    assert {**common, "DEVICE_PROPERTIES": {"CPU": cpu}, "ENABLE_STARTUP_FALLBACK": False} == found
    assert {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 2,
    } == compiled_with(properties(Execution("CPU", **asked), options, ("CPU",)))
