"""The accelerators that the kernel shows as device nodes, and why a runtime does not list one of them.

A node says that the kernel has a driver for the processor; a runtime needs its user-mode driver as well, and
the right to open the node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from device_agent.protocol import RuntimeDevice

GPU, NPU = "gpu", "npu"
# where nodes are, what they are named, the class of the kernel that tells more, and what is behind them
_PLACES = (
    ("dev/accel", "accel*", "accel", NPU),
    ("dev/dri", "renderD*", "drm", GPU),
    ("dev", "apex_*", "apex", NPU),
    ("dev", "rknpu*", "misc", NPU),
)
OPENVINO_PCI_VENDOR = "0x8086"  # whose GPUs and NPUs OpenVINO has plugins for
# https://pci-ids.ucw.cz/
_VENDORS = {
    "0x1002": "AMD",
    "0x10de": "NVIDIA",
    "0x1022": "AMD",
    "0x1ac1": "Google",
    "0x1af4": "virtio",
    OPENVINO_PCI_VENDOR: "Intel",
}
_NPU_DRIVERS = frozenset({"RKNPU", "rknpu"})  # that show their NPU as if it were a GPU
_PACKAGES = {
    GPU: "intel-opencl-icd (https://github.com/intel/compute-runtime)",
    NPU: "intel-driver-compiler-npu, intel-level-zero-npu and libze1 "
    "(https://github.com/intel/linux-npu-driver/releases)",
}


@frozen
class DeviceNode:
    """A node of an accelerator. `vendor` and `driver` are empty where the kernel does not say.

    `kind` is `gpu` or `npu`.
    """

    path: str
    kind: str
    vendor: str
    driver: str

    def __str__(self) -> str:
        about = " ".join(filter(None, (self.vendor, self.kind.upper(), self.driver and f"({self.driver})")))
        return f"{about} at {self.path}"


def device_nodes(root: Path = Path("/")) -> tuple[DeviceNode, ...]:
    """The nodes of accelerators, sorted by path; never of what only shows pictures.

    Args:
        root: of the file system that shows them.
    """
    found = (
        _node(root, path, group, kind)
        for folder, pattern, group, kind in _PLACES
        for path in (root / folder).glob(pattern)
    )
    return tuple(sorted(found, key=lambda node: node.path))


def why_closed(path: str) -> str:
    """Why this process cannot open a node for reading and writing; empty where it can."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as e:
        return os.strerror(e.errno or 0)
    return ""


def unlisted(nodes: Iterable[DeviceNode], listed: Iterable[str]) -> tuple[RuntimeDevice, ...]:
    """The processors that OpenVINO could use, which the kernel shows and OpenVINO does not list.

    Args:
        nodes: of `device_nodes`.
        listed: OpenVINO's names of those that it has: CPU, GPU.0, NPU.
    """
    kinds = {name.partition(".")[0].lower() for name in listed}
    lacking = [
        node for node in nodes if node.vendor == _VENDORS[OPENVINO_PCI_VENDOR] and node.kind not in kinds
    ]
    return tuple(_lacking(lacking))


def _lacking(nodes: Iterable[DeviceNode]) -> Iterator[RuntimeDevice]:
    told = set()
    for node in nodes:
        if node.kind in told:
            continue
        told.add(node.kind)
        name = node.kind.upper()
        closed = why_closed(node.path)
        if closed:
            why = (
                f"a worker may not open it ({closed}): `edge devices install` lets the agent's units; an "
                "agent without units needs its user in the node's group (`sudo usermod -aG render USER`)"
            )
        else:
            why = f"its user-mode driver is missing: install {_PACKAGES[node.kind]} on the device"
        article = "an" if node.kind == NPU else "a"
        problem = f"the kernel shows {article} {name} ({node.path}), OpenVINO does not list it: {why}"
        yield RuntimeDevice(name, str(node), (), problem)


def _node(root: Path, path: Path, group: str, kind: str) -> DeviceNode:
    about = root / "sys/class" / group / path.name / "device"
    rows = dict(line.partition("=")[::2] for line in _read(about / "uevent").splitlines())
    driver = rows.get("DRIVER", "")
    vendor = _read(about / "vendor").strip()
    return DeviceNode(
        path=f"/{path.relative_to(root).as_posix()}",
        kind=NPU if driver in _NPU_DRIVERS else kind,
        vendor=_VENDORS.get(vendor, vendor),
        driver=driver,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not every driver is of a PCI device
        return ""
