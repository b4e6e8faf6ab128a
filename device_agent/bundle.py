"""The bundle: an OCI image layout, the only thing that is pushed to a device.

    oci-layout  index.json  blobs/sha256/<hex>

The manifest is an OCI image manifest (https://github.com/opencontainers/image-spec/blob/main/manifest.md)
with our `artifactType`; its config blob is a `BundleConfig`; its layers are the model files, the golden
inputs and outputs (see `tensors`) and the plan. Nothing in it depends on time or place, so the same
model, plan and calibration give the same digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from device_agent import codec, execution
from device_agent.errors import FileMissing, InvalidBundle, InvalidRequest, OutputError

ARTIFACT_TYPE = "application/vnd.edge.bundle.v1"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.edge.bundle.config.v1+json"
MODEL_TYPE = "application/vnd.edge.model.v1"
MODEL_PART_TYPE = "application/vnd.edge.model.part.v1"  # another file of the model
GOLDEN_INPUTS_TYPE = "application/vnd.edge.golden.inputs.v1+safetensors"
GOLDEN_OUTPUTS_TYPE = "application/vnd.edge.golden.outputs.v1+safetensors"
PLAN_TYPE = "application/vnd.edge.plan.v1+json"
TITLE = "org.opencontainers.image.title"  # the annotation that holds a layer's file name
STATEMENT_FILE = "statement.json"  # beside the layout, where it was signed: see `statement`
SIGNATURE_FILE = "manifest.sig"  # of the statement, which holds the manifest's digest

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 8  # of a model, beside its own
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@frozen
class Quantization:
    """Affine quantisation: real = scale * (q - zero_point); several scales are per-channel on `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@frozen
class TensorSpec:
    """A named input or output of a model.

    `shape` has -1 where a dimension is open. `layout` names the axes (`NHWC`, `NCHW`, `NC`) where known.
    """

    name: str
    dtype: str  # NumPy's name
    shape: tuple[int, ...]
    layout: str | None = None
    quantization: Quantization | None = None


@frozen
class Preprocessing:
    """How one image becomes one input: x = (pixel * scale - mean) / std, pixels are 0 to 255.

    `resize` is `stretch`, `crop` (fill, cut what sticks out) or `none` (must fit already), `channels` is
    `rgb`, `bgr` or `gray`, `layout` `NHWC` or `NCHW`. None and 0 mean: as the model's input says; in a bundle
    nothing is left open.
    """

    resize: str = "stretch"
    width: int = 0  # pixels
    height: int = 0
    channels: str | None = None
    layout: str | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)  # one, or one per channel
    std: tuple[float, ...] = (1.0,)


@frozen
class Execution:
    """How a runtime that has several processors to choose from runs a model.

    `device` is OpenVINO's name of one or more of them: `CPU`, `GPU`, `GPU.1`, `NPU`, `AUTO`, `AUTO:GPU,CPU`,
    `HETERO:GPU,CPU`. `hint` is `latency` or `throughput`; `precision` what float operators compute in (`f32`,
    `f16`, `bf16`), None: as the runtime likes; `streams` how many runs go side by side, None: as the hint
    says. `affinities` name the processor of operators, by the names that they have in the model's file;
    with `strict` an operator that would run elsewhere keeps the model from being loaded.
    """

    device: str = "CPU"
    hint: str = "latency"
    precision: str | None = None
    streams: int | None = None
    affinities: dict[str, str] = field(factory=dict)
    strict: bool = False


@frozen
class BundleConfig:
    """What the device must know to load, check and serve the model.

    `tolerance` bounds device against host per output: quantisation steps for an integer output, an
    absolute difference for a float one. `preprocessing` is how the images became inputs that the model was
    calibrated with, None where none were; it is left out of the JSON then. So are `files`, the titles of
    other files that the model consists of (the weights of an IR), and `execution`.
    """

    name: str
    target: str
    architecture: str  # of the userland it is for (`AgentInfo.machine`); "host" where any will do
    runtime: str
    runtime_version: str  # the least that can run it
    model: str  # the title of the model layer
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: dict[str, float]
    source_sha256: str  # of the model file the bundle was made from
    precision: str
    golden_samples: int
    preprocessing: Preprocessing | None = None
    files: tuple[str, ...] = ()
    execution: Execution | None = None


codec.leave_out(
    BundleConfig, "preprocessing", "files", "execution"
)  # so that bundles without it keep their digests


def check_architecture(architecture: str, machine: str, target: str) -> None:
    """Refuse a bundle on a machine of another architecture than its target's; InvalidBundle says which."""
    if architecture not in ("host", machine):
        raise InvalidBundle(
            "made for another architecture than the device has",
            where=target,
            got=architecture,
            expected=machine,
            next_step="Choose the target that the device is: `edge targets list`.",
        )


@frozen
class Descriptor:
    """An OCI content descriptor: media type, digest and size of a blob."""

    mediaType: str  # noqa: N815 - the key's spelling in the OCI specification
    digest: str
    size: int  # bytes
    annotations: dict[str, str] = field(factory=dict)

    @property
    def title(self) -> str:
        """The file name the layer carries, empty where it has none."""
        return self.annotations.get(TITLE, "")


@frozen
class Manifest:
    """An OCI image manifest."""

    schemaVersion: int  # noqa: N815 - as above
    mediaType: str  # noqa: N815
    artifactType: str  # noqa: N815
    config: Descriptor
    layers: tuple[Descriptor, ...]

    def layer(self, media_type: str) -> Descriptor:
        """The one layer of that media type.

        Raises:
            InvalidBundle: there is none, or more than one.
        """
        found = [layer for layer in self.layers if layer.mediaType == media_type]
        if len(found) != 1:
            raise InvalidBundle(
                f"the manifest must hold one layer of type {media_type}", got=str(len(found)), expected="1"
            )
        return found[0]

    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers: everything the manifest refers to."""
        return (self.config, *self.layers)


def sha256(data: bytes) -> str:
    """The digest of `data` as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_digest(digest: str) -> str:
    """`digest` itself, if it is a well-formed sha256 digest; InvalidRequest otherwise."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest("not a digest", got=digest[:80], expected="sha256:<64 hex digits>")
    return digest


def check_name(name: str) -> str:
    """`name` itself, if it can name a deployment (it becomes a folder on the device)."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "not a deployment name",
            got=repr(name[:80]),
            expected="1 to 64 of a-z 0-9 . _ - beginning and ending with a letter or digit",
        )
    return name


def parse_manifest(data: bytes) -> Manifest:
    """The manifest held in a blob, checked before anything it names is touched.

    Raises:
        InvalidBundle: too large, not a manifest of ours, a malformed digest, size or title.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidBundle(
            "the manifest is too large", got=str(len(data)), expected=f"<= {MAX_MANIFEST_BYTES}"
        )
    try:
        manifest = codec.from_json(data, Manifest, where="manifest")
        if manifest.schemaVersion != 2 or manifest.artifactType != ARTIFACT_TYPE:
            raise InvalidBundle("not an edge bundle", got=manifest.artifactType, expected=ARTIFACT_TYPE)
        for blob in manifest.blobs():
            check_digest(blob.digest)
            if blob.size < 0:
                raise InvalidBundle("a blob's size is negative", where=blob.digest)
        titles = [layer.title for layer in manifest.layers]
        if not all(_TITLE.fullmatch(title) for title in titles) or len(set(titles)) != len(titles):
            raise InvalidBundle("layer titles must be plain, distinct file names", got=repr(titles)[:200])
    except InvalidRequest as e:
        raise InvalidBundle(e.what, where=e.where or "manifest", got=e.got, expected=e.expected) from e
    return manifest


def parse_config(data: bytes) -> BundleConfig:
    """The config blob of a bundle; InvalidBundle where it makes no sense."""
    try:
        config = codec.from_json(data, BundleConfig, where="bundle config")
        check_name(config.name)
        if config.execution is not None:
            execution.check(config.execution)
    except InvalidRequest as e:
        raise InvalidBundle(e.what, where=e.where, got=e.got, expected=e.expected) from e
    titles = [config.model, *config.files]
    if len(config.files) > MAX_FILES or len(set(titles)) != len(titles):
        raise InvalidBundle(
            "a model's files must be few and distinct",
            where="bundle config",
            got=repr(titles)[:200],
            expected=f"at most {MAX_FILES} beside the model's own",
        )
    strangers = config.tolerance.keys() - {spec.name for spec in config.outputs}
    if not config.outputs or strangers:
        raise InvalidBundle(
            "a bundle needs outputs, and tolerances for no others",
            where="bundle config",
            got=", ".join(sorted(strangers)) or "no outputs",
        )
    return config


def check_files(config: BundleConfig, manifest: Manifest) -> None:
    """Refuse a bundle whose config and manifest disagree on what its model consists of, as InvalidBundle."""
    parts = {layer.title for layer in manifest.layers if layer.mediaType == MODEL_PART_TYPE}
    if config.model != manifest.layer(MODEL_TYPE).title or parts != set(config.files):
        raise InvalidBundle(
            "the bundle's config names other files of the model than its manifest",
            where="bundle config",
            got=", ".join((config.model, *config.files))[:200],
            expected=", ".join((manifest.layer(MODEL_TYPE).title, *sorted(parts)))[:200],
        )


@frozen
class Bundle:
    """A bundle in memory or on disk: its manifest and where each blob's bytes are."""

    manifest_digest: str
    manifest: Manifest
    config: BundleConfig
    path: Path

    def blob_path(self, digest: str) -> Path:
        """Where the layout keeps a blob."""
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def read(self, descriptor: Descriptor) -> bytes:
        """A blob's bytes, checked against its digest."""
        data = self.blob_path(descriptor.digest).read_bytes()
        if sha256(data) != descriptor.digest:
            raise InvalidBundle(
                "a blob does not have its digest", where=str(self.blob_path(descriptor.digest))
            )
        return data

    @property
    def size_bytes(self) -> int:
        """Bytes of all blobs but the manifest."""
        return sum(blob.size for blob in self.manifest.blobs())


def write_bundle(path: Path, config: BundleConfig, layers: Mapping[str, tuple[str, bytes]]) -> Bundle:
    """Write an OCI image layout.

    Args:
        path: the folder, made where it is missing; an earlier bundle in it is replaced.
        config: the config blob.
        layers: title -> (media type, bytes), in the order they shall stand in the manifest.

    Raises:
        OutputError: the folder cannot be written.
    """

    def put(media_type: str, data: bytes, title: str | None = None) -> Descriptor:
        digest = sha256(data)
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        return Descriptor(media_type, digest, len(data), {TITLE: title} if title else {})

    blobs = path / "blobs" / "sha256"
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        for stale in blobs.iterdir():
            stale.unlink()
        for signed in (STATEMENT_FILE, SIGNATURE_FILE):
            (path / signed).unlink(missing_ok=True)
        head = put(CONFIG_TYPE, codec.dumps(config).encode())
        body = tuple(put(media_type, data, title) for title, (media_type, data) in layers.items())
        manifest = Manifest(2, MANIFEST_TYPE, ARTIFACT_TYPE, head, body)
        top = put(MANIFEST_TYPE, codec.dumps(manifest).encode())
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [codec.to_json(top)]}
        (path / "index.json").write_text(json.dumps(index))
    except OSError as e:
        raise OutputError("cannot write the bundle", where=str(path), got=str(e)) from e
    return Bundle(top.digest, manifest, config, path)


def read_bundle(path: Path) -> Bundle:
    """Open an OCI image layout that holds one bundle.

    Raises:
        FileMissing: there is no layout at `path`.
        InvalidBundle: the layout, manifest or a digest is wrong.
    """
    if not (path / "index.json").is_file():
        raise FileMissing("no bundle here", where=str(path), expected="a folder with index.json and blobs/")
    try:
        entries = json.loads((path / "index.json").read_bytes())["manifests"]
        digest = check_digest(entries[0]["digest"])
    except (ValueError, KeyError, IndexError, TypeError) as e:
        raise InvalidBundle(
            "index.json names no manifest", where=str(path / "index.json"), got=repr(e)
        ) from e

    def load(digest: str) -> bytes:
        file = path / "blobs" / "sha256" / digest.removeprefix("sha256:")
        try:
            data = file.read_bytes()
        except OSError as e:
            raise InvalidBundle("a blob is missing", where=str(file), got=str(e)) from e
        if sha256(data) != digest:
            raise InvalidBundle(
                "a blob does not have its digest", where=str(file), got=sha256(data), expected=digest
            )
        return data

    manifest = parse_manifest(load(digest))
    config = parse_config(load(manifest.config.digest))
    check_files(config, manifest)
    for layer in manifest.layers:
        load(layer.digest)
    return Bundle(digest, manifest, config, path)
