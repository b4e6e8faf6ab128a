"""Bundles: written, read, and refused when anything in them is wrong."""

import json
import shutil
import subprocess

import pytest
from attrs import evolve

from device_agent import codec
from device_agent.bundle import (
    CONFIG_TYPE,
    MODEL_PART_TYPE,
    MODEL_TYPE,
    BundleConfig,
    Execution,
    Manifest,
    Preprocessing,
    TensorSpec,
    check_name,
    parse_config,
    parse_manifest,
    read_bundle,
    sha256,
    write_bundle,
)
from device_agent.errors import FileMissing, InvalidBundle, InvalidRequest, OutputError

CONFIG = BundleConfig(
    name="digits",
    target="local",
    architecture="host",
    runtime="null",
    runtime_version="1",
    model="model.bin",
    inputs=(TensorSpec("x", "int8", (1, 2)),),
    outputs=(TensorSpec("y", "int8", (1, 2)),),
    tolerance={"y": 4.0},
    source_sha256="0" * 64,
    precision="int8",
    golden_samples=0,
)
LAYERS = {"model.bin": (MODEL_TYPE, b"weights"), "plan.json": ("application/json", b"{}")}


def test_round_trip(tmp_path):
    """What is written is read back equal, and blobs are named by their digests."""
    bundle = write_bundle(tmp_path / "b", CONFIG, LAYERS)
    assert bundle == read_bundle(tmp_path / "b")
    assert b"weights" == bundle.read(bundle.manifest.layer(MODEL_TYPE))
    assert CONFIG_TYPE == bundle.manifest.config.mediaType
    assert all(sha256(f.read_bytes()) == f"sha256:{f.name}" for f in (tmp_path / "b/blobs/sha256").iterdir())


def test_same_content_same_digest(tmp_path):
    """Nothing in a bundle depends on time or place."""
    first, second = (write_bundle(tmp_path / name, CONFIG, LAYERS) for name in "ab")
    assert first.manifest_digest == second.manifest_digest


def test_preprocessing_travels(tmp_path):
    """How images become inputs is in the config; without it the JSON, and so every digest, is as it was."""
    how = Preprocessing("crop", 8, 8, "rgb", "NHWC", 1 / 255, (0.5, 0.4, 0.3), (0.2,))
    write_bundle(tmp_path, evolve(CONFIG, preprocessing=how), LAYERS)
    assert how == read_bundle(tmp_path).config.preprocessing
    assert "preprocessing" not in json.loads(codec.dumps(CONFIG))
    assert CONFIG == parse_config(codec.dumps(CONFIG).encode())
    before = "sha256:28b410779e19e13652f362b6e03afc2ecf4fd8313112fee10d87e8424aeb038b"
    assert before == write_bundle(tmp_path, CONFIG, LAYERS).manifest_digest


def test_writing_again_replaces(tmp_path):
    """A second bundle in the same folder leaves no blob of the first behind."""
    write_bundle(tmp_path, CONFIG, {"model.bin": (MODEL_TYPE, b"old")})
    write_bundle(tmp_path, CONFIG, {"model.bin": (MODEL_TYPE, b"new")})
    assert 3 == len(list((tmp_path / "blobs/sha256").iterdir()))


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo, an OCI tool, is not installed")
def test_other_tools_read_the_layout(tmp_path):
    """The layout is plain OCI: skopeo inspects it."""
    write_bundle(tmp_path / "b", CONFIG, LAYERS)
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{tmp_path / 'b'}"], capture_output=True, check=True
    )
    assert 2 == json.loads(done.stdout)["schemaVersion"]


def test_a_missing_or_damaged_blob(tmp_path):
    """A blob that is gone or changed is named."""
    bundle = write_bundle(tmp_path, CONFIG, LAYERS)
    file = bundle.blob_path(bundle.manifest.layer(MODEL_TYPE).digest)
    file.write_bytes(b"weightz")
    with pytest.raises(InvalidBundle, match="does not have its digest"):
        read_bundle(tmp_path)
    file.unlink()
    with pytest.raises(InvalidBundle, match="missing"):
        read_bundle(tmp_path)


