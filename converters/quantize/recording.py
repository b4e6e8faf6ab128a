"""What a source model computes of the samples that compiled models are compared on, run once and kept."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from attrs import field, frozen

from converters import registry
from converters.memory import hand_back
from converters.quantize.fidelity import spread

if TYPE_CHECKING:
    import numpy as np

    from converters.model import Model
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

        self._file.seek(0)
        for sample in spread(data, self.limit):
            yield sample, {name: np.load(self._file, allow_pickle=False) for name in self._names}

    def outputs(self) -> Iterator[dict[str, np.ndarray]]:
        """The source's outputs alone, of each sample that was recorded."""
        import numpy as np

        place, end = 0, self._file.seek(0, 2)
        while place < end:
            self._file.seek(place)
            outputs = {name: np.load(self._file, allow_pickle=False) for name in self._names}
            place = self._file.tell()
            yield outputs


def recorded(model: Model, data: Calibration, limit: int) -> Recording:
    """Run the source model on these samples; its runtime and its weights are let go of before it returns.

    Raises:
        InvalidModel: the source's runtime cannot load or run it.
        MissingDependency: that runtime is not installed.
    """
    import numpy as np

    name, reference = registry.reader(model.format).reference(model)
    names = tuple(spec.name for spec in model.outputs)
    file = tempfile.TemporaryFile(prefix="edge-")  # noqa: SIM115 - closed when nothing refers to the recording
    made = Recording(name, limit, names, file)
    weakref.finalize(made, file.close)
    for sample in spread(data, limit):
        outputs = reference(sample)
        for output in names:
            np.save(file, outputs[output], allow_pickle=False)
    del reference
    hand_back()
    return made
