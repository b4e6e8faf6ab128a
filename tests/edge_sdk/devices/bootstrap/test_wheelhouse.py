"""Wheels for a device."""

import hashlib
import re
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from device_agent.errors import DeviceUnsuitable, EdgeError, MissingDependency
from edge_sdk.devices.bootstrap import wheelhouse
from edge_sdk.devices.bootstrap.wheelhouse import Platform
from tests.edge_sdk.devices.bootstrap.conftest import facts

PI = Platform((3, 11), "aarch64", (2, 36))


def test_every_glibc_up_to_the_devices_is_named() -> None:
    """pip widens no tag for a foreign platform: each from 2.17 on stands there, and none newer."""
    found = wheelhouse.tags(PI)
    assert [f"manylinux_2_{n}_aarch64" for n in range(36, 16, -1)] == list(found[:20])
    assert ("manylinux2014_aarch64", "linux_aarch64") == found[20:]


def test_the_arguments_of_pip() -> None:
    """Wheels only, for the device's Python, into the folder."""
    words = wheelhouse.download_arguments(PI, ("ai-edge-litert==2.3.0",), Path("/wheels"))
    assert {"--only-binary=:all:", "--python-version", "3.11", "cp311", "abi3", "none"} <= {*words}
    assert ["--dest", "/wheels", "ai-edge-litert==2.3.0"] == words[-3:]


def test_the_platform_of_a_device() -> None:
    """From its facts: a 32-bit userland is armv7l whatever its kernel says."""
    device = facts("rpi4_bookworm")
    assert PI == wheelhouse.platform_of(device, device.pythons[0])
    mixed = facts("rpi4_32_bit_userland")
    assert "armv7l" == wheelhouse.platform_of(mixed, mixed.pythons[0]).machine


def test_what_a_target_needs() -> None:
    """The runtime in the version that this machine computes with; the null target needs nothing."""
    (wanted,) = wheelhouse.requirements(["litert"])
    assert re.fullmatch(r"ai-edge-litert==\d+\.\d+\.\d+", wanted)
    assert () == wheelhouse.requirements(["null"])
    assert wheelhouse.EMPTY == wheelhouse.fetch(PI, ())


def test_a_runtime_that_is_not_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest that our own extra allows; where nothing says what that is, the extra is named."""
    installed = metadata.version

    def version(name: str) -> str:
        if name == "openvino":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    needs = ["numpy>=2.0", "openvino>=2025.4; extra == 'openvino'", "openvino>=1; extra == 'other'"]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    assert ("openvino>=2025.4",) == wheelhouse.requirements(["openvino"])
    monkeypatch.setattr(metadata, "requires", lambda _name: ["numpy>=2.0"])
    with pytest.raises(MissingDependency, match=r"pip install 'edge-deployment-sdk\[openvino\]'"):
        wheelhouse.requirements(["openvino"])


def test_no_openvino_for_an_older_system() -> None:
    """Its wheels need a newer glibc than LiteRT's: the refusal names it, and that LiteRT works there."""
    said = "ERROR: No matching distribution found for openvino==2026.4.1\n"
    old = Platform((3, 11), "aarch64", (2, 31))
    error = wheelhouse._refusal(old, ("ai-edge-litert==2.3.0", "openvino==2026.4.1"), said)
    assert isinstance(error, DeviceUnsuitable)
    assert "no wheel of openvino==2026.4.1 for the device: got Python 3.11 on aarch64 with glibc 2.31" in str(
        error
    )
    assert "glibc 2.35 or later), or leave openvino out: litert works there." in str(error)
    alone = wheelhouse._refusal(old, ("openvino==2026.4.1",), said)
    assert str(alone).endswith("or leave openvino out.")


def test_what_no_device_needs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's telemetry is fetched as what it declares to need, and neither locked nor sent."""
    names = [
        "openvino-2026.4.1-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "openvino_telemetry-1-py3-none-any.whl",
    ]

    def download(_platform: Platform, _wanted: tuple[str, ...], folder: Path) -> None:
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"wheel")

    monkeypatch.setattr(wheelhouse, "_download", download)
    found = wheelhouse.fetch(PI, ("openvino==2026.4.1",), cache=tmp_path)
    assert names[:1] == list(found.wheels)
    assert {wheelhouse.LOCK, names[0]} == {path.name for path in found.folder.iterdir()}


