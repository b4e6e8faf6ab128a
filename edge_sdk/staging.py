"""Results appear whole: written beside their folder, and moved into it when all of them are there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device_agent.errors import EdgeError, OutputError


@contextmanager
def staged(folder: Path, what: str, *, replaced: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary folder whose content is moved into `folder` when the body ends well.

    Whatever ends the body otherwise (an error, Ctrl-C), `folder` is as it was before.

    Args:
        folder: made where it is missing; what has the name of something new in it is replaced.
        what: is written, for errors.
        replaced: names that are removed from the folder if the body did not make them anew.

    Raises:
        OutputError: something cannot be written or moved.
    """
    place: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
        yield place
        folder.mkdir(exist_ok=True)
        for name in {*replaced, *(made.name for made in place.iterdir())}:
            _remove(folder / name)
        for made in place.iterdir():
            made.rename(folder / made.name)
    except EdgeError:
        raise
    except OSError as e:
        raise OutputError(f"cannot write the {what}", where=str(folder), got=str(e)) from e
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
