"""What OpenVINO's counters become: means over the runs that are meant, whichever way a device counts."""

from datetime import timedelta
from enum import Enum
from typing import Any

from attrs import define, frozen

from device_agent.runtimes.openvino_timings import Timings


class Status(Enum):
    """As openvino's."""

    NOT_RUN = 0
    EXECUTED = 1


@frozen
class Row:
    """As openvino's ProfilingInfo."""

    node_name: str
    real_time: timedelta
    status: Status = Status.EXECUTED
    node_type: str = "Convolution"
    exec_type: str = "jit"
    Status: Any = Status


@define
class Request:
    """Tells what it is given."""

    profiling_info: list[Row]


def rows(*microseconds: int) -> list[Row]:
    """Operators a, b, ... that took so long, and one that was not run."""
    named = zip("abc", microseconds, strict=False)
    counted = [Row(name, timedelta(microseconds=value)) for name, value in named]
    return [*counted, Row("folded", timedelta(), Status.NOT_RUN)]


def test_means_since_the_model_was_compiled_become_those_since_the_reset() -> None:
    """The CPU tells means over all runs; both are rounded down to microseconds: half of one is added for each."""
    request = Request(rows(100, 10))
    timings = Timings(request, {}, "CPU")
    for _ in range(10):
        timings.ran()
    timings.reset()
    assert () == timings.means()
    for _ in range(90):
        timings.ran()
    request.profiling_info = rows(55, 10)  # 10 runs of 100 us and 90 of 50 us
    assert [("a", 51_000), ("b", 11_000)] == [(row.name, row.ns) for row in timings.means()]


def test_other_devices_tell_the_last_run() -> None:
    """What a GPU tells of each run is summed; each operator is counted as its own device does."""
    request = Request(rows(999, 7))
    timings = Timings(request, {"a": "GPU.0"}, "CPU")
    timings.ran()
    timings.reset()
    for value in (10, 20, 60):
        request.profiling_info = rows(value, 7)
        timings.ran()
    found = [(row.name, row.device, row.ns) for row in timings.means()]
    assert [("a", "GPU.0", 30_500), ("b", "CPU", 8_000)] == found


def test_operators_of_sub_graphs() -> None:
    """HETERO puts the sub-graph before an operator's name, the placement does not."""
    request = Request([Row("subgraph1: a", timedelta(microseconds=5)), Row("subgraph: a", timedelta())])
    timings = Timings(request, {"a": "GPU.0"}, "CPU")
    timings.ran()
    assert ["GPU.0", "CPU"] == [row.device for row in timings.means()]


def test_a_mean_is_never_negative() -> None:
    """A mean that falls by rounding alone counts as nothing but what rounding loses."""
    request = Request(rows(1))
    timings = Timings(request, {}, "CPU")
    for _ in range(10):
        timings.ran()
    timings.reset()
    timings.ran()
    request.profiling_info = rows(0)
    assert [500] == [row.ns for row in timings.means()]
