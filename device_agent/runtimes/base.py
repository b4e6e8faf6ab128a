"""What a runtime must do. Sessions live in worker processes only (and on the host, for golden outputs)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from device_agent.bundle import TensorSpec
from device_agent.tensors import Tensor


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


class Runtime(Protocol):
    """A runtime. `name` stands in bundles; `version()` is what is installed, None where it is not."""

    name: str

    def version(self) -> str | None:
        """The installed version, found without importing the runtime."""
        ...

    def load(self, path: Path, *, threads: int) -> Session:
        """The model in that file, ready to run.

        Raises:
            RuntimeMissing: the runtime is not installed.
            WorkerFailed: the runtime refuses the file; says why.
        """
        ...
