"""The measured loops on sessions whose clocks and counters are known, and what they refuse."""

import math
from collections.abc import Mapping

import pytest
from attrs import define, evolve, field

from device_agent import bench
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidRequest
from device_agent.protocol import BenchmarkRequest, OperatorTiming
from device_agent.tensors import Tensor

REQUEST = BenchmarkRequest(warmup_iterations=3, min_iterations=20, min_seconds=0)


@define
class Counted:
    """A session of which the n-th run takes n microseconds by its own clock, its operator 400 ns less."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    hint: str = "latency"
    resolution_ns: int = 1
    runs: int = 0
    streamed: list[float] = field(factory=list)
    _before: int = 0

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Has none."""

    def invoke(self) -> None:
        """One run more."""
        self.runs += 1

    def get_outputs(self) -> dict[str, Tensor]:
        """Has none."""
        return {}

    def latency_ns(self) -> int:
        """Grows with each run."""
        return 1000 * self.runs

    def reset_timings(self) -> None:
        """From here."""
        self._before = self.runs

    def timings(self) -> tuple[OperatorTiming, ...]:
        """Of the only operator."""
        times = [1000 * run - 400 for run in range(self._before + 1, self.runs + 1)]
        return (OperatorTiming("a", "Convolution", "jit", "CPU", round(sum(times) / len(times))),)

    def stream(self, seconds: float) -> float:
        """As if."""
        self.streamed.append(seconds)
        return 50.0


@define
class Plain:
    """A session that can do nothing but run."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Has none."""

    def invoke(self) -> None:
        """Takes no time."""

    def get_outputs(self) -> dict[str, Tensor]:
        """Has none."""
        return {}


def test_the_runtimes_own_clock_is_read() -> None:
    """Where a runtime times its runs itself, latencies are its own, warm-up first."""
    measured = bench.measure(Counted(), REQUEST, lambda *_: None)
    assert (1000, 2000, 3000) == measured.warmup_latencies_ns
    assert [1000 * run for run in range(4, 24)] == list(measured.latencies_ns)
    assert measured.runs_per_second is None


def test_a_profile_adds_up_and_leaves_out_the_warm_up() -> None:
    """Operators and what is unattributed are the latency of the measured runs."""
    profile = bench.profile(Counted(), REQUEST, lambda *_: None)
    assert (20, 13_500, 400) == (profile.runs, profile.latency_ns, profile.unattributed_ns)
    assert [13_100] == [operator.ns for operator in profile.operators]


def test_runs_side_by_side_are_measured_for_throughput_alone() -> None:
    """As long as the latency is measured at least, and only where the model was loaded for it."""
    session = Counted(hint="throughput")
    measured = bench.measure(session, evolve(REQUEST, min_seconds=0.01), lambda *_: None)
    assert (50.0, [0.01]) == (measured.runs_per_second, session.streamed)


@pytest.mark.parametrize(
    ("field_name", "value", "got"),
    [
        ("hint", "speed", "'speed'"),
        ("streams", 0, "0"),
        ("streams", 257, "257"),
        ("min_seconds", math.nan, "nan"),
    ],
)
def test_options_that_make_no_sense_are_named(field_name: str, value: object, got: str) -> None:
    """A hint that there is not, or streams out of range, are refused before anything is loaded."""
    with pytest.raises(InvalidRequest, match=f"^{field_name}: .*got {got}"):
        bench.check(evolve(REQUEST, **{field_name: value}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"profile": True}, "does not count the time of operators.*openvino` to profile it"),
        ({"hint": "throughput"}, "takes neither a hint nor streams"),
        ({"streams": 2}, "takes neither a hint nor streams"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(change: dict[str, object], reason: str) -> None:
    """With what to do instead; a runtime that can is not refused."""
    request = evolve(REQUEST, **change)
    bench.check_session(Counted(), request, "openvino")
    bench.check_session(Plain(), REQUEST, "litert")
    with pytest.raises(InvalidRequest, match=f"^litert: the runtime {reason}"):
        bench.check_session(Plain(), request, "litert")
    if request.profile:
        with pytest.raises(InvalidRequest, match="does not count"):
            bench.profile(Plain(), request, lambda *_: None)
