"""What a bundle must be before anything is written for it."""

from __future__ import annotations

from device_agent import runtimes, system
from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_TYPE,
    Manifest,
    check_architecture,
    check_files,
    parse_config,
    parse_manifest,
)
from device_agent.errors import InvalidBundle
from device_agent.store import RESERVED_TITLES, Store


def examine(store: Store, name: str, manifest_digest: str) -> Manifest:
    """The manifest of an uploaded bundle, once everything has been checked that can be without writing.

    Args:
        store: holds its blobs.
        name: that it is to be deployed under.
        manifest_digest: of its manifest blob.

    Raises:
        InvalidBundle: it makes no sense, is for another name, or is not all here.
        RuntimeMissing: this device cannot run it.
    """
    manifest = parse_manifest(store.read_blob(manifest_digest, "the manifest"))
    for layer in manifest.layers:
        if layer.title in RESERVED_TITLES:
            raise InvalidBundle("a layer's title is reserved", where=layer.title)
    for media_type in (GOLDEN_INPUTS_TYPE, GOLDEN_OUTPUTS_TYPE, MODEL_TYPE):
        manifest.layer(media_type)
    config = parse_config(store.read_blob(manifest.config.digest, "the bundle's config"))
    if config.name != name:
        raise InvalidBundle("the bundle is for another name", got=config.name, expected=name)
    check_files(config, manifest)
    check_architecture(config.architecture, system.machine(), config.target)
    runtimes.check(config.runtime, config.runtime_version)
    for blob in manifest.blobs():
        size = store.blob_size(blob.digest)
        if size != blob.size:
            raise InvalidBundle(
                "a blob that the manifest names is not here in its size",
                where=blob.title or blob.digest,
                got="nothing" if size is None else f"{size} bytes",
                expected=f"{blob.size} bytes",
                next_step="Push the bundle again.",
            )
    return manifest
