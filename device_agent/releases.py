"""Releases of the agent on its device: unpacked beside each other, one current, at most one on trial.

    <root>/releases/<id>/{lib/, site/, python, release.json}
    <root>/current -> releases/<id>      the last release that completed a round trip with a host
    <root>/previous -> releases/<id>     the one before it
    <state>/trial                        the id of a release to try, and for how many seconds
    <state>/trial.begun                  it has been started once

The launcher, a shell script that upgrades never touch, starts what `trial` names once; unless `trial` is
gone in time, or when it is started again and `trial` is still there, it goes back to `current`. So
`current` never points at a release that has not proved itself, whatever is cut off where.

A release is `lib`, the agent's archive unpacked and compiled (a zip file would be compiled anew at each
start), and `site`, the runtimes' wheels unpacked. Only the standard library is needed for either.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode
from typing import Any

from device_agent import durable
from device_agent.errors import DeviceError, InvalidBundle, InvalidRequest

TRIAL = "trial"
DESCRIPTION = "release.json"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,80}")
_TESTS = re.compile(r"/tests?/")
_WHEEL_DATA = re.compile(r"[^/]+\.data/(purelib|platlib|scripts|headers|data)/(.*)")


def add(root: Path, staging: Path) -> str:
    """Make a release of what was copied to a folder: whole and on the medium, or not at all.

    Args:
        root: the installation's folder, which exists.
        staging: holds release.json, the archive, and the wheels under `wheels`.

    Returns:
        The release's id; nothing is done where it is there already.

    Raises:
        InvalidBundle: a file is missing or does not have its digest, or release.json makes no sense.
        DiskFull: no room.
    """
    os.umask(0o022)  # the code is no secret, and the agent's own user must be able to read it
    description = _read_description(staging)
    release = _checked(description["id"])
    final = root / "releases" / release
    if (final / DESCRIPTION).exists():
        return release
    part = root / "releases" / f".{release}.part"
    durable.remove_tree(part)
    with durable.mapped("cannot make a release", part):
        part.mkdir(parents=True)
        _unpack(staging / "edge-agent.pyz", description["archive"], part / "lib")
        for name, digest in sorted(description["wheels"].items()):
            _unpack(staging / "wheels" / name, digest, part / "site")
        for folder in ("lib", "site"):
            compileall.compile_dir(
                part / folder, quiet=2, rx=_TESTS, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
            )
        (part / "python").write_text(sys.executable + "\n")
        (part / DESCRIPTION).write_text(json.dumps(description))
        os.sync()  # thousands of files: one for all is faster than one fsync for each
    durable.remove_tree(final)
    durable.move(part, final)
    return release


def try_out(root: Path, state: Path, release: str, seconds: int) -> None:
    """Let the launcher start a release next time, for `seconds` unless `settle` comes first."""
    if not (root / "releases" / _checked(release) / DESCRIPTION).exists():
        raise InvalidRequest("no such release", got=release)
    durable.remove(state / f"{TRIAL}.begun")  # durable with the next line's sync of the folder
    durable.write_file(state / TRIAL, f"{release} {seconds}\n".encode())


def activate(root: Path, release: str) -> None:
    """Make a release current, keep the one before it, and remove all others."""
    if not (root / "releases" / _checked(release) / DESCRIPTION).exists():
        raise InvalidRequest("no such release", got=release)
    before = _named(root / "current")
    if before is not None and before != release:
        durable.point(root / "previous", f"releases/{before}")
    durable.point(root / "current", f"releases/{release}")
    prune(root)


def settle(state: Path) -> None:
    """End a trial: what is running stays. After `activate`, so that no moment is without a good release."""
    durable.remove(state / TRIAL)
    durable.sync_folder(state)
    durable.remove(state / f"{TRIAL}.begun")


def prune(root: Path) -> None:
    """Remove every release but the current one and the one before it."""
    kept = {_named(root / "current"), _named(root / "previous")}
    for folder in sorted((root / "releases").iterdir()):
        if folder.name not in kept:
            durable.remove_tree(folder)


def _named(link: Path) -> str | None:
    try:
        return Path(os.readlink(link)).name  # noqa: PTH115 - what the link says, whether it is there or not
    except OSError:
        return None


def _checked(release: object) -> str:
    if not isinstance(release, str) or not _ID.fullmatch(release):
        raise InvalidRequest("not the id of a release", got=repr(release)[:100])
    return release


def _read_description(staging: Path) -> dict[str, Any]:
    try:
        found = json.loads((staging / DESCRIPTION).read_bytes())
        wheels = found["wheels"]
        names = [found["id"], found["archive"], *wheels.keys(), *wheels.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InvalidBundle("the release has no description", where=str(staging), got=repr(e)) from e
    if not all(isinstance(name, str) and "/" not in name for name in names):
        raise InvalidBundle("the release's description makes no sense", where=str(staging))
    return dict(found)


def _unpack(source: Path, digest: str, into: Path) -> None:
    """Unpack a wheel or the archive whose sha256 is `digest`; a wheel's scripts and headers are left out."""
    try:
        found = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as e:
        raise InvalidBundle("a file of the release is missing", where=source.name, got=str(e)) from e
    if found != digest:
        raise InvalidBundle(
            "a file of the release is not the one sent", where=source.name, got=found, expected=digest
        )
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            name = _destination(info.filename)
            if name is None or info.is_dir():
                continue
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as content, target.open("wb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)


def _destination(name: str) -> str | None:
    """Where a file of a wheel goes, None where nowhere; a name that leads out of the folder is refused.

    The spread of `.data` folders is that of the wheel format:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/#the-data-directory
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DeviceError("a file of the release leads out of its folder", got=repr(name))
    data = _WHEEL_DATA.fullmatch(name)
    if data is None:
        return name
    return data[2] if data[1] in {"purelib", "platlib"} else None
