"""`Job`: which model TensorFlow is to open, and the shapes its inputs get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from device_agent.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

    from converters.shaping import Shaping

_BOUND = "bind/"  # what stands before the names of bound inputs in a message's payload


@frozen
class Job:
    """A model of a format as its file's digest names it, with the sizes and constants of its inputs.

    Two jobs are the same if the same comes out of them: where the file lies does not count.
    """

    format: str  # keras, saved_model
    path: str = field(eq=False)
    sha256: str
    batch: int = 1
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    bound: tuple[tuple[str, Tensor], ...] = ()

    @classmethod
    def of(cls, format: str, path: Path, sha256: str, shaping: Shaping) -> Job:  # noqa: A002 - the field's name
        """The job for a file and what a user fixed of its inputs."""
        return cls(
            format,
            str(path),
            sha256,
            shaping.batch,
            tuple(sorted((name, tuple(shape)) for name, shape in shaping.input_shapes.items())),
            tuple(sorted((name, tensor_of(value)) for name, value in shaping.bind.items())),
        )

    def shaping(self) -> Shaping:
        """What is asked of the inputs, as every reader takes it."""
        from converters.shaping import Shaping

        bound = {name: array_of(tensor) for name, tensor in self.bound}
        return Shaping(self.batch, dict(self.shapes), bound)

    def head(self) -> dict[str, Any]:
        """The job as JSON, without its bound inputs."""
        return {
            "format": self.format,
            "path": self.path,
            "sha256": self.sha256,
            "batch": self.batch,
            "shapes": [[name, list(shape)] for name, shape in self.shapes],
        }

    def payload(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The bound inputs beside `inputs` of one run."""
        return {**inputs, **{_BOUND + name: tensor for name, tensor in self.bound}}

    @classmethod
    def parse(cls, head: Mapping[str, Any], payload: Mapping[str, Tensor]) -> tuple[Job, dict[str, Tensor]]:
        """A job as `head` and `payload` made it, and the inputs of the run."""
        bound = {name.removeprefix(_BOUND): t for name, t in payload.items() if name.startswith(_BOUND)}
        inputs = {name: tensor for name, tensor in payload.items() if not name.startswith(_BOUND)}
        shapes = tuple((name, tuple(shape)) for name, shape in head["shapes"])
        job = cls(
            head["format"], head["path"], head["sha256"], head["batch"], shapes, tuple(sorted(bound.items()))
        )
        return job, inputs


def tensor_of(array: np.ndarray) -> Tensor:
    """An array as a tensor of its own dtype; InvalidRequest for dtypes that cannot be carried."""
    import numpy as np

    array = np.asarray(array)
    return Tensor(array.dtype.name, tuple(array.shape), np.ascontiguousarray(array).tobytes())


def array_of(tensor: Tensor) -> np.ndarray:
    """A tensor as an array."""
    import numpy as np

    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
