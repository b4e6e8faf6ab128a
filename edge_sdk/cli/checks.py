"""What `edge doctor` looks at: each check says ok, warn or fail, and the next step."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from device_agent import home, runtimes
from device_agent.errors import DeviceError, EdgeError
from device_agent.protocol import AgentInfo
from edge_sdk.devices import diagnosis
from edge_sdk.devices.diagnosis import FREE_FAIL_BYTES, FREE_WARN_BYTES, Check
from edge_sdk.devices.selection import open_device
from edge_sdk.report.listing import isolation

DISTRIBUTION = "edge-deployment-sdk"
PYTHONS = ((3, 11), (3, 14))  # from, and before


def run_all() -> list[Check]:
    """Every check, in the order of what depends on what."""
    return [
        python(sys.version_info[:2]),
        packages(metadata.requires(DISTRIBUTION) or [], _version),
        runtime({info.name: info.version for info in runtimes.installed()}),
        *state(home.default_state_dir()),
        *agent(),
    ]


def python(version: tuple[int, int]) -> Check:
    """Whether this Python is one the SDK is made for."""
    text = f"{version[0]}.{version[1]}"
    if PYTHONS[0] <= version < PYTHONS[1]:
        return Check("python", "ok", text)
    return Check("python", "fail", text, "Use Python 3.11, 3.12 or 3.13.")


def packages(requirements: list[str], version: Callable[[str], str | None]) -> Check:
    """Whether every package of the base install is there.

    Args:
        requirements: of the distribution, as its metadata has them.
        version: gives the installed version of a package, None where it is missing.
    """
    names = [
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line
    ]
    found = {name: version(name) for name in names}
    missing = [name for name, installed in found.items() if installed is None]
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install '{DISTRIBUTION}'")
    return Check("packages", "ok", ", ".join(f"{name} {installed}" for name, installed in found.items()))


def runtime(found: Mapping[str, str]) -> Check:
    """Whether the runtime of the TFLite road is installed here; `found` is runtime -> version."""
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    if "litert" not in found:
        return Check("runtimes", "fail", text or "none", "pip install ai-edge-litert")
    return Check("runtimes", "ok", text)


def state(folder: Path) -> list[Check]:
    """Whether the agent's state folder can be written and has room."""
    try:
        home.make_private(folder)
        probe = folder / "doctor.probe"
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except DeviceError as e:
        return [Check("state", "fail", str(e), e.next_step or "Set EDGE_AGENT_STATE to another folder.")]
    except OSError as e:
        return [
            Check("state", "fail", f"cannot write {folder}: {e}", "Set EDGE_AGENT_STATE to another folder.")
        ]
    return [Check("state", "ok", f"{folder} can be written"), disk(folder, free)]


def disk(folder: Path, free_bytes: int) -> Check:
    """Whether there is room for models."""
    message = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    if free_bytes >= FREE_WARN_BYTES:
        return Check("disk", "ok", message)
    status = "fail" if free_bytes < FREE_FAIL_BYTES else "warn"
    return Check("disk", status, message, "Free some space, or set EDGE_AGENT_STATE to another disk.")


def agent() -> list[Check]:
    """Whether the agent of this machine runs or starts, and what it says of the machine."""
    try:
        with open_device("local") as device:
            info = device.describe()
    except EdgeError as e:
        return [Check("agent", "fail", str(e), "`edge agent logs` shows why.")]
    how = "starts on demand" if info.on_demand else f"is running as process {info.pid}"
    message = f"{info.agent_version} {how}, workers {isolation(info)}"
    return [Check("agent", "ok", message), diagnosis.trust(info), governor(info)]


def governor(info: AgentInfo) -> Check:
    """Whether the CPU's frequency is held steady while something is measured."""
    now = info.state.governor
    if now is None:
        return Check("governor", "ok", "this machine does not say (usual in virtual machines)")
    if now == "performance":
        return Check("governor", "ok", now)
    return Check("governor", "warn", now, "For steady latencies: sudo cpupower frequency-set -g performance")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
