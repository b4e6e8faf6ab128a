"""A search's journal: what was measured, one JSON line each, so that a search that was cut short goes on.

The first line is the header: a format number and the key, an object of everything that decides the results
(the model's digest, those of the samples, the metric, the goal, versions). Every other line is
`{"kind": ..., "scheme": ..., "record": ...}`, appended and synced before the search goes on. A last line
that a power cut tore is dropped; a journal of another key is refused, never mixed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from device_agent import codec
from device_agent.errors import InvalidRequest, OutputError

FORMAT = 1


@define
class Journal:
    """An open journal; `replayed` counts what was found in it and asked for."""

    _file: IO[bytes] = field(repr=False)
    _records: dict[tuple[str, str], Any] = field(repr=False)
    replayed: int = 0

    def find(self, kind: str, scheme: str) -> Any:
        """What was recorded last of that kind for that scheme, as plain JSON; None if nothing was."""
        found = self._records.get((kind, scheme))
        if found is not None:
            self.replayed += 1
        return found

    def add(self, kind: str, scheme: str, record: object) -> None:
        """Append a record; on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        line = codec.dumps({"kind": kind, "scheme": scheme, "record": codec.to_json(record)})
        _append(self._file, line)
        self._records[kind, scheme] = codec.to_json(record)


@contextmanager
def opened(path: Path, key: dict[str, str]) -> Iterator[Journal]:
    """The journal at `path`, made if there is none.

    Args:
        path: the file.
        key: what decides the results, by what it is called in the error.

    Raises:
        InvalidRequest: the file is a journal of another search, in use by another, or no journal.
        OutputError: it cannot be read or written.
    """
    try:
        file = path.open("a+b")
    except OSError as e:
        raise OutputError("the journal cannot be opened", where=str(path), got=str(e)) from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of when the file is closed
        except BlockingIOError as e:
            raise InvalidRequest(
                "another search is writing this journal",
                where=str(path),
                next_step="Wait for it to end, or name another file.",
            ) from e
        records = _read(file, path, key)
        yield Journal(file, records)


def _read(file: IO[bytes], path: Path, key: dict[str, str]) -> dict[tuple[str, str], Any]:
    file.seek(0)
    lines = file.read().split(b"\n")
    whole, torn = lines[:-1], lines[-1]
    if not whole:
        if torn and not torn.startswith(b'{"journal":'):
            raise _no_journal(path)
        file.truncate(0)
        _append(file, codec.dumps({"journal": FORMAT, "key": key}))
        return {}
    header = _parsed(whole[0], path)
    if header.get("journal") != FORMAT or not isinstance(header.get("key"), dict):
        raise _no_journal(path)
    if header["key"] != key:
        raise _another(path, header["key"], key)
    found = {}
    for line in whole[1:]:
        row = _parsed(line, path)
        if not all(isinstance(row.get(name), str) for name in ("kind", "scheme")) or "record" not in row:
            raise _no_journal(path)
        found[row["kind"], row["scheme"]] = row["record"]
    if torn:
        file.truncate(sum(len(line) + 1 for line in whole))
    return found


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    try:
        row = codec.loads(line, str(path))
    except InvalidRequest as e:
        raise _no_journal(path) from e
    if not isinstance(row, dict):
        raise _no_journal(path)
    return row


def _append(file: IO[bytes], line: str) -> None:
    try:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as e:
        raise OutputError("the journal cannot be written", where=str(file.name), got=str(e)) from e


def _no_journal(path: Path) -> InvalidRequest:
    return InvalidRequest(
        "the file is no journal of a search, or is damaged",
        where=str(path),
        next_step="Name another file, or remove this one to begin anew.",
    )


def _another(path: Path, got: dict[str, Any], expected: dict[str, str]) -> InvalidRequest:
    names = [name for name in {**got, **expected} if got.get(name) != expected.get(name)]
    return InvalidRequest(
        f"the journal is of another search: another {', '.join(names)}",
        where=str(path),
        got="; ".join(f"{name} {got.get(name)}"[:120] for name in names),
        expected="; ".join(f"{name} {expected.get(name)}"[:120] for name in names),
        next_step="Name another file, or remove this one to begin anew.",
    )
