"""`edge doctor` and its checks."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from device_agent.protocol import AgentInfo, MachineState, RuntimeDevice, RuntimeInfo
from edge_sdk.cli import checks
from edge_sdk.devices import diagnosis
from edge_sdk.devices.bootstrap.probe import Accelerator
from targets.schema import load_target

Run = Callable[..., Any]
INFO = AgentInfo(
    protocol=1,
    agent_version="0",
    pid=1,
    hostname="here",
    machine="x86_64",
    word_bits=64,
    system="Linux",
    python="3.11",
    cpu_model="a CPU",
    cpu_count=2,
    ram_bytes=1,
    disk_free_bytes=1,
    runtimes=(),
    isolation="none",
    on_demand=True,
    state_dir="/",
    state=MachineState(None, None, None, 0.0, 1),
)


def test_everything_is_in_place_here(run: Run, state: Path) -> None:
    """On a machine that can run the tests no check fails, and each has its line."""
    done = run("doctor", "--json", "-")
    assert (0, True) == (done.code, done.json["ok"])
    names = [check["name"] for check in done.json["checks"]]
    assert ["python", "packages", "runtimes", "state", "disk", "agent", "trust", "governor"] == names
    text = run("doctor").out
    assert all(name in text for name in names)


def test_a_failed_check_exits_with_1(run: Run, state: Path) -> None:
    """A state folder that others may enter fails, with what to do, and so does the agent in it."""
    state.mkdir()
    state.chmod(0o755)
    done = run("doctor")
    assert 1 == done.code
    assert "fail  state" in done.out
    assert "fail  agent" in done.out
    assert "chmod 700" in done.out


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fail")]
)
def test_python(version: tuple[int, int], status: str) -> None:
    """Python 3.11 to 3.13 is right."""
    assert status == checks.python(version).status


def test_missing_package_is_named() -> None:
    """A package of the base install that is missing fails; those of extras are not asked for."""
    requirements = ["numpy>=2.0", "rich>=13.9", "torch>=2.9; extra == 'torch'"]
    check = checks.packages(requirements, {"numpy": "2.1"}.get)
    assert ("fail", "missing: rich") == (check.status, check.message)
    assert "ok" == checks.packages(requirements, lambda _name: "1").status


@pytest.mark.parametrize(
    ("free", "status"), [(50_000_000, "fail"), (500_000_000, "warn"), (5_000_000_000, "ok")]
)
def test_disk(free: int, status: str) -> None:
    """Little room is a warning, hardly any a failure."""
    assert status == checks.disk(Path("/x"), free).status


@pytest.mark.parametrize(("governor", "status"), [(None, "ok"), ("performance", "ok"), ("powersave", "warn")])
def test_governor(governor: str | None, status: str) -> None:
    """A governor that changes the frequency is a warning with the command that fixes it."""
    check = checks.governor(evolve(INFO, state=evolve(INFO.state, governor=governor)))
    assert status == check.status
    assert ("cpupower" in check.next_step) == (status == "warn")


def test_missing_runtime_is_named() -> None:
    """Without the runtime of the TFLite road there is what installs it."""
    check = checks.runtime({"null": "1.0"})
    assert ("fail", "null 1.0") == (check.status, check.message)
    assert "pip install ai-edge-litert" == check.next_step
    assert "ok" == checks.runtime({"litert": "2.3.0"}).status


@pytest.mark.parametrize(
    ("free", "status"), [(50_000_000, "fail"), (500_000_000, "warn"), (5_000_000_000, "ok")]
)
def test_disk_of_a_device(free: int, status: str) -> None:
    """Little room on a device is said with the folder it is short in."""
    check = diagnosis.disk(evolve(INFO, disk_free_bytes=free, state_dir="/var/lib/edge-agent"))
    assert status == check.status
    assert "/var/lib/edge-agent on the device" in check.message
    assert ("edge remove" in check.next_step) == (status != "ok")


def test_runtimes_that_a_board_may_have() -> None:
    """The preferred one is needed; another is offered with what brings it, and too old it is a failure."""
    board = load_target("rpi4")
    litert, old = RuntimeInfo("litert", "2.3.0"), RuntimeInfo("openvino", "2024.1.0")
    installed = evolve(INFO, release="0.1.0-a")

    def check(info: AgentInfo, *found: RuntimeInfo) -> diagnosis.Check:
        return diagnosis.runtimes(evolve(info, runtimes=found), board, "pi")

    offered = check(installed, litert)
    assert ("ok", "") == (offered.status, offered.next_step)
    assert offered.message.endswith("openvino comes with `edge devices install pi --runtime openvino`")
    assert "pip install 'edge-deployment-sdk[openvino]'" in check(INFO, litert).message
    assert "litert 2.3.0, openvino 2026.4.1" == check(INFO, litert, evolve(old, version="2026.4.1")).message
    too_old = check(installed, litert, old)
    assert ("fail", True) == (too_old.status, "the target needs openvino >= 2025.4" in too_old.message)
    assert ("fail", True) == ((none := check(installed)).status, "needs litert >= 2.3.0" in none.message)


def test_processors_of_a_runtime() -> None:
    """Each with what it computes in; one without a driver is a warning that says what is missing."""
    cpu = RuntimeDevice("CPU", "a CPU", ("FP32", "INT8"))
    npu = RuntimeDevice("NPU", "Intel NPU", (), "the kernel shows an NPU: its user-mode driver is missing")
    good = diagnosis.processors("openvino", [cpu])
    assert ("openvino", "ok", "CPU (a CPU: FP32, INT8)") == (good.name, good.status, good.message)
    bad = diagnosis.processors("openvino", [cpu, npu])
    assert ("warn", True) == (bad.status, bad.message.endswith(npu.problem))
    assert "docs/bootstrap.md" in bad.next_step
    assert "warn" == diagnosis.processors("openvino", []).status


def test_accelerators_without_a_runtime() -> None:
    """An NPU that OpenVINO could use is worth installing it; what no runtime could use is only named."""
    npu = Accelerator("/dev/accel/accel0", "0x8086", "render", 0o660, openable=True)
    gpu = evolve(npu, path="/dev/dri/renderD128", vendor="")
    lacking = diagnosis.accelerators([npu, gpu], ["litert"], "box")
    assert ("warn", "`edge devices install box --runtime openvino`.") == (lacking.status, lacking.next_step)
    assert "could use /dev/accel/accel0" in lacking.message
    assert "ok" == diagnosis.accelerators([npu, gpu], ["litert", "openvino"], "box").status
    assert "none that a runtime here could use" in diagnosis.accelerators([gpu], ["litert"], "box").message
    assert "the kernel shows none" == diagnosis.accelerators([], ["litert"], "box").message


def test_an_agent_that_was_killed_is_no_failure(run: Run, state: Path) -> None:
    """On this machine a socket that nobody listens on is replaced by an agent that starts."""
    pid = run("agent", "start", "--json", "-").json["pid"]
    os.kill(pid, signal.SIGKILL)
    assert (state / "agent.sock").exists()
    assert 0 == run("doctor").code


def test_a_state_folder_that_cannot_be_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is a file in its place both the folder and the agent fail, and say where."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "file/state"))
    done = run("doctor", "--json", "-")
    assert 1 == done.code
    failed = {check["name"]: check for check in done.json["checks"] if check["status"] == "fail"}
    assert {"state", "agent"} == set(failed)
    assert all(str(tmp_path / "file") in check["message"] for check in failed.values())
    assert all(check["next_step"] for check in failed.values())