def test_no_wheel_for_the_device() -> None:
    """What pip says becomes a refusal with the way out; no way to the index is another error."""
    no_wheel = (
        "ERROR: Could not find a version that satisfies the requirement ai-edge-litert==2.3.0\n"
        "ERROR: No matching distribution found for ai-edge-litert==2.3.0\n"
    )
    for machine, way_out in [("armv7l", "64-bit image"), ("aarch64", "another Python")]:
        error = wheelhouse._refusal(Platform((3, 11), machine, (2, 36)), ("ai-edge-litert==2.3.0",), no_wheel)
        assert isinstance(error, DeviceUnsuitable)
        assert f"no wheel of ai-edge-litert==2.3.0 for the device: got Python 3.11 on {machine}" in str(error)
        assert way_out in str(error)
    offline = "WARNING: Retrying after connection broken by 'NewConnectionError'\n" + no_wheel
    error = wheelhouse._refusal(PI, ("x==1",), offline)
    assert EdgeError is type(error)
    assert "package index" in str(error)


def keep(folder: Path) -> dict[str, str]:
    """A wheel and its lock in a folder of the cache."""
    folder.mkdir(parents=True)
    wheel = folder / "toy_one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("toy_one/__init__.py", "")
    (folder / wheelhouse.LOCK).write_text(wheelhouse._lock(folder))
    return {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest()}


def test_the_lock_is_one_for_pip(tmp_path: Path) -> None:
    """A requirements file in pip's hash-checking form."""
    ((_, digest),) = keep(tmp_path / "kept").items()
    line = (tmp_path / "kept" / wheelhouse.LOCK).read_text()
    assert f"toy-one==1.0 --hash=sha256:{digest}  # toy_one-1.0-py3-none-any.whl\n" == line


def test_a_cache_that_does_not_match_its_lock_is_not_used(tmp_path: Path) -> None:
    """A changed wheel is fetched again, not sent."""
    wheels = keep(tmp_path / "kept")
    found = wheelhouse._read(tmp_path / "kept")
    assert found is not None
    assert wheels == found.wheels
    assert found.size_bytes > 0
    (tmp_path / "kept" / next(iter(wheels))).write_bytes(b"changed")
    assert wheelhouse._read(tmp_path / "kept") is None
    assert wheelhouse._read(tmp_path / "nothing") is None


@pytest.mark.slow
def test_the_runtime_for_a_raspberry_pi(tmp_path: Path) -> None:
    """Really fetched: the very version of this machine, for the device's machine, Python and glibc; kept."""
    wanted = wheelhouse.requirements(["litert"])
    try:
        found = wheelhouse.fetch(PI, wanted, cache=tmp_path)
    except DeviceUnsuitable:
        raise
    except EdgeError as e:
        pytest.skip(f"no package index: {e}")
    parsed = {str(parse_wheel_filename(name)[0]): parse_wheel_filename(name) for name in found.wheels}
    assert wanted[0] == f"ai-edge-litert=={parsed['ai-edge-litert'][1]}"
    for name in ("ai-edge-litert", "numpy"):
        (tag, *_) = parsed[name][3]
        assert ("cp311", "aarch64") == (tag.interpreter, tag.platform[-7:])
        glibc = [int(n) for one in parsed[name][3] for n in re.findall(r"manylinux_2_(\d+)", one.platform)]
        assert min(glibc, default=17) <= 36
    again = wheelhouse.fetch(PI, wanted, cache=tmp_path)
    assert found == again


@pytest.mark.slow
def test_there_is_none_for_32_bits(tmp_path: Path) -> None:
    """A 32-bit Raspberry Pi OS is refused with the way out."""
    try:
        with pytest.raises(DeviceUnsuitable, match="64-bit image"):
            wheelhouse.fetch(
                Platform((3, 11), "armv7l", (2, 36)),
                wheelhouse.requirements(["litert"]),
                cache=tmp_path,
            )
    except EdgeError as e:
        pytest.skip(f"no package index: {e}")
    assert [] == list(tmp_path.iterdir())


def test_tflite_comes_in_one_version() -> None:
    """The last release, with a NumPy that it was made for; on 32-bit ARM without: there the system has it."""
    wanted = wheelhouse.requirements(["tflite"])
    assert ("tflite-runtime==2.14.0", "numpy<2") == wanted
    words = wheelhouse.download_arguments(PI, wanted, Path("/wheels"))
    assert ["--dest", "/wheels", *wanted] == words[-4:]
    small = Platform((3, 11), "armv7l", (2, 36))
    words = wheelhouse.download_arguments(small, wanted, Path("/wheels"))
    assert ["--dest", "/wheels", "--no-deps", "tflite-runtime==2.14.0"] == words[-4:]
    assert "manylinux_2_34_armv7l" in words
