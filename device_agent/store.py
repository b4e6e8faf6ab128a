"""Blobs by digest, generations made of hard links to them, and the link that says which one answers.

    blobs/sha256/<hex>                    0444
    models/<name>/gens/<N>/               manifest.json, config.json and the layers by title;
                                          statement.json and manifest.sig where it is signed;
                                          compiled.cache where its runtime keeps what it compiled
    models/<name>/current -> gens/<N>

Nothing here decides; `activation` does.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from device_agent import durable, home
from device_agent.bundle import (
    MAX_MANIFEST_BYTES,
    SIGNATURE_FILE,
    STATEMENT_FILE,
    BundleConfig,
    Descriptor,
    Manifest,
    check_digest,
    parse_config,
    parse_manifest,
    sha256,
)
from device_agent.compiled import COMPILED_FILE
from device_agent.errors import EdgeError, InvalidBundle

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.json"
RESERVED_TITLES = frozenset({MANIFEST_FILE, CONFIG_FILE, STATEMENT_FILE, SIGNATURE_FILE, COMPILED_FILE})
WANTED_S = 3600.0  # how long a blob that nothing refers to is kept for the deployment it was sent for
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@frozen
class Generation:
    """One version of a model on the device, with everything it needs in its folder."""

    name: str
    number: int
    folder: Path
    manifest_digest: str
    manifest: Manifest
    config: BundleConfig

    @property
    def size_bytes(self) -> int:
        """Bytes of the config and all layers."""
        return sum(blob.size for blob in self.manifest.blobs())

    @property
    def label(self) -> str:
        """What to call it in errors and logs."""
        return f"{self.name} generation {self.number}"

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.folder / self.config.model

    def path(self, layer: Descriptor) -> Path:
        """Where a layer is."""
        return self.folder / layer.title

    def files(self) -> dict[str, Descriptor]:
        """The files of its folder but the manifest, by name."""
        return {CONFIG_FILE: self.manifest.config, **{layer.title: layer for layer in self.manifest.layers}}

    def parts(self) -> dict[str, Path]:
        """The model's other files by title."""
        return {title: self.folder / title for title in self.config.files}

    def digests(self) -> set[str]:
        """The digests of its manifest and of every blob that one refers to."""
        return {self.manifest_digest, *(blob.digest for blob in self.manifest.blobs())}


