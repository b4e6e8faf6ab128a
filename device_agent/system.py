"""The machine as /proc and /sys describe it. Whatever a machine does not say is None or empty."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

import device_agent
from device_agent import runtimes
from device_agent.protocol import PROTOCOL_VERSION, AgentInfo, MachineState, TrustInfo

WORD_BITS = sys.maxsize.bit_length() + 1
_32_BIT_USERLAND = {"aarch64": "armv7l", "x86_64": "i686"}  # what such a userland's wheels are called
_CPU_MODEL_KEYS = ("model name", "Model", "Hardware", "cpu model", "uarch")


def describe(
    state_dir: Path,
    *,
    on_demand: bool,
    isolation: str = "process",
    gaps: tuple[str, ...] = (),
    trust: TrustInfo | None = None,
) -> AgentInfo:
    """The agent's description of itself and of its machine.

    Args:
        state_dir: of the agent.
        on_demand: whether it ends by itself.
        isolation: the kind, see `isolation`.
        gaps: what of it is not enforced here.
        trust: who may deploy.
    """
    return AgentInfo(
        protocol=PROTOCOL_VERSION,
        agent_version=device_agent.__version__,
        pid=os.getpid(),
        hostname=socket.gethostname(),
        machine=machine(),
        word_bits=WORD_BITS,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        cpu_model=cpu(),
        cpu_count=len(os.sched_getaffinity(0)),
        ram_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        disk_free_bytes=disk_free_bytes(state_dir),
        runtimes=runtimes.installed(),
        isolation=isolation,
        isolation_gaps=gaps,
        on_demand=on_demand,
        state_dir=str(state_dir),
        state=machine_state(),
        trust=trust,
        release=os.environ.get("EDGE_AGENT_RELEASE"),  # the launcher says which it started
        memory_cgroup=memory_cgroup(Path("/sys/fs/cgroup"), _read(Path("/proc/cgroups"))),
    )


def machine_state() -> MachineState:
    """What disturbs a measurement, now."""
    frequency_khz = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")).strip()
    return MachineState(
        temperature_c=temperature_c(Path("/sys/class/thermal")),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip() or None,
        frequency_hz=int(frequency_khz) * 1000 if frequency_khz.isdecimal() else None,
        load_1m=os.getloadavg()[0],
        memory_available_bytes=kib(_read(Path("/proc/meminfo")), "MemAvailable"),
    )


def machine() -> str:
    """The architecture of the userland: x86_64, aarch64, armv7l."""
    return userland_machine(platform.machine(), WORD_BITS)


def userland_machine(kernel_machine: str, word_bits: int) -> str:
    """The machine that the userland was built for: a 64-bit kernel may carry a 32-bit one."""
    if word_bits == 32:
        return _32_BIT_USERLAND.get(kernel_machine, kernel_machine)
    return kernel_machine


def cpu() -> str:
    """The name of this machine's processor or board; empty if it has none."""
    return cpu_model(_read(Path("/proc/cpuinfo")))


def cpu_model(cpuinfo: str) -> str:
    """The processor's or, on ARM, the board's name in the text of /proc/cpuinfo; empty if it has none."""
    rows = [line.partition(":") for line in cpuinfo.splitlines()]
    found = {key.strip(): value.strip() for key, _, value in rows}
    return next((found[key] for key in _CPU_MODEL_KEYS if found.get(key)), "")


def memory_cgroup(cgroup: Path, cgroups: str) -> bool:
    """Whether the kernel has memory control groups switched on: a Raspberry Pi's firmware has them off.

    Args:
        cgroup: where control groups are mounted: /sys/fs/cgroup.
        cgroups: the text of /proc/cgroups.
    """
    if (cgroup / "cgroup.controllers").exists():  # version 2 of control groups, cgroups(7)
        return "memory" in _read(cgroup / "cgroup.controllers").split()
    rows = [line.split() for line in cgroups.splitlines()]
    return any(row[0] == "memory" and row[-1] == "1" for row in rows if row)


def temperature_c(thermal: Path) -> float | None:
    """The hottest of the zones under /sys/class/thermal, in degrees Celsius."""
    readings = []
    for zone in sorted(thermal.glob("thermal_zone*/temp")):
        with suppress(ValueError):
            readings.append(int(_read(zone)) / 1000)
    return max(readings, default=None)


def kib(text: str, key: str) -> int:
    """The value of a line `key:  1234 kB`, in bytes; 0 where there is no such line."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == key and words and words[0].isdecimal():
            return int(words[0]) * 1024
    return 0


def disk_free_bytes(folder: Path) -> int:
    """Free bytes of the file system that a folder is on, or would be if it were made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def peak_rss_bytes() -> int:
    """The most memory this process had resident at once."""
    return kib(_read(Path("/proc/self/status")), "VmHWM")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # a file that this machine does not have, or does not let us read
        return ""
