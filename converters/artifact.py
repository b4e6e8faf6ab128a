"""`Artifact`: one compiled model file and what is known of it."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from attrs import field, frozen

from converters.quiet import quiet
from device_agent import runtimes
from device_agent.bundle import Execution, TensorSpec
from device_agent.runtimes.base import Options, Session


@frozen
class Artifact:
    """One compiled model for one runtime: a file, and `files` beside it where the format has several.

    `inputs` and `outputs` carry the quantisation a caller needs to fill and read them. `operators` are
    the compiled graph's operator types in execution order; `float_operators` names those of them that
    compute in floating point.
    """

    title: str  # its file name
    data: bytes = field(repr=False)
    runtime: str
    runtime_version: str  # the least that can run it
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[str, ...]
    float_operators: tuple[str, ...]
    tolerance: dict[str, float]  # output -> device against host, as in `BundleConfig`
    rewrites: dict[str, int]  # graph rewrite -> how often it applied
    files: dict[str, bytes] = field(factory=dict, repr=False)  # title -> content: an IR's weights
    execution: Execution | None = None  # for runtimes with several processors

    @property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of all its files, the one that names the others first."""
        return (self.title, *self.files)

    @property
    def digest(self) -> str:
        """Hex digest of all its files: an IR's operators may be the same where its weights are not."""
        found = hashlib.sha256(self.data)
        for title, data in sorted(self.files.items()):
            found.update(title.encode() + hashlib.sha256(data).digest())
        return found.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return len(self.data) + sum(map(len, self.files.values()))

    def write(self, folder: Path) -> Path:
        """Write its files into a folder; the path of the one that names the others."""
        for title, data in self.files.items():
            (folder / title).write_bytes(data)
        (folder / self.title).write_bytes(self.data)
        return folder / self.title


def opened(artifact: Artifact, *, threads: int = 1) -> Session:
    """The artifact loaded in its runtime on this machine; what the runtime prints is kept quiet.

    Raises:
        RuntimeMissing: there is no such runtime here.
        WorkerFailed: the runtime refuses the artifact.
    """
    with tempfile.TemporaryDirectory(prefix="edge-") as folder, quiet():
        path = artifact.write(Path(folder))
        files = {title: path.with_name(title) for title in artifact.files}
        return runtimes.get(artifact.runtime).load(path, Options(threads, files, artifact.execution))
