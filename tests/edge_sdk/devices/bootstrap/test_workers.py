"""The units that workers run in."""

import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from edge_sdk.devices.bootstrap import layout as layouts
from edge_sdk.devices.bootstrap import plan, workers
from edge_sdk.devices.bootstrap.probe import Accelerator, Installation
from tests.edge_sdk.devices.bootstrap.conftest import facts

PI = facts("rpi4_bookworm")
PYTHON = "/usr/bin/python3.11"


def test_only_a_system_installation_has_them() -> None:
    """A user's manager and our supervisor cannot sandbox: the agent then starts workers itself."""
    for service in ("user", "plain"):
        where = layouts.layout(PI, service)
        assert ({}, ()) == (layouts.worker_units(where, PYTHON), where.worker_units)
    system = layouts.layout(PI, "system")
    assert {*system.worker_units} == {*layouts.worker_units(system, PYTHON)}
    assert "Environment=EDGE_AGENT_WORKER_SOCKET=/run/edge-agent-worker.sock" in layouts.unit(system, PYTHON)


def test_the_units_restrict_workers() -> None:
    """Each limit stands in the unit, the socket is the agent's alone."""
    texts = layouts.worker_units(layouts.layout(PI, "system"), PYTHON)
    service = texts["/etc/systemd/system/edge-agent-worker@.service"].splitlines()
    assert {
        "DynamicUser=yes", "PrivateNetwork=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
        "NoNewPrivileges=yes", "RestrictAddressFamilies=AF_UNIX", "SystemCallFilter=@system-service",
        "MemoryMax=50%", "MemorySwapMax=0", "TasksMax=128", "KillMode=control-group", "OOMPolicy=continue",
        "DevicePolicy=closed", "CapabilityBoundingSet=", "StandardInput=socket",
        "ExecStart=/usr/local/bin/edge-agent worker",
    } <= {*service}  # fmt: skip
    socket = texts["/etc/systemd/system/edge-agent-worker.socket"].splitlines()
    assert {"Accept=yes", "SocketMode=0600", "SocketUser=edge-agent"} <= {*socket}


NPU = Accelerator("/dev/accel/accel0", "0x8086", "render", 0o660, openable=False)
GPU = Accelerator("/dev/dri/renderD128", "0x8086", "render", 0o660, openable=False)
OTHER = Accelerator("/dev/dri/renderD129", "0x10de", "video", 0o660, openable=False)
OPEN = Accelerator("/dev/accel/accel1", "0x8086", "root", 0o666, openable=True)


@pytest.mark.parametrize(
    ("shown", "runtimes", "expected"),
    [
        ((NPU, GPU), ["litert"], []),  # nothing that is installed could use them
        ((), ["litert", "openvino"], []),
        ((OTHER,), ["openvino"], []),  # OpenVINO has no plugin for it
        ((OPEN,), ["openvino"], ["DeviceAllow=/dev/accel/accel1 rw"]),
        (
            (NPU, GPU, OTHER),
            ["litert", "openvino"],
            [
                "DeviceAllow=/dev/accel/accel0 rw",
                "DeviceAllow=/dev/dri/renderD128 rw",
                "SupplementaryGroups=render",
            ],
        ),
    ],
)
def test_workers_may_open_what_openvino_can_use(
    shown: tuple[Accelerator, ...], runtimes: list[str], expected: list[str]
) -> None:
    """Exactly those nodes, and only where OpenVINO is installed; everything else stays closed."""
    where = layouts.layout(attrs.evolve(PI, accelerators=shown), "system", runtimes)
    lines = layouts.worker_units(where, PYTHON)["/etc/systemd/system/edge-agent-worker@.service"].splitlines()
    assert expected == [line for line in lines if line.startswith(("DeviceAllow", "SupplementaryGroups"))]
    assert "DevicePolicy=closed" in lines


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to complain of."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    npu = attrs.evolve(NPU, group="daemon")
    texts = workers.units("/bin/true", "daemon", "/run/x.sock", protect_home="yes", accelerators=[npu])
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    shutil.copy(tmp_path / "edge-agent-worker@.service", tmp_path / "edge-agent-worker@1.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / workers.SOCKET, tmp_path / "edge-agent-worker@1.service"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "edge-agent" in line]
    assert (0, []) == (done.returncode, said)


def test_removing_leaves_no_unit() -> None:
    """Every file that installing writes for systemd is removed, and what runs is stopped first."""
    where = layouts.layout(PI, "system")
    steps = plan.remove(where, Installation("system", where.root, "", (), ()), keep_models=False)
    commands = [step.command for step in steps if isinstance(step, plan.Run)]
    (removed,) = [command for command in commands if command[:2] == ("rm", "-f") and where.unit in command]
    assert {where.unit, *where.worker_units} == {*removed[2:]}
    stopped = [command[-1] for command in commands if "stop" in command]
    assert [workers.SOCKET, "edge-agent-workers.slice"] == stopped
