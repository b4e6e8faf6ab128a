"""The SavedModel reader: folders with a `saved_model.pb`, through TensorFlow in a process of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from converters.readers.tensorflow import TensorFlowReader


def digest(folder: Path) -> tuple[str, int]:
    """SHA-256 over names and contents of a folder's files, and their size together in bytes.

    It is that of what `sha256sum` prints for all files, sorted by name:
    `find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.
    """
    whole, size_bytes = hashlib.sha256(), 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix().encode()):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{own}  {path.relative_to(folder).as_posix()}\n".encode())
        size_bytes += path.stat().st_size
    if not files:
        raise FileNotFoundError(str(folder))
    return whole.hexdigest(), size_bytes


reader = TensorFlowReader("saved_model", digest, folders=("saved_model.pb",))
