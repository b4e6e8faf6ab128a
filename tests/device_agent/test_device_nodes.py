"""Accelerators as the kernel shows them."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.device_nodes import DeviceNode, device_nodes, unlisted, why_closed

ROOT = Path(__file__).resolve().parents[2]
GROUP = 12345  # that nobody is in
NPU_NODE = DeviceNode("/dev/accel/accel0", "npu", "Intel", "intel_vpu")


def show(root: Path, node: str, group: str, *, vendor: str = "", driver: str = "") -> None:
    """A node as a kernel shows it: a file where devices are, and what it says of it."""
    path = root / node
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    about = root / "sys/class" / group / path.name / "device"
    about.mkdir(parents=True)
    if vendor:
        (about / "vendor").write_text(f"{vendor}\n")
    if driver:
        (about / "uevent").write_text(f"DRIVER={driver}\nPCI_ID=8086:7D1D\n")


def test_a_laptop_with_an_npu(tmp_path: Path) -> None:
    """The NPU and the GPU's render node, with vendor and driver; the node that shows pictures is left out."""
    show(tmp_path, "dev/accel/accel0", "accel", vendor="0x8086", driver="intel_vpu")
    show(tmp_path, "dev/dri/renderD128", "drm", vendor="0x8086", driver="xe")
    show(tmp_path, "dev/dri/card0", "drm", vendor="0x8086", driver="xe")
    gpu = DeviceNode("/dev/dri/renderD128", "gpu", "Intel", "xe")
    assert (NPU_NODE, gpu) == device_nodes(tmp_path)
    assert "Intel NPU (intel_vpu) at /dev/accel/accel0" == str(NPU_NODE)


def test_boards(tmp_path: Path) -> None:
    """A GPU without a PCI vendor, a Coral module, and a Rockchip NPU that looks like a GPU."""
    show(tmp_path, "dev/dri/renderD128", "drm", driver="v3d")
    show(tmp_path, "dev/dri/renderD129", "drm", driver="RKNPU")
    show(tmp_path, "dev/apex_0", "apex", vendor="0x1ac1", driver="apex")
    assert (
        DeviceNode("/dev/apex_0", "npu", "Google", "apex"),
        DeviceNode("/dev/dri/renderD128", "gpu", "", "v3d"),
        DeviceNode("/dev/dri/renderD129", "npu", "", "RKNPU"),
    ) == device_nodes(tmp_path)
    assert () == unlisted(device_nodes(tmp_path), ["CPU"])  # OpenVINO has no plugin for any of them


def test_a_machine_without_accelerators(tmp_path: Path) -> None:
    """Nothing is shown, nothing is found."""
    assert () == device_nodes(tmp_path)
    assert () == unlisted((), ["CPU"])


def test_a_missing_driver(tmp_path: Path) -> None:
    """What the kernel shows and OpenVINO does not list has a problem, and it names what to install."""
    node = tmp_path / "accel0"
    node.touch()
    npu = DeviceNode(str(node), "npu", "Intel", "intel_vpu")
    gpu = DeviceNode(str(node), "gpu", "Intel", "xe")
    (found,) = unlisted([npu, npu, gpu], ["CPU", "GPU.0"])
    assert ("NPU", ()) == (found.name, found.capabilities)
    assert found.problem.startswith(
        f"the kernel shows an NPU ({node}), OpenVINO does not list it: its user-mode"
    )
    assert "intel-level-zero-npu" in found.problem
    (found,) = unlisted([gpu], ["CPU"])
    assert "intel-opencl-icd" in found.problem
    assert () == unlisted([npu, gpu], ["CPU", "GPU", "NPU"])


def test_a_node_that_may_not_be_opened() -> None:
    """No driver would help: the problem is the right to open the node."""
    assert "No such file or directory" == why_closed("/dev/accel/none")
    assert "" == why_closed("/dev/null")
    (found,) = unlisted([DeviceNode("/dev/accel/none", "npu", "Intel", "")], ["CPU"])
    assert "a worker may not open it (No such file or directory)" in found.problem
    assert "driver" not in found.problem


@pytest.fixture
def node() -> Iterator[Path]:
    """A node that only root and a group may open; skips where none can be made."""
    folder = Path(tempfile.mkdtemp(prefix="edge-node-"))  # pytest's own folders let nobody else in
    try:
        folder.chmod(0o755)
        path = folder / "accel0"
        try:
            os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))  # the numbers of /dev/null
            os.chown(path, 0, GROUP)
            path.chmod(0o660)  # whatever the umask took away
        except PermissionError:
            pytest.skip("making a device node needs root")
        if why_closed(str(path)):
            pytest.skip(f"no device nodes on the file system of {folder}")
        yield path
    finally:
        shutil.rmtree(folder)


# as a worker in a process does: namespaces of its own, no privileges, before it meets a model
CONTAINED = """
import os, sys
from device_agent import confine, limits
from device_agent.device_nodes import why_closed
path, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups])
os.setgid(65534)
os.setuid(65534)
confine.separate([])
confine.give_up(limits.Limits(1 << 30, 1 << 30), memory=False)
print(why_closed(path) or "open")
"""


@pytest.mark.parametrize(("groups", "expected"), [((), "Permission denied"), ((GROUP,), "open")])
def test_a_contained_worker_opens_what_its_user_may(
    node: Path, groups: tuple[int, ...], expected: str
) -> None:
    """Neither namespaces nor a read-only view of the files take away what a group gives."""
    command = [sys.executable, "-c", CONTAINED, str(node), *map(str, groups)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert expected == done.stdout.strip()


@pytest.mark.parametrize("name", ["uevent", "vendor"])
def test_a_kernel_that_says_nothing(tmp_path: Path, name: str) -> None:
    """A node of which nothing is known is still one."""
    show(tmp_path, "dev/accel/accel0", "accel", vendor="0x8086", driver="intel_vpu")
    (tmp_path / "sys/class/accel/accel0/device" / name).unlink()
    (found,) = device_nodes(tmp_path)
    assert ("/dev/accel/accel0", "npu") == (found.path, found.kind)
