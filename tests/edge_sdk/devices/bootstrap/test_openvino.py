"""OpenVINO brought to a device that has neither it nor a network: the wheels, the agent, a model."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from device_agent.errors import DeviceUnsuitable, EdgeError
from edge_sdk.devices.bootstrap import install as bootstrap
from edge_sdk.devices.bootstrap import probe, wheelhouse
from edge_sdk.devices.device import Device
from edge_sdk.devices.local_remote import LocalRemote
from edge_sdk.devices.ssh import SshConnection
from edge_sdk.devices.transports.ssh import SshTransport
from targets.schema import load_target
from tests.edge_sdk.devices.bootstrap.conftest import processes, silent
from tests.openvino_bundle import write_ir_bundle
from tests.sshd import sshd

pytestmark = pytest.mark.slow

BOARD = """\
title = "A machine whose only runtime is OpenVINO"
architecture = "host"
source = "test"
[runtimes]
openvino = "2025.4"
[[processors]]
name = "cpu"
kind = "the host's CPU"
backends = ["openvino"]
dtypes = ["float32"]
"""
# every command of the device runs where there is no network, not even a loopback that is up
OFFLINE = """\
#!/bin/sh
[ "$SSH_ORIGINAL_COMMAND" = internal-sftp ] && exec {sftp}
exec unshare --net sh -c "$SSH_ORIGINAL_COMMAND"
"""


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's wheels in the user's own cache, where they stay; skips where they cannot be fetched."""
    own = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache"  # HOME is the test's
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(own))
    facts = probe.ask(LocalRemote())
    platform = wheelhouse.platform_of(facts, facts.pythons[0])
    try:
        wheelhouse.fetch(platform, wheelhouse.requirements(["openvino"]))
    except DeviceUnsuitable:
        raise
    except EdgeError as e:
        pytest.skip(f"no package index: {e}")


@pytest.fixture
def offline(tmp_path: Path) -> str:
    """A line of sshd's configuration; skips where namespaces cannot be made."""
    sftp = shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh")
    if (
        sftp is None
        or subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a device without a network needs root, network namespaces and sftp-server")
    script = tmp_path / "offline"
    script.write_text(OFFLINE.format(sftp=sftp))
    script.chmod(0o755)
    return f"ForceCommand {script}"


def test_a_device_without_a_network(home: Path, tmp_path: Path, wheels: None, offline: str) -> None:
    """It gets OpenVINO by hash, without its telemetry, and its worker computes what NumPy does."""
    board = tmp_path / "openvino.toml"
    board.write_text(BOARD)
    target = load_target(str(board))
    with sshd(tmp_path / "sshd", more=offline, env=f"HOME={home}") as server:
        settings = server.settings()
        connection = SshConnection(settings)
        there = connection.run(["readlink", "/proc/self/ns/net"]).stdout.decode().strip()
        assert there not in ("", str(Path("/proc/self/ns/net").readlink()))
        try:
            outcome = bootstrap.install(connection, target, service="plain", progress=silent)
            assert ("installed", ("openvino",)) == (outcome.action, outcome.runtimes)
            site = home / ".local/share/edge-agent/current/site"
            assert {"openvino", "numpy"} == {path.name for path in site.iterdir() if path.name.isidentifier()}
            with Device("box", target, SshTransport(settings)) as device:
                (cpu,) = device.runtime_devices("openvino")
                assert ("CPU", "") == (cpu.name, cpu.problem)
                assert device.deploy(write_ir_bundle(tmp_path / "product", target=target.name)).parity.passed
            bootstrap.uninstall(connection, progress=silent)
        finally:
            connection.close()
    assert [] == processes(home)
