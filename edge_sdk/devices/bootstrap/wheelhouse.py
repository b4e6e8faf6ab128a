"""Runtimes as wheels for another machine, fetched here, locked by hash and kept.

A device needs no internet and no pip for them: its agent unpacks them (`device_agent.releases`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement

from device_agent.errors import DeviceUnsuitable, EdgeError, MissingDependency, OutputError
from edge_sdk.devices.bootstrap.probe import Facts, Python

DISTRIBUTION = "edge-deployment-sdk"
LOCK = "requirements.lock"
OLDEST_GLIBC = 17  # of manylinux2014, the oldest that anything is still published for
FETCH_TIMEOUT_S = 1800
# runtime -> the distribution that it is; it comes in the version that this machine computes with
DISTRIBUTIONS = {"litert": "ai-edge-litert", "openvino": "openvino", "tflite": "tflite-runtime"}
# distributions that this machine may do without: the extra whose versions a device then gets the newest of
EXTRAS = {"openvino": "openvino"}
OPENVINO_GLIBC = {"aarch64": "2.35", "x86_64": "2.28"}  # of the wheels of 2026.4
# declared dependencies that no device needs: OpenVINO's telemetry, which would reach for the network
LEFT_OUT = ("openvino_telemetry",)
# the last release, and the last NumPy whose binary interface it was compiled for
FIXED = {"tflite": ("tflite-runtime==2.14.0", "numpy<2")}
# NumPy has no wheels for them: the system's own is used, which `examine` makes sure of
SYSTEM_NUMPY = frozenset({"armv6l", "armv7l"})


@frozen
class Platform:
    """What a wheel must fit."""

    python: tuple[int, int]
    machine: str  # of the userland
    glibc: tuple[int, int]

    def __str__(self) -> str:
        series = ".".join(map(str, self.python))
        return f"Python {series} on {self.machine} with glibc {self.glibc[0]}.{self.glibc[1]}"


@frozen
class Wheelhouse:
    """Wheels on this machine's disk, checked against their lock."""

    folder: Path
    wheels: dict[str, str]  # file name -> sha256, sorted

    @property
    def size_bytes(self) -> int:
        """What copying all of them takes."""
        return sum((self.folder / name).stat().st_size for name in self.wheels)


EMPTY = Wheelhouse(Path(), {})


def platform_of(facts: Facts, python: Python) -> Platform:
    """What wheels for a device must fit; `examine` has made sure that it has glibc."""
    return Platform(python.series, facts.machine, facts.libc_version or (2, OLDEST_GLIBC))


def requirements(runtimes: Collection[str]) -> tuple[str, ...]:
    """What pip is asked for: each of these runtimes, in the version installed here, or the only fitting.

    Raises:
        MissingDependency: a runtime is not installed here, and nothing says which versions would do.
    """
    wanted: list[str] = []
    for runtime in sorted(DISTRIBUTIONS.keys() & set(runtimes)):
        wanted += FIXED.get(runtime) or [_requirement(DISTRIBUTIONS[runtime])]
    return tuple(wanted)


def _requirement(name: str) -> str:
    """A distribution in the version installed here, else in those that our own extra allows."""
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError as e:
        extra = EXTRAS.get(name, "")
        allowed = _of_extra(name, extra)
        if allowed is None:
            raise MissingDependency(
                f"{name} is missing, so which version a device needs is not known",
                next_step=f"pip install 'edge-deployment-sdk[{extra}]'" if extra else f"pip install {name}",
            ) from e
        return allowed


def _of_extra(name: str, extra: str) -> str | None:
    """What our own metadata asks of a distribution under an extra; None where nothing says so."""
    try:
        needs = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:  # run from its source tree
        return None
    for need in needs:
        if need.name == name and need.marker is not None and need.marker.evaluate({"extra": extra}):
            return f"{name}{need.specifier}"
    return None


