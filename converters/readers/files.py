"""Model files as bytes: what the file system refuses is said in one way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device_agent.errors import FileMissing, InvalidModel


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within, a file that cannot be read is an error that names it.

    Raises:
        FileMissing: there is no such file.
        InvalidModel: it cannot be read.
    """
    try:
        yield
    except FileNotFoundError as e:
        raise FileMissing("no such model file", where=str(path)) from e
    except OSError as e:
        raise InvalidModel("the model file cannot be read", where=str(path), got=str(e)) from e


def content(path: Path) -> bytes:
    """The bytes of a model file; raises as `reading` does."""
    with reading(path):
        return path.read_bytes()
