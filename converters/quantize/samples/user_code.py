"""Functions of the user's own, named `module:function` and importable from the current folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from device_agent.errors import EdgeError


def is_function(text: str) -> bool:
    """Whether this reads as `module:function`."""
    module, colon, function = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), function))


def imported(name: str, error: type[EdgeError], next_step: str, *, callable_only: bool = True) -> Any:
    """The function, class or, without `callable_only`, any object that `module:function` names.

    Args:
        name: where it is.
        error: raised where it cannot be had, with this `next_step`.
        callable_only: refuse what cannot be called.
    """
    module, _, function = name.partition(":")
    try:
        with current_folder_importable():
            found = importlib.import_module(module)
    except Exception as e:  # importing runs the user's code, which may raise anything
        raise error(
            f"the module {module!r} cannot be imported", where=name, got=repr(e), next_step=next_step
        ) from e
    value = getattr(found, function, None)
    if value is None or (callable_only and not callable(value)):
        raise error(f"the module has no function {function!r}", where=name, got=type(value).__name__)
    return value


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Put the current folder first on the import path, for as long as the user's code runs."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
