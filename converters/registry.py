"""Readers and backends by name or file ending; the built-in ones come in by the plugins' door."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from device_agent.errors import FileMissing, InvalidModel, InvalidRequest, MissingDependency

if TYPE_CHECKING:
    from converters.backends.base import Backend
    from converters.readers.base import Reader

READERS = "edge_sdk.readers"
BACKENDS = "edge_sdk.backends"


def reader(name: str) -> Reader:
    """The reader of that name.

    Raises:
        InvalidRequest: there is none, or two packages bring one.
        MissingDependency: it is declared and cannot be imported.
    """
    return cast("Reader", _load(READERS, name))


def backend(name: str) -> Backend:
    """The backend of that name; raises as `reader` does."""
    return cast("Backend", _load(BACKENDS, name))


def reader_for(path: Path) -> Reader:
    """The reader that takes the file's ending, or a file in the folder.

    The longest ending wins (`.null.json` before `.json`).

    Raises:
        FileMissing: there is nothing at `path`.
        InvalidModel: no reader takes such a file.
        InvalidRequest: two readers take it.
    """
    if not path.exists():
        raise FileMissing("no such model file", where=str(path))
    by_suffix: dict[str, Reader] = {}
    markers: list[str] = []
    for name in _declared(READERS):
        candidate = reader(name)
        for suffix in candidate.suffixes:
            if suffix in by_suffix:
                raise _duplicate(f"readers of {suffix} files", [by_suffix[suffix].name, name])
            by_suffix[suffix] = candidate
        for marker in candidate.folders:
            markers.append(marker)
            if (path / marker).is_file():
                return candidate
    file_name = path.name.lower()
    endings = [suffix for suffix in by_suffix if file_name.endswith(suffix)]
    if not endings or not path.is_file():
        raise InvalidModel(
            "this is no model file that can be read",
            where=str(path),
            got="a folder" if path.is_dir() else f"a {path.suffix or 'nameless'} file",
            expected=f"a file ending in {' or '.join(sorted(by_suffix))}, "
            f"or a folder with {' or '.join(markers)}",
            next_step=f"Give the folder that holds {path.name}." if path.name in markers else None,
        )
    return by_suffix[max(endings, key=len)]


def by_name(entries: Iterable[EntryPoint], group: str) -> dict[str, EntryPoint]:
    """The entry points by name, sorted; InvalidRequest where two packages bring the same name."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise _duplicate(f"plugins called {entry.name!r} in {group}", [other.value, entry.value])
    return found


@cache
def _declared(group: str) -> dict[str, EntryPoint]:
    return by_name(_installed().select(group=group), group)


@cache
def _installed() -> Any:  # its class changes with Python 3.12; both have `select`
    return entry_points()  # reads a file of every installed package, whichever group is asked for


@cache
def _load(group: str, name: str) -> Any:
    declared = _declared(group)
    if name not in declared:
        raise InvalidRequest(
            f"nothing called {name!r} is installed in {group}", expected=" or ".join(declared) or "a plugin"
        )
    try:
        return declared[name].load()
    except (ImportError, AttributeError) as e:
        raise MissingDependency(
            f"the plugin {name!r} of {group} cannot be imported",
            where=declared[name].value,
            got=str(e),
            next_step="Install the package that brings it again, with its dependencies.",
        ) from e


def _duplicate(what: str, names: list[str]) -> InvalidRequest:
    return InvalidRequest(
        f"there are two {what}",
        got=" and ".join(names),
        next_step="Uninstall the package that brings one of them.",
    )
