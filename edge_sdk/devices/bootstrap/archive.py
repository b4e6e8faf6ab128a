"""`edge-agent.pyz`: the agent and the pure-Python packages it needs, as one reproducible file."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import device_agent
from device_agent.errors import DeviceError, MissingDependency

NAME = "edge-agent.pyz"
MAX_BYTES = 3 << 20
PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))  # that a device may have
# what `device_agent` imports; what these need is found in their metadata
ROOTS = ("attrs", "cattrs", "starlette", "uvicorn")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can state
_COMPILED = (".so", ".pyd", ".dylib")
# not needed at run time: tests, their helpers, other event loops and protocols, converters for other formats
_DROPPED = re.compile(
    r"(^|/)(tests?|testing|__pycache__|_backends/_trio\.py|pytest_plugin\.py|testclient\.py)(/|$)"
    r"|\.(pyi|typed|pyc|c|h)$"
    r"|^anyio/(_backends/_trio|pytest_plugin)\.py$|^starlette/templating\.py$"
    r"|^cattrs?/preconf/(bson|cbor2|msgpack|msgspec|orjson|pyyaml|tomlkit|ujson)\.py$"
)
# uvicorn's own imports its command line and its reloader, a fifth of what the agent would import at all
_REPLACED = {"uvicorn/__init__.py": b"from uvicorn.config import Config\n"}
_MAIN = '''\
"""Starts the agent from this archive or from the folder it was unpacked to; runtimes are in `site` beside."""
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
site = os.path.join(os.path.dirname(here), "site")
if os.path.isdir(site):
    sys.path.append(site)  # last: the agent's own packages win
    os.environ["PYTHONPATH"] = site  # its workers look there as well

from device_agent.main import main

main()
'''


@frozen
class Archive:
    """The agent's archive and what it asks of the device."""

    data: bytes
    sha256: str
    version: str
    least_python: tuple[int, int]
    packages: tuple[str, ...]  # `name==version`, sorted


def build() -> Archive:
    """Build the archive from the packages installed here; the same packages give the same bytes.

    Raises:
        MissingDependency: a package that the agent needs is not installed.
        DeviceError: a package holds compiled modules, which would not run on another machine, or the
            archive comes out too large.
    """
    found = _closure(ROOTS)
    entries: dict[str, bytes] = {"__main__.py": _MAIN.encode()}
    for distribution in found:
        for name, path in _modules(distribution):
            entries[name] = path.read_bytes()
    entries |= {name: content for name, content in _REPLACED.items() if name in entries}
    package = Path(device_agent.__file__).parent
    for path in package.rglob("*"):
        name = f"{package.name}/{path.relative_to(package).as_posix()}"
        if path.is_file() and not _DROPPED.search(name):
            entries[name] = path.read_bytes()
    data = _zipped(entries)
    if len(data) > MAX_BYTES:
        raise DeviceError(
            "the agent's archive is too large", got=f"{len(data)} bytes", expected=f"<= {MAX_BYTES}"
        )
    return Archive(
        data,
        hashlib.sha256(data).hexdigest(),
        device_agent.__version__,
        _least_python(found),
        tuple(sorted(f"{canonicalize_name(one.name)}=={one.version}" for one in found)),
    )


def _closure(roots: Iterable[str]) -> list[metadata.Distribution]:
    """The distributions of `roots` and all they need on any Python that a device may have."""
    wanted, found = list(roots), dict[str, metadata.Distribution]()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError as e:
            raise MissingDependency(
                f"{name} is missing, which the agent needs on some devices",
                next_step=f"pip install {name}, or install edge-deployment-sdk again.",
            ) from e
        needs = [Requirement(text) for text in found[name].requires or ()]
        wanted += [need.name for need in needs if _applies(need)]
    return list(found.values())


def _applies(need: Requirement) -> bool:
    """Whether a requirement without extras holds on Linux with one of the Pythons."""
    if need.marker is None:
        return True
    fixed = {"extra": "", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    fixed["platform_python_implementation"] = "CPython"
    return any(
        need.marker.evaluate(
            {**fixed, "python_version": f"{major}.{minor}", "python_full_version": f"{major}.{minor}.0"}
        )
        for major, minor in PYTHONS
    )


def _least_python(found: Iterable[metadata.Distribution]) -> tuple[int, int]:
    """The least Python that every distribution says it runs on."""
    stated = [one.metadata for one in found if "Requires-Python" in one.metadata]
    ranges = [SpecifierSet(each["Requires-Python"]) for each in stated]
    for major, minor in PYTHONS:
        if all(f"{major}.{minor}.99" in each for each in ranges):
            return major, minor
    raise DeviceError(
        "the agent's packages have no Python in common that a device may have",
        expected=", ".join(f"{major}.{minor}" for major, minor in PYTHONS),
    )


def _modules(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """The files of a distribution that belong into the archive, by their names in it."""
    for file in distribution.files or ():
        name = file.as_posix()
        if name.startswith("..") or ".dist-info/" in name or _DROPPED.search(name):
            continue
        if name.endswith(_COMPILED):
            raise DeviceError(
                "a package that the agent needs is not pure Python here",
                where=distribution.name,
                got=name,
                next_step=f"pip install --force-reinstall --no-binary :all: {distribution.name}",
            )
        yield name, Path(str(distribution.locate_file(file)))


def _zipped(entries: dict[str, bytes]) -> bytes:
    """A zip file of these entries, whatever the time and the machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, also where it is built elsewhere
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[name], zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()
