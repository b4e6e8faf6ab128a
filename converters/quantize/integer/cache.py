"""Statistics of activations, kept from one run to the next under the hash of all that they depend on."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import numpy as np
from attrs import frozen

from converters.quantize.integer.statistics import Statistics, TensorStatistics

VERSION = "1"  # of the way statistics are taken, and of the form they are kept in
SWITCH = "EDGE_CACHE"  # the environment variable that turns the cache off
_OFF = frozenset({"off", "no", "false", "0"})
LIMIT_BYTES = 256 << 20
_DIGEST_BYTES = hashlib.sha256().digest_size


@frozen
class Cache:
    """A folder of statistics, one file per key; those that were not used for longest go first.

    It is a convenience: what cannot be read counts as not there, and what cannot be written is left out.

    A file is the sha256 of its key and the rest, then the rest: an `.npz` of plain arrays.
    """

    folder: Path
    limit_bytes: int = LIMIT_BYTES

    def load(self, key: str) -> Statistics | None:
        """The statistics kept under a key, None where there are none or the file is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if digest != _digest(key, packed):
                _log().debug("damaged, not used: %s", path)
                return None
            os.utime(path)
        except OSError as e:
            if not isinstance(e, FileNotFoundError):
                _log().debug("cannot be read: %s", e)
            return None
        return _unpacked(packed)

    def store(self, key: str, statistics: Statistics) -> None:
        """Keep statistics under a key: all of them or, if that fails, nothing."""
        if not statistics.tensors:
            return
        packed = _packed(statistics)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(key, packed) + packed)
                Path(name).replace(self._path(key))
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            self._trim()
        except OSError as e:
            _log().debug("cannot be kept: %s", e)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.stats"

    def _trim(self) -> None:
        """Remove the files that were not used for longest until the rest is within the limit."""
        files = [(path, path.stat()) for path in self.folder.iterdir() if path.suffix in (".stats", ".part")]
        size = 0
        for path, state in sorted(files, key=lambda row: row[1].st_mtime_ns, reverse=True):
            size += state.st_size
            if size > self.limit_bytes:
                with suppress(FileNotFoundError):  # another process was here first
                    path.unlink()


def default() -> Cache | None:
    """The user's cache, None where `EDGE_CACHE=off` or there is no home folder to keep it in."""
    if os.environ.get(SWITCH, "").lower() in _OFF:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # https://specifications.freedesktop.org/basedir-spec: a path that is not absolute is ignored
        root = base if base.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None
    return Cache(root / "edge" / "calibration")


def key(model: bytes, samples: str) -> str:
    """What statistics are kept under.

    Args:
        model: the float model that the samples are run through, as a file.
        samples: the digest of the samples, `Calibration.digest`.
    """
    try:
        runtime = metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError:
        runtime = "unknown"
    found = hashlib.sha256(f"{VERSION} {runtime} {samples} ".encode())
    found.update(model)
    return found.hexdigest()


def _digest(key: str, packed: bytes) -> bytes:
    return hashlib.sha256(key.encode() + packed).digest()


def _packed(statistics: Statistics) -> bytes:
    ones = list(statistics.tensors.values())

    def joined(field: str) -> np.ndarray:
        return np.concatenate([getattr(one, field) for one in ones])

    file = io.BytesIO()
    np.savez_compressed(
        file,
        names=np.frombuffer("\0".join(statistics.tensors).encode(), np.uint8),
        samples=np.array(statistics.samples, np.int64),
        extremes=np.array([(one.minimum, one.maximum) for one in ones], np.float64),
        channels=np.array([len(one.channel_mean) for one in ones], np.int64),
        channel_minimum=joined("channel_minimum"),
        channel_maximum=joined("channel_maximum"),
        channel_mean=joined("channel_mean"),
        histograms=np.array([one.histogram for one in ones], np.int64),
    )
    return file.getvalue()


def _unpacked(packed: bytes) -> Statistics:
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        rows = {name: archive[name] for name in archive.files}
    names = rows["names"].tobytes().decode().split("\0")
    ends = np.cumsum(rows["channels"])[:-1]
    fields = ("channel_minimum", "channel_maximum", "channel_mean")
    least, greatest, mean = (np.split(rows[field], ends) for field in fields)
    found = {
        name: TensorStatistics(
            float(rows["extremes"][index, 0]),
            float(rows["extremes"][index, 1]),
            least[index],
            greatest[index],
            mean[index],
            rows["histograms"][index],
        )
        for index, name in enumerate(names)
    }
    return Statistics(found, int(rows["samples"]))


def _log() -> logging.Logger:
    return logging.getLogger(__name__)