def test_no_bundle(tmp_path):
    """A folder without a layout is a missing file; an index that names nothing is invalid."""
    with pytest.raises(FileMissing):
        read_bundle(tmp_path)
    (tmp_path / "index.json").write_text('{"manifests": []}')
    with pytest.raises(InvalidBundle):
        read_bundle(tmp_path)


def test_unwritable_folder(tmp_path):
    """A bundle that cannot be written is an OutputError that names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_bundle(tmp_path / "file", CONFIG, LAYERS)


def _manifest(tmp_path) -> Manifest:
    return write_bundle(tmp_path, CONFIG, LAYERS).manifest


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: evolve(m, artifactType="application/x-other"),
        lambda m: evolve(m, schemaVersion=1),
        lambda m: evolve(m, config=evolve(m.config, digest="sha256:../../etc/passwd")),
        lambda m: evolve(m, config=evolve(m.config, size=-1)),
        lambda m: evolve(m, layers=(m.layers[0], m.layers[0])),
        lambda m: evolve(m, layers=(evolve(m.layers[0], annotations={}),)),
        lambda m: evolve(
            m, layers=(evolve(m.layers[0], annotations={"org.opencontainers.image.title": "../x"}),)
        ),
    ],
)
def test_malformed_manifests(tmp_path, damage):
    """A manifest of another kind, with a bad digest, size or title, is refused before anything is touched."""
    with pytest.raises(InvalidBundle):
        parse_manifest(codec.dumps(damage(_manifest(tmp_path))).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", b" " * (1 << 21)])
def test_manifests_that_are_none(data):
    """Bytes that are no manifest, or too many, are an InvalidBundle."""
    with pytest.raises(InvalidBundle):
        parse_manifest(data)
    with pytest.raises(InvalidBundle):
        parse_config(data)


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", ".a", "a-", "a b", "a" * 65, "ä"])
def test_names_that_cannot_be_folders(name):
    """A deployment's name becomes a folder on the device, so it is checked."""
    with pytest.raises(InvalidRequest):
        check_name(name)


def test_good_names():
    """Letters, digits, dots, dashes and underscores are fine inside."""
    assert ["a", "resnet8", "a.b-c_d"] == [check_name(name) for name in ("a", "resnet8", "a.b-c_d")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": ("model.bin",)},
        {"files": ("a.bin", "a.bin")},
        {"files": tuple(f"{index}.bin" for index in range(9))},
        {"execution": Execution("MULTI:CPU")},
        {"execution": Execution(hint="speed")},
    ],
)
def test_files_and_execution_are_checked(wrong):
    """A model's files are few and distinct, and its execution is well formed."""
    with pytest.raises(InvalidBundle):
        parse_config(codec.dumps(evolve(CONFIG, **wrong)).encode())


def test_config_and_manifest_agree_on_the_models_files(tmp_path):
    """What the config names is a part of the model in the manifest, and the other way round."""
    part = {"model.bin": LAYERS["model.bin"], "part.bin": (MODEL_PART_TYPE, b"more")}
    config = evolve(CONFIG, files=("part.bin",))
    write_bundle(tmp_path / "right", config, part)
    assert config == read_bundle(tmp_path / "right").config
    for name, (other, layers) in {
        "missing": (config, LAYERS),
        "unnamed": (CONFIG, part),
        "another": (evolve(CONFIG, files=("plan.json",)), LAYERS),
        "model": (evolve(CONFIG, model="plan.json"), LAYERS),
    }.items():
        write_bundle(tmp_path / name, other, layers)
        with pytest.raises(InvalidBundle, match="other files of the model"):
            read_bundle(tmp_path / name)
