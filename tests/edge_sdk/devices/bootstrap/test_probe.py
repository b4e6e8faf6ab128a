"""Facts of a device from the script's output."""

import subprocess
from pathlib import Path

import pytest

from device_agent.errors import DeviceError
from edge_sdk.devices.bootstrap import choice, probe
from edge_sdk.devices.local_remote import LocalRemote
from tests.edge_sdk.devices.bootstrap.conftest import facts


def test_a_raspberry_pi() -> None:
    """Every line becomes a fact; a Python under two names is one."""
    found = facts("rpi4_bookworm")
    assert ("aarch64", 64, "glibc", (2, 36)) == (
        found.machine,
        found.word_bits,
        found.libc,
        found.libc_version,
    )
    assert ((3, 11, 2), "/usr/bin/python3.11") == (found.pythons[0].version, found.pythons[0].path)
    assert 1 == len(found.pythons)
    assert (3884380 * 1024, True, True, 1000) == (found.ram_bytes, found.sudo, found.systemd, found.uid)
    assert "/home/pi/.local/bin" in found.missing
    assert () == found.installed


def test_a_32_bit_userland_on_a_64_bit_kernel() -> None:
    """The kernel says aarch64, the programs are armv7l."""
    found = facts("rpi4_32_bit_userland")
    assert ("aarch64", "armv7l", 32) == (found.kernel_machine, found.machine, found.word_bits)


def test_an_installation_is_found() -> None:
    """With its releases, and a command of that name which is not ours."""
    (found,) = facts("installed").installed
    assert ("system", "/opt/edge-agent", "0.1.0-aaaaaaaaaaaa") == (found.service, found.root, found.current)
    assert ("0.1.0-aaaaaaaaaaaa", "0.1.0-bbbbbbbbbbbb") == found.releases
    assert {"/usr/local/bin/edge-agent"} == facts("installed").foreign
    assert ("litert", "openvino") == choice.among(found.wheels)


def test_a_release_that_is_not_described() -> None:
    """An older version's installation, or one whose description is broken, is found without its wheels."""
    line = "installed=plain|1.0|/home/pi/.local/share/edge-agent\n"
    for more in ("", "description=/home/pi/.local/share/edge-agent|{\n", "description=/opt/edge-agent|{}\n"):
        (found,) = probe.parse(line + more).installed
        assert () == found.wheels


def test_accelerators() -> None:
    """Whose they are, and the group that a worker must be of to open them."""
    npu, gpu, old, odd = probe.parse(
        "accelerator=/dev/accel/accel0|0x8086|no|660|render\n"
        "accelerator=/dev/dri/renderD128|0x8086|yes|666|render\n"
        "accelerator=/dev/accel/accel1|0x8086|no|600|root\n"
        "accelerator=/dev/dri/renderD129||no||\n"
    ).accelerators
    assert ("/dev/accel/accel0", "0x8086", False, "render") == (
        npu.path,
        npu.vendor,
        npu.openable,
        npu.worker_group,
    )
    assert (True, "") == (gpu.openable, gpu.worker_group)
    assert (None, None) == (old.worker_group, odd.worker_group)
    assert () == facts("rpi4_bookworm").accelerators


def test_this_machine(home: Path) -> None:
    """The script runs here, changes nothing, and finds a Python that is not a virtual environment's."""
    found = probe.ask(LocalRemote(home))
    assert [] == list(home.iterdir())
    assert str(home) == found.home
    assert found.pythons
    assert "venv" in found.pythons[0].modules
    assert not (Path(found.pythons[0].path).parent.parent / "pyvenv.cfg").exists()
    assert f"{home}/.local" in found.missing


def test_the_script_is_posix_sh() -> None:
    """Every script parses in the strictest shell that is here."""
    for name in ("probe.sh", "launcher.sh", "supervise.sh"):
        subprocess.run(["sh", "-n"], input=probe.script(name).encode(), check=True)


def test_a_device_without_a_shell(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that does not come to its end is an error that says what was there."""
    (home / "bin").mkdir()
    (home / "bin" / "sh").write_text("#!/bin/true\n")
    (home / "bin" / "sh").chmod(0o755)
    monkeypatch.setattr(probe, "script", lambda _: "exit 3\n")
    with pytest.raises(DeviceError, match=r"cannot be examined.*status 3"):
        probe.ask(LocalRemote(home))


def test_what_an_uninstallation_kept() -> None:
    """A state folder of the system's, or one of the user's with a note in it; no other."""
    lines = "state=/var/lib/edge-agent\nstate=/home/pi/.local/state/edge-agent\n"
    assert ["system"] == [one.service for one in probe.parse(lines).kept]
    assert [] == [one.service for one in probe.parse(lines + "installed=system|1.0|/opt/edge-agent\n").kept]
    noted = probe.parse(lines + "kept=plain\nmade=/home/pi/.local\n")
    assert [("plain", ("/home/pi/.local",)), ("system", ())] == [
        (one.service, one.made) for one in noted.kept
    ]
    assert {"/var/lib/edge-agent", "/home/pi/.local/state/edge-agent"} == noted.states
