"""What a runtime must do. Sessions live in worker processes only (and on the host, for golden outputs)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from device_agent.bundle import Execution, TensorSpec
from device_agent.errors import InvalidRequest
from device_agent.protocol import OperatorTiming, Placement, Queried, RuntimeDevice
from device_agent.tensors import Tensor


@frozen
class Options:
    """How a model is loaded.

    `threads` is how many the runtime may use. `files` are the model's other files by title. `execution` is
    for runtimes with several processors, None: as the runtime likes. `cache` is a file that keeps what was
    compiled: loaded from if it holds that, filled otherwise. With `profile` the time of each operator is
    counted, which costs a little.
    """

    threads: int = 1
    files: Mapping[str, Path] = field(factory=dict)
    execution: Execution | None = None
    cache: Path | None = None
    profile: bool = False


DEFAULT = Options()


class Session(Protocol):
    """A loaded model. `inputs` and `outputs` are its public tensors, by the names of the bundle config."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the inputs in place; InvalidRequest names a tensor that is missing or does not fit."""
        ...

    def invoke(self) -> None:
        """Run once on the inputs in place. This alone is what a benchmark times."""
        ...

    def get_outputs(self) -> dict[str, Tensor]:
        """Copies of the outputs of the last `invoke`."""
        ...


@runtime_checkable
class Placing(Protocol):
    """A session whose runtime tells where each operator runs."""

    def placement(self) -> Placement:
        """What the runtime made of the model, in execution order, against what was asked for."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A session whose runtime keeps what it compiled; see `Options.cache`."""

    from_cache: bool  # whether this load was from what was kept
    first_load_ns: int | None  # of the load that compiled what is kept; None where nothing is


@runtime_checkable
class Profiling(Protocol):
    """A session whose runtime counts the time of each operator; see `Options.profile`."""

    resolution_ns: int  # of what it counts

    def reset_timings(self) -> None:
        """Begin to count anew."""
        ...

    def timings(self) -> tuple[OperatorTiming, ...]:
        """Means over the runs since `reset_timings`, in execution order; without operators that were not run.

        A mean may be a fraction of the resolution: what the runtime rounds off is made up for on average.
        """
        ...


@runtime_checkable
class Clocked(Protocol):
    """A session whose runtime times its runs itself, without what its binding to Python adds."""

    def latency_ns(self) -> int:
        """Of the last `invoke`."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A session whose runtime can run several requests side by side."""

    hint: str  # what it was loaded for: latency or throughput

    def stream(self, seconds: float) -> float:
        """Runs per second over at least `seconds`, as many side by side as the runtime likes.

        All of them have the inputs that are in place.
        """
        ...


@runtime_checkable
class Querying(Protocol):
    """A runtime that has processors to tell of.

    Both raise RuntimeMissing where it is not installed.
    """

    name: str

    def devices(self) -> tuple[RuntimeDevice, ...]:
        """The processors that it can use here, and those that it should and cannot."""
        ...

    def query(self, path: Path, options: Options, devices: tuple[str, ...]) -> Queried:
        """Which operators of a model each of these devices can run.

        Raises:
            WorkerFailed: the runtime refuses the file; says why.
        """
        ...


class Runtime(Protocol):
    """A runtime. `name` stands in bundles; `version()` is what is installed, None where it is not."""

    name: str

    def version(self) -> str | None:
        """The installed version, found without importing the runtime."""
        ...

    def load(self, path: Path, options: Options = DEFAULT) -> Session:
        """The model in that file, ready to run.

        Raises:
            RuntimeMissing: the runtime is not installed.
            WorkerFailed: the runtime refuses the file; says why.
        """
        ...


def check_inputs(specs: tuple[TensorSpec, ...], tensors: Mapping[str, Tensor]) -> None:
    """Check inputs against what a model takes.

    Raises:
        InvalidRequest: one is missing, not the model's, or of another dtype or shape; names it.
    """
    known = {spec.name for spec in specs}
    for name in tensors:
        if name not in known:
            raise InvalidRequest(
                "the model has no such input", where=name[:200], expected=", ".join(sorted(known))
            )
    for spec in specs:
        if spec.name not in tensors:
            raise InvalidRequest("an input is missing", where=spec.name)
        got = tensors[spec.name]
        fits = len(got.shape) == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, got.shape, strict=True)
        )
        if got.dtype != spec.dtype or not fits:
            raise InvalidRequest(
                "an input does not fit the model",
                where=spec.name,
                got=f"{got.dtype}{list(got.shape)}",
                expected=f"{spec.dtype}{list(spec.shape)}",
            )
