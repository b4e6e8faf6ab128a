"""`Artifact`: one compiled model file and what is known of it."""

from __future__ import annotations

import hashlib

from attrs import field, frozen

from device_agent.bundle import TensorSpec


@frozen
class Artifact:
    """One compiled file for one runtime.

    `inputs` and `outputs` carry the quantisation a caller needs to fill and read them. `operators` are
    the compiled graph's operator types in execution order; `float_operators` names those of them that
    compute in floating point.
    """

    title: str  # its file name
    data: bytes = field(repr=False)
    runtime: str
    runtime_version: str  # the least that can run it
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[str, ...]
    float_operators: tuple[str, ...]
    tolerance: dict[str, float]  # output -> device against host, as in `BundleConfig`
    rewrites: dict[str, int]  # graph rewrite -> how often it applied

    @property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return hashlib.sha256(self.data).hexdigest()
