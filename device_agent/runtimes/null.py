"""The null runtime: answers in the right shapes without computing, with nothing but the standard library.

A null model is a JSON file `{"format": "edge-null", "inputs": [TensorSpec], "outputs": [TensorSpec]}`.
The null function: the bytes of an output are the blocks `sha256(seed + counter)` for counter 0, 1, ...
(8 bytes, little-endian), where `seed` is the sha256 over the output's name, then every input's name and
bytes in the model's order, each preceded by its length (8 bytes, little-endian). Integers are those
bytes as they stand, a bool is the lowest bit of a byte, a float is a byte / 256. An open dimension of an
output is 1.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

from device_agent import codec
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidRequest, WorkerFailed
from device_agent.runtimes.base import DEFAULT, Options, check_inputs
from device_agent.tensors import DTYPES, Tensor

FORMAT = "edge-null"
_FLOATS = {"float16": "e", "float32": "f", "float64": "d"}


@frozen
class _Model:
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def null_model(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
    """A null model with these inputs and outputs, as the bytes of its file."""
    return codec.dumps(_Model(FORMAT, inputs, outputs), indent=1).encode()


class Null:
    """The runtime; see the module."""

    name = "null"

    def version(self) -> str | None:
        """Always installed."""
        return "1.0"

    def load(self, path: Path, options: Options = DEFAULT) -> NullSession:  # noqa: ARG002 - it computes nothing
        """The null model in that file; WorkerFailed if it is not one."""
        try:
            model = codec.from_json(path.read_bytes(), _Model, where=path.name)
        except (OSError, InvalidRequest, RecursionError) as e:
            raise WorkerFailed("the null runtime refuses the model", where=path.name, got=str(e)) from e
        if model.format != FORMAT or not all(s.dtype in DTYPES for s in (*model.inputs, *model.outputs)):
            raise WorkerFailed("not a null model", where=path.name, got=model.format[:80], expected=FORMAT)
        return NullSession(model.inputs, model.outputs)


@define
class NullSession:
    """A loaded null model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    _in_place: dict[str, Tensor] = field(factory=dict, init=False)
    _computed: dict[str, Tensor] = field(factory=dict, init=False)

    def set_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the inputs in place."""
        check_inputs(self.inputs, tensors)
        self._in_place = dict(tensors)

    def invoke(self) -> None:
        """Fill every output by the null function."""
        self._computed = {spec.name: self._fill(spec) for spec in self.outputs}

    def get_outputs(self) -> dict[str, Tensor]:
        """The outputs of the last `invoke`."""
        return dict(self._computed)

    def _fill(self, spec: TensorSpec) -> Tensor:
        seed = hashlib.sha256()
        parts = [spec.name.encode()]
        for source in self.inputs:
            parts += [source.name.encode(), self._in_place[source.name].data]
        for part in parts:
            seed.update(len(part).to_bytes(8, "little") + part)
        shape = tuple(1 if size < 0 else size for size in spec.shape)
        count = math.prod(shape)
        if spec.dtype in _FLOATS:
            values = (byte / 256 for byte in _stream(seed.digest(), count))
            data = struct.pack(f"<{count}{_FLOATS[spec.dtype]}", *values)
        elif spec.dtype == "bool":
            data = bytes(byte & 1 for byte in _stream(seed.digest(), count))
        else:
            data = bytes(_stream(seed.digest(), count * DTYPES[spec.dtype][2]))
        return Tensor(spec.dtype, shape, data)


def _stream(seed: bytes, count: int) -> Iterator[int]:
    """`count` bytes of the sha256 blocks that follow from `seed`."""
    for counter in range(-(-count // 32)):
        block = hashlib.sha256(seed + counter.to_bytes(8, "little")).digest()
        yield from block[: count - counter * 32]
