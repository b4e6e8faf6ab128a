"""`Model`: a source file as the SDK sees it, whatever format it came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen

from converters.shaping import DynamicAxis, Shaping
from device_agent.bundle import TensorSpec


@frozen
class Operator:
    """One operator of the source graph. `index` is its place there and names it in a plan."""

    index: int
    type: str
    name: str


@frozen
class Model:
    """A model file that was read and checked, with every input shape static.

    `quantized` is `full` where the operators give quantised values already, `weights` where only weights
    are stored so; None of a model in floating point. `notes` are what a user should know of the source.
    `payload` is the reader's own form of the graph (an `onnx.ModelProto` for ONNX); only the reader
    that made it may look inside. `shaping` is how its inputs were fixed: read anew with it, the file gives
    the same model. `dynamic` are the sizes that stay open in what is compiled from it.
    """

    path: Path
    format: str  # the name of the reader: onnx, null
    sha256: str  # of the file: hex digits
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    parameters: int  # elements of all constants
    payload: Any = field(repr=False, eq=False)
    quantized: str | None = None
    notes: tuple[str, ...] = ()
    shaping: Shaping = field(default=Shaping(), repr=False)
    dynamic: tuple[DynamicAxis, ...] = ()
    precision: str = "float32"  # the least that its own operators compute in: float32, float16 or int8

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.name.split(".")[0]
