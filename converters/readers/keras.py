"""The Keras reader: `.keras` archives and HDF5 files, through TensorFlow in a process of its own."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from converters.readers.tensorflow import TensorFlowReader
from device_agent.errors import InvalidModel, InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.shaping import Shaping


def _of_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


reader = TensorFlowReader("keras", _of_file, suffixes=(".keras", ".h5", ".hdf5"))


def from_memory(model: object, shaping: Shaping) -> Model:
    """A Keras model that the caller holds, saved to a temporary file and read from there.

    Args:
        model: a `keras.Model` or `tf_keras.Model`.
        shaping: as for a file.

    Raises:
        InvalidRequest: it is no Keras model.
        InvalidModel: Keras cannot save it.
        EdgeError: what `reader.read` raises.
    """
    # the caller has imported the Keras it is of: nothing is imported to look
    imported = (sys.modules.get(name) for name in ("keras", "tf_keras"))
    kinds = tuple(module.Model for module in imported if module is not None)
    if not isinstance(model, kinds):
        raise InvalidRequest(
            "this is no model that can be read",
            got=type(model).__name__,
            expected="a path, a torch module or exported program, or a keras.Model",
        )
    held: Any = model
    folder = tempfile.mkdtemp(prefix="edge-")
    path = Path(folder) / f"{held.name}.keras"
    try:
        try:
            held.save(path)
        except Exception as e:  # whatever the model's own layers raise
            raise InvalidModel(
                "Keras cannot save the model",
                where=str(held.name),
                got=f"{type(e).__name__}: " + " ".join(str(e).split())[:300],
                next_step="Try `model.save('model.keras')`, or `model.export('folder')` and give the folder.",
            ) from e
        made = reader.read(path, shaping)
    except BaseException:
        shutil.rmtree(folder)
        raise
    owner = _Owner()
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return evolve(made, payload=evolve(made.payload, owner=owner))


class _Owner:
    """Lives as long as the models that need a temporary file."""