def tags(platform: Platform) -> tuple[str, ...]:
    """Every platform tag that a wheel for a device may have, newest first.

    pip does not widen a tag for a foreign platform: with the device's alone, it would silently take an
    older release that happens to have it. https://peps.python.org/pep-0600/
    """
    newest = platform.glibc[1] if platform.glibc[0] == 2 else OLDEST_GLIBC
    named = [f"manylinux_2_{minor}_{platform.machine}" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
    return (*named, f"manylinux2014_{platform.machine}", f"linux_{platform.machine}")


def download_arguments(platform: Platform, wanted: tuple[str, ...], folder: Path) -> list[str]:
    """The arguments of `python -m pip` that fetch wheels for a platform into a folder."""
    major, minor = platform.python
    abis = [f"cp{major}{minor}", "abi3", "none"]
    if platform.machine in SYSTEM_NUMPY:
        wanted = ("--no-deps", *(name for name in wanted if not name.startswith("numpy")))
    return [
        *("download", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", f"{major}.{minor}"),
        *(word for abi in abis for word in ("--abi", abi)),
        *(word for tag in tags(platform) for word in ("--platform", tag)),
        *("--dest", str(folder), *wanted),
    ]


def cache_folder() -> Path:
    """Where wheels are kept: edge/wheels under XDG_CACHE_HOME (~/.cache)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "edge" / "wheels"


def fetch(platform: Platform, wanted: tuple[str, ...], *, cache: Path | None = None) -> Wheelhouse:
    """The wheels that `wanted` and all it needs but LEFT_OUT are on a platform; from the cache if there.

    Args:
        platform: of the device.
        wanted: requirements with exact versions; none gives an empty wheelhouse.
        cache: `cache_folder()` if None.

    Raises:
        DeviceUnsuitable: there is no wheel for the platform.
        MissingDependency: this Python has no pip.
        EdgeError: the package index cannot be reached.
        OutputError: the cache cannot be written.
    """
    if not wanted:
        return EMPTY
    key = hashlib.sha256(json.dumps([str(platform), wanted]).encode()).hexdigest()[:16]
    folder = (
        cache or cache_folder()
    ) / f"{platform.machine}-cp{platform.python[0]}{platform.python[1]}-{key}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            _one_at_a_time(folder.parent),  # devices of a kind want the same wheels at the same moment
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary,
        ):
            kept = _read(folder)
            if kept is not None:
                return kept
            fetched = Path(temporary) / "wheels"
            _download(platform, wanted, fetched)
            for name in LEFT_OUT:
                for wheel in fetched.glob(f"{name}-*.whl"):
                    wheel.unlink()
            (fetched / LOCK).write_text(_lock(fetched))
            shutil.rmtree(folder, ignore_errors=True)  # a cache that does not match its lock
            fetched.rename(folder)
    except OSError as e:
        raise OutputError("cannot keep the wheels", where=str(folder), got=str(e)) from e
    found = _read(folder)
    if found is None:
        raise OutputError("the wheels changed while they were kept", where=str(folder))
    return found


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other threads and processes waiting."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _download(platform: Platform, wanted: tuple[str, ...], folder: Path) -> None:
    if util.find_spec("pip") is None:
        raise MissingDependency(
            "pip is missing, which fetches the device's runtimes", next_step="python -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", *download_arguments(platform, wanted, folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as e:
        raise EdgeError("fetching the runtimes took too long", got=f"{e.timeout} s") from e
    if done.returncode == 0:
        return
    raise _refusal(platform, wanted, done.stderr)


def _refusal(platform: Platform, wanted: tuple[str, ...], said: str) -> EdgeError:
    """What pip's words mean: no such wheel, or no way to the index."""
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    last = errors[-1] if errors else said.strip()[-300:]
    missing = re.search(r"No matching distribution found for (.+?)(?: \(from|$)", said, re.MULTILINE)
    if missing is None or re.search(r"connection broken|NewConnectionError|ConnectTimeout|resolve", said):
        return EdgeError(
            "the runtimes for the device cannot be fetched",
            where=", ".join(wanted),
            got=last,
            next_step="This machine needs a way to a package index once (`pip config list` shows which).",
        )
    return DeviceUnsuitable(
        f"there is no wheel of {missing[1]} for the device",
        where=", ".join(wanted),
        got=str(platform),
        next_step=_way_out(platform, wanted, missing[1]),
    )


def _way_out(platform: Platform, wanted: tuple[str, ...], missing: str) -> str:
    """What to do about a runtime that has no wheel for a platform."""
    if missing.startswith(DISTRIBUTIONS["openvino"]):
        glibc = OPENVINO_GLIBC.get(platform.machine, "2.35")
        # pip looks for them in order, so it found those before this one
        found = [
            name for name, one in DISTRIBUTIONS.items() if wanted[0].startswith(one) and one not in missing
        ]
        works = "".join(f": {name} works there" for name in found)
        return f"Install a newer image on the device (glibc {glibc} or later), or leave openvino out{works}."
    if platform.machine in ("armv7l", "armv6l"):
        way_out = (
            "Install the 64-bit image of the system on the device (Raspberry Pi 3 and later), or name a "
            "32-bit board (`--target rpi4-32bit`)."
        )
    else:
        way_out = "Install another Python on the device (3.11 to 3.13), or a newer image."
    return f"{way_out} With `--target null` the agent is installed without a runtime."


def _lock(folder: Path) -> str:
    """The wheels of a folder as pip's hash-checked requirements, each with its file name."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}  # {wheel.name}\n")
    return "".join(lines)


def _read(folder: Path) -> Wheelhouse | None:
    """The wheelhouse in a folder if every wheel has the hash that its lock states."""
    try:
        text = (folder / LOCK).read_text()
    except OSError:
        return None
    wheels = {
        name: digest
        for digest, name in re.findall(r"--hash=sha256:([0-9a-f]{64})  # (\S+\.whl)$", text, re.M)
    }
    for name, digest in wheels.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return None
    return Wheelhouse(folder, dict(sorted(wheels.items()))) if wheels else None
