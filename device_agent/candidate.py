"""An uploaded bundle that is tried without being activated: run from its blobs' files, recorded nowhere."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from device_agent.bundle import BundleConfig, Descriptor, Manifest, parse_config
from device_agent.store import Store


@frozen
class Candidate:
    """A bundle that may be deployed, and is not (yet). `paths` are the files of its layers, by title."""

    manifest_digest: str
    manifest: Manifest
    config: BundleConfig
    paths: dict[str, Path]

    @property
    def label(self) -> str:
        """What to call it in errors and logs."""
        return f"{self.config.name} candidate {self.manifest_digest[7:19]}"

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.paths[self.config.model]

    def parts(self) -> dict[str, Path]:
        """The model's other files by title."""
        return {title: self.paths[title] for title in self.config.files}

    def path(self, layer: Descriptor) -> Path:
        """Where a layer is."""
        return self.paths[layer.title]


def digests_of(manifest_digest: str, manifest: Manifest) -> frozenset[str]:
    """The digests of a manifest and of every blob that it refers to."""
    return frozenset({manifest_digest, *(blob.digest for blob in manifest.blobs())})


def read(store: Store, manifest_digest: str, manifest: Manifest) -> Candidate:
    """A bundle that was admitted, every blob of it re-read and hashed.

    Args:
        store: holds its blobs, and keeps them meanwhile.
        manifest_digest: of its manifest.
        manifest: that one.

    Raises:
        InvalidBundle: a blob is missing or damaged.
    """
    for blob in manifest.blobs():
        store.check_blob(blob)
    config = parse_config(store.read_blob(manifest.config.digest, "the bundle's config"))
    paths = {layer.title: store.blob_path(layer.digest) for layer in manifest.layers}
    return Candidate(manifest_digest, manifest, config, paths)
