"""What a source model computes of the samples that compiled models are compared on, run once and kept."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from attrs import field, frozen

from converters import registry
from converters.memory import hand_back
from converters.progress import silent
from converters.quantize.accuracy.fidelity import spread
from device_agent.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from converters.progress import Progress
    from converters.quantize.samples.calibration import Calibration

    Kinds = tuple[tuple[str, np.dtype, tuple[int, ...], int], ...]  # name, dtype, shape, bytes


@frozen
class Recording:
    """The source's outputs for at most `limit` samples, in a temporary file that goes with this object.

    `reference` is the source's runtime with its version.
    """

    reference: str
    limit: int
    _file: IO[bytes] = field(repr=False)  # the values alone: a header for each would take longer to read
    _kinds: list[Kinds] = field(factory=list, repr=False)  # of each sample; equal ones are one object

    def add(self, outputs: dict[str, np.ndarray]) -> None:
        """The outputs of the next sample, contiguous; the caller flushes the file."""
        kinds = tuple((name, one.dtype, one.shape, one.nbytes) for name, one in outputs.items())
        self._kinds.append(self._kinds[-1] if self._kinds and self._kinds[-1] == kinds else kinds)
        for array in outputs.values():
            self._file.write(array.data)

    def pairs(self, data: Calibration) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Each sample of the data that was recorded, with the source's outputs."""
        yield from zip(spread(data, self.limit), self.outputs(), strict=True)

    def outputs(self) -> Iterator[dict[str, np.ndarray]]:
        """The source's outputs alone, of each sample that was recorded; read only."""
        import numpy as np

        place = 0
        for kinds in self._kinds:
            self._file.seek(place)  # another pass may be under way
            yield {
                name: np.frombuffer(self._file.read(size), dtype).reshape(shape)
                for name, dtype, shape, size in kinds
            }
            place += sum(size for *_, size in kinds)


def recorded(model: Model, data: Calibration, limit: int, progress: Progress = silent) -> Recording:
    """Run the source model on these samples; its runtime and its weights are let go of before it returns.

    Args:
        model: the source.
        data: the samples.
        limit: at most this many, spread over all of them; `data.count` for every one.
        progress: told of every sample.

    Raises:
        InvalidModel: the source's runtime cannot load or run it.
        MissingDependency: that runtime is not installed.
        OutputError: the disk has no room for the outputs.
    """

    name, reference = registry.reader(model.format).reference(model)
    file = tempfile.TemporaryFile(prefix="edge-")  # noqa: SIM115 - closed when nothing refers to the recording
    made = Recording(name, limit, file)
    weakref.finalize(made, file.close)
    for number, sample in enumerate(spread(data, limit), 1):
        outputs = reference(sample)
        try:
            made.add({spec.name: _contiguous(outputs[spec.name]) for spec in model.outputs})
            file.flush()  # where the disk is full, it shows here
        except OSError as e:
            with suppress(OSError):  # what is left in its buffer finds no room either
                file.close()
            raise OutputError(
                "the source's outputs cannot be kept beside the work",
                where=tempfile.gettempdir(),
                got=f"{e} after {number - 1} of {min(limit, data.count)} samples",
                next_step="Make room there, set TMPDIR to another folder, or use fewer samples.",
            ) from e
        progress("running the source model", number, min(limit, data.count))
    del reference
    hand_back()
    return made


def _contiguous(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.ascontiguousarray(array).reshape(array.shape)  # which alone makes a scalar [1]
