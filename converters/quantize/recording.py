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
from converters.quantize.fidelity import spread
from device_agent.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
    from converters.progress import Progress
    from converters.quantize.calibration import Calibration


@frozen
class Recording:
    """The source's outputs for at most `limit` samples, in a temporary file that goes with this object.

    `reference` is the source's runtime with its version.
    """

    reference: str
    limit: int
    _names: tuple[str, ...]
    _file: IO[bytes] = field(repr=False)

    def pairs(self, data: Calibration) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Each sample of the data that was recorded, with the source's outputs."""
        import numpy as np

        place = 0
        for sample in spread(data, self.limit):
            self._file.seek(place)  # another pass may be under way
            outputs = {name: np.load(self._file, allow_pickle=False) for name in self._names}
            place = self._file.tell()
            yield sample, outputs

    def outputs(self) -> Iterator[dict[str, np.ndarray]]:
        """The source's outputs alone, of each sample that was recorded."""
        import numpy as np

        place, end = 0, self._file.seek(0, 2)
        while place < end:
            self._file.seek(place)
            outputs = {name: np.load(self._file, allow_pickle=False) for name in self._names}
            place = self._file.tell()
            yield outputs


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
    import numpy as np

    name, reference = registry.reader(model.format).reference(model)
    names = tuple(spec.name for spec in model.outputs)
    file = tempfile.TemporaryFile(prefix="edge-")  # noqa: SIM115 - closed when nothing refers to the recording
    made = Recording(name, limit, names, file)
    weakref.finalize(made, file.close)
    for number, sample in enumerate(spread(data, limit), 1):
        outputs = reference(sample)
        try:
            for output in names:
                np.save(file, outputs[output], allow_pickle=False)
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