class Store:
    """The part of the state folder that holds models.

    Every method that writes raises DiskFull where there is no room and DeviceError where the medium
    refuses otherwise.
    """

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir
        self._blobs = state_dir / "blobs" / "sha256"
        self._models = state_dir / "models"
        self._wanted: dict[str, float] = {}  # digest -> when it was last asked for
        self._in_use: list[Set[str]] = []  # digests that are worked with just now
        self._rivals: dict[str, Set[str]] = {}  # of the bundles that were compared, by name
        self._lock = threading.Lock()
        home.make_private(state_dir)
        for folder in (state_dir / "blobs", self._blobs, self._models):
            durable.make_folder(folder)

    # blobs

    def blob_path(self, digest: str) -> Path:
        """Where a blob is, or would be; InvalidRequest if that is no digest."""
        return self._blobs / check_digest(digest).removeprefix("sha256:")

    def blob_size(self, digest: str) -> int | None:
        """The size of a blob in bytes, None where it is not here. Who asks wants it kept."""
        path = self.blob_path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        self._want(digest)
        return size

    def adopt_blob(self, file: Path, digest: str) -> None:
        """Make a synced file, whose digest was checked, a blob."""
        with durable.mapped("cannot keep a blob", file):
            os.chmod(file, 0o444)  # noqa: PTH101 - see durable.make_folder
        durable.move(file, self.blob_path(digest))
        self._want(digest)

    def release(self, generation: Generation) -> None:
        """Nobody waits for the blobs of a generation any more; only what refers to them keeps them.

        Nor for those of the bundles that were compared under its name: one of them has been chosen.
        """
        with self._lock:
            for digest in {*generation.digests(), *self._rivals.pop(generation.name, ())}:
                self._wanted.pop(digest, None)

    @contextmanager
    def compared(self, name: str, digests: Set[str]) -> Iterator[None]:
        """Keep the blobs of bundles that are compared under a name, until one of them has been deployed.

        In this context whatever happens; after it as long as blobs are kept for a deployment to come.
        """
        with self.in_use(digests):
            with self._lock:
                self._rivals[name] = digests | self._rivals.get(name, frozenset())
            yield

    @contextmanager
    def in_use(self, digests: Set[str]) -> Iterator[None]:
        """Keep these blobs while in this context; they are wanted after it."""
        with self._lock:
            self._in_use.append(digests)
        try:
            yield
        finally:
            with self._lock:
                self._in_use.remove(digests)
                self._wanted.update(dict.fromkeys(digests, time.monotonic()))

    def read_blob(self, digest: str, what: str) -> bytes:
        """A small blob's bytes, checked; InvalidBundle where it is missing, too large or damaged."""
        size = self.blob_size(digest)
        if size is None:
            raise InvalidBundle(f"{what} was not uploaded", where=digest, next_step="Push the bundle again.")
        if size > MAX_MANIFEST_BYTES:
            raise InvalidBundle(f"{what} is too large", got=str(size), expected=f"<= {MAX_MANIFEST_BYTES}")
        with durable.mapped("cannot read a blob", self.blob_path(digest)):
            data = self.blob_path(digest).read_bytes()
        if sha256(data) != digest:
            self._drop_damaged(digest)
        return data

    def check_blob(self, blob: Descriptor) -> None:
        """Re-read and hash a blob; InvalidBundle where it is missing or damaged: that one is removed."""
        if self.blob_size(blob.digest) is None:
            raise InvalidBundle("a blob is missing", where=blob.digest, next_step="Push the bundle again.")
        if "sha256:" + durable.hash_file(self.blob_path(blob.digest)) != blob.digest:
            self._drop_damaged(blob.digest)

    def collect_blobs(self, keep: Iterable[str]) -> int:
        """Remove the blobs that are neither in `keep` nor wanted by a deployment to come.

        Returns:
            How many bytes they had.
        """
        since = time.monotonic() - WANTED_S
        with self._lock:
            self._wanted = {digest: when for digest, when in self._wanted.items() if when > since}
            rivals = ((name, digests & self._wanted.keys()) for name, digests in self._rivals.items())
            self._rivals = {name: digests for name, digests in rivals if digests}
            wanted = {*keep, *self._wanted}.union(*self._in_use)
        kept = {digest.removeprefix("sha256:") for digest in wanted}
        freed = 0
        with durable.mapped("cannot read a folder", self._blobs):
            for path in [path for path in self._blobs.iterdir() if path.name not in kept]:
                freed += path.stat().st_size
                durable.remove(path)
        return freed

    # generations

    def names(self) -> tuple[str, ...]:
        """Every model that has a folder."""
        with durable.mapped("cannot read a folder", self._models):
            return tuple(sorted(path.name for path in self._models.iterdir() if path.is_dir()))

    def numbers(self, name: str) -> tuple[int, ...]:
        """The generations of a model that have a folder, whole or not."""
        try:
            found = [path.name for path in (self._models / name / "gens").iterdir()]
        except FileNotFoundError:
            return ()
        return tuple(sorted(int(number) for number in found if _NUMBER.fullmatch(number)))

    def current(self, name: str) -> int | None:
        """The generation that the link names, None where there is no link."""
        try:
            target = os.readlink(self._models / name / "current")  # noqa: PTH115 - as above
        except (FileNotFoundError, NotADirectoryError):
            return None
        number = target.removeprefix("gens/")
        return int(number) if _NUMBER.fullmatch(number) else None

    def stage(self, name: str, number: int, manifest_digest: str, manifest: Manifest) -> None:
        """Make the folder of a generation out of blobs; durable, but not checked yet."""
        folder = self._folder(name, number)
        for parent in (self._models / name, folder.parent, folder):
            durable.make_folder(parent)
        files = {MANIFEST_FILE: manifest_digest, CONFIG_FILE: manifest.config.digest}
        files |= {layer.title: layer.digest for layer in manifest.layers}
        for title, digest in files.items():
            if self.blob_size(digest) is None:
                raise InvalidBundle(
                    "a blob that the manifest names was not uploaded",
                    where=title,
                    got=digest,
                    next_step="Push the bundle again.",
                )
            durable.link_file(self.blob_path(digest), folder / title)
        durable.sync_folder(folder)

    def keep_statement(self, name: str, number: int, statement: str, signature: str) -> None:
        """Keep what was signed with a generation that is staged."""
        folder = self._folder(name, number)
        durable.write_file(folder / SIGNATURE_FILE, signature.encode())
        durable.write_file(folder / STATEMENT_FILE, statement.encode())

    def statement(self, name: str, number: int) -> tuple[str, str]:
        """The statement of a generation and its signature; empty where it is not signed."""
        folder = self._folder(name, number)
        try:
            return (folder / STATEMENT_FILE).read_text("ascii"), (folder / SIGNATURE_FILE).read_text("ascii")
        except FileNotFoundError:
            return "", ""
        except (OSError, ValueError) as e:
            raise InvalidBundle(
                "a generation's statement cannot be read", where=str(folder), got=str(e)
            ) from e

    def verify(self, name: str, number: int, manifest_digest: str) -> Generation:
        """Re-read and hash every file of a generation, its manifest first.

        Raises:
            InvalidBundle: one does not have its digest or size; its blob is removed, to be sent again.
        """
        generation = self.generation(name, number)
        if generation.manifest_digest != manifest_digest:
            self._drop_damaged(manifest_digest)
        for title, descriptor in generation.files().items():
            path = generation.folder / title
            with durable.mapped("cannot read a file", path):
                size = path.stat().st_size
            if size != descriptor.size:
                raise InvalidBundle(
                    "a blob does not have the size the manifest says",
                    where=title,
                    got=str(size),
                    expected=str(descriptor.size),
                )
            if "sha256:" + durable.hash_file(path) != descriptor.digest:
                self._drop_damaged(descriptor.digest)
        return generation

    def generation(self, name: str, number: int) -> Generation:
        """A generation as its folder describes it; InvalidBundle where it is not whole."""
        folder = self._folder(name, number)
        try:
            data = (folder / MANIFEST_FILE).read_bytes()
            manifest = parse_manifest(data)
            config = parse_config((folder / CONFIG_FILE).read_bytes())
        except OSError as e:
            raise InvalidBundle("a generation is not whole", where=str(folder), got=str(e)) from e
        return Generation(name, number, folder, sha256(data), manifest, config)

    def intact(self, name: str, number: int) -> bool:
        """Whether a generation's files are all there in their sizes (not hashed: every start asks)."""
        try:
            generation = self.generation(name, number)
            sizes = {title: (generation.folder / title).stat().st_size for title in generation.files()}
        except (EdgeError, OSError):
            return False
        return sizes == {title: blob.size for title, blob in generation.files().items()}

    def activate(self, name: str, number: int | None) -> None:
        """Let the link name this generation, or none; durable when it returns."""
        link = self._models / name / "current"
        if number is not None:
            durable.point(link, f"gens/{number}")
        elif self.current(name) is not None:
            durable.remove(link)
            durable.sync_folder(link.parent)

    def discard(self, name: str, keep: Iterable[int]) -> None:
        """Remove every generation of a model but `keep`, and the model's folder if that leaves nothing."""
        kept = set(keep)
        for number in self.numbers(name):
            if number not in kept:
                durable.remove_tree(self._folder(name, number))
        if not kept:
            durable.remove_tree(self._models / name)

    def referenced(self) -> set[str]:
        """The digests of the blobs that generations (and those being staged) refer to."""
        found: set[str] = set()
        for name in self.names():
            for number in self.numbers(name):
                try:
                    generation = self.generation(name, number)
                except EdgeError:
                    continue
                found |= generation.digests()
        return found

    def _folder(self, name: str, number: int) -> Path:
        return self._models / name / "gens" / str(number)

    def _want(self, digest: str) -> None:
        with self._lock:
            self._wanted[digest] = time.monotonic()

    def _drop_damaged(self, digest: str) -> None:
        durable.remove(self.blob_path(digest))
        raise InvalidBundle(
            "a blob was damaged on the device's disk and has been removed",
            where=digest,
            next_step="Push the bundle again.",
        )
