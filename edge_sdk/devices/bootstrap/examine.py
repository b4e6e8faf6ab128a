"""Whether a device can carry an agent and the runtimes of a target: refusals and warnings, each by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from device_agent.errors import DeviceUnsuitable, InvalidRequest
from edge_sdk.devices.bootstrap.choice import MACHINES
from edge_sdk.devices.bootstrap.layout import SERVICES, layout
from edge_sdk.devices.bootstrap.probe import Facts, Python
from edge_sdk.devices.bootstrap.wheelhouse import SYSTEM_NUMPY
from targets.schema import Target

LAST_PYTHON = (3, 13)  # later ones have no wheels of the runtimes yet
AGENT_BYTES = 16 << 20  # two releases without runtimes
# two releases and the wheels they are unpacked from; the accelerators' plugins are in x86-64's OpenVINO alone
RUNTIME_BYTES = {"litert": 400 << 20, "openvino": 550 << 20, "tflite": 200 << 20}
SMALLER_BYTES = {("openvino", "aarch64"): 360 << 20}
LEAST_RAM_BYTES = 200 << 20
_COMPILED = frozenset(RUNTIME_BYTES)  # runtimes that come as compiled wheels


@frozen
class Finding:
    """Something about a device that speaks against installing (`refused`) or that its owner should know."""

    name: str
    what: str
    next_step: str
    refused: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.what}. {self.next_step}"


def choose_python(facts: Facts, least: tuple[int, int]) -> Python | None:
    """The Python to run the agent: the system's own where it is new enough, else the newest; or None."""
    fitting = [one for one in facts.pythons if least <= one.series <= LAST_PYTHON]
    if not fitting or fitting[0] is facts.pythons[0]:
        return next(iter(fitting), None)
    return max(fitting, key=lambda one: one.version)


def choose_service(facts: Facts, asked: str | None, *, own: bool) -> str:
    """How to keep the agent running: what was asked for, or the strongest way that the device has.

    Args:
        facts: of the device.
        asked: one of SERVICES, or None.
        own: it is the user's own machine, whose agent is the user's own unless asked otherwise.

    Raises:
        InvalidRequest: the device does not have what was asked for.
    """
    possible = [
        *(["system"] if facts.systemd and facts.root_rights else []),
        *(["user"] if facts.systemd and facts.user_manager and facts.uid != 0 else []),
        "plain",
    ]
    if asked is not None and asked not in SERVICES:
        raise InvalidRequest("no such service", got=repr(asked), expected=", ".join(SERVICES))
    if asked is not None and asked not in possible:
        raise InvalidRequest(
            "the device cannot run the agent that way", got=asked, expected=" or ".join(possible)
        )
    if asked is None and own and possible[0] == "system":
        return possible[1]
    return asked or possible[0]


def examine(
    facts: Facts,
    target: Target,
    runtimes: Collection[str],
    *,
    service: str,
    least_python: tuple[int, int],
) -> list[Finding]:
    """What speaks against installing an agent for a target on a device; empty: nothing.

    Args:
        facts: of the device.
        target: names the architecture.
        runtimes: those that it shall get.
        service: from `choose_service`.
        least_python: that the agent's archive runs on.
    """
    return [
        *_refusals(facts, target, runtimes, service, least_python),
        *_warnings(facts, target, runtimes, service),
    ]


def check(findings: Sequence[Finding], where: str) -> None:
    """Refuse a device with refusals.

    Raises:
        DeviceUnsuitable: names every one.
    """
    refused = [finding for finding in findings if finding.refused]
    if refused:
        raise DeviceUnsuitable(
            "the device cannot carry the agent",
            where=where,
            got="; ".join(f"{one.name}: {one.what}" for one in refused),
            next_step=" ".join(dict.fromkeys(one.next_step for one in refused)),
        )


def _refusals(
    facts: Facts,
    target: Target,
    runtimes: Collection[str],
    service: str,
    least_python: tuple[int, int],
) -> Iterator[Finding]:
    def no(name: str, what: str, next_step: str) -> Finding:
        return Finding(name, what, next_step, refused=True)

    least = f"{least_python[0]}.{least_python[1]}"
    compiled = sorted(_COMPILED & {*runtimes})
    if facts.system != "Linux":
        yield no("system", f"{facts.system or 'unknown'}, not Linux", "Use a Linux image.")
    if target.architecture not in ("host", facts.machine):
        mixed = facts.machine != facts.kernel_machine
        why = f" (32-bit programs on a {facts.kernel_machine} kernel)" if mixed else ""
        yield no(
            "architecture",
            f"{facts.machine}{why}, but {target.name} is {target.architecture}",
            "Install the 64-bit image of the system." if mixed else "Name the device's own board: --target.",
        )
    for name in compiled:
        machines = MACHINES.get(name, (facts.machine,))
        if target.architecture in ("host", facts.machine) and facts.machine not in machines:
            yield no(
                "runtime",
                f"{name} is not published for {facts.machine}, only for {' and '.join(machines)}",
                "Install the 64-bit image of the system on the device, or name a board with another runtime.",
            )
    if compiled and facts.libc != "glibc":
        yield no(
            "libc",
            f"{facts.libc or 'unknown'}, and {', '.join(compiled)} is published for glibc only",
            "Use an image with glibc (Debian, Raspberry Pi OS, Ubuntu).",
        )
    python = choose_python(facts, least_python)
    if python is None:
        have = ", ".join(".".join(map(str, one.version)) for one in facts.pythons) or "none"
        yield no(
            "python",
            f"{have}, and the agent needs {least} to {LAST_PYTHON[0]}.{LAST_PYTHON[1]}",
            "Install a newer Python 3 on the device, or a newer image (Debian 12, Raspberry Pi OS Bookworm).",
        )
    elif "tflite" in runtimes and facts.machine in SYSTEM_NUMPY and "numpy" not in python.modules:
        yield no(
            "numpy",
            f"none for {python.path}, and there is no wheel of it for {facts.machine}",
            "Install the system's own on the device: `sudo apt-get install python3-numpy`.",
        )
    launcher = layout(facts, service).launcher
    if launcher in facts.foreign:
        yield no(
            "launcher",
            f"{launcher} is another program",
            f"Move it away (`pip uninstall edge-deployment-sdk` where pip made it): {launcher}.",
        )
    need = AGENT_BYTES + sum(
        SMALLER_BYTES.get((name, facts.machine), RUNTIME_BYTES.get(name, 0)) for name in runtimes
    )
    free = facts.opt_free_bytes if service == "system" else facts.home_free_bytes
    if free < need:
        yield no(
            "disk",
            f"{free >> 20} MiB free, and two releases of the agent with runtimes need {need >> 20} MiB",
            "Free space on the device.",
        )
    if 0 < facts.ram_bytes < LEAST_RAM_BYTES and compiled:
        yield no(
            "memory",
            f"{facts.ram_bytes >> 20} MiB of RAM, and a runtime needs {LEAST_RAM_BYTES >> 20} MiB",
            "Use a device with more memory.",
        )


def _warnings(facts: Facts, target: Target, runtimes: Collection[str], service: str) -> Iterator[Finding]:
    def note(name: str, what: str, next_step: str) -> Finding:
        return Finding(name, what, next_step, refused=False)

    if not facts.memory_cgroup:
        yield note(
            "memory-cgroup",
            "the kernel has memory control groups switched off, so a worker's memory cannot be limited",
            "Add `cgroup_enable=memory` to /boot/firmware/cmdline.txt and reboot.",
        )
    if service == "plain":
        why = "there is no systemd" if not facts.systemd else "systemd is out of reach of this user"
        yield note(
            "supervisor",
            f"{why}: a shell script keeps the agent running, which is weaker (no sandbox, no watchdog, not "
            "started at boot but by the first connection)",
            "Give this user sudo without a password, or install as root."
            if facts.systemd
            else "Use an image with systemd for more.",
        )
    if service == "user":
        yield note(
            "user-unit",
            "no root rights: the agent runs as this user, without a user and a file system view of its own",
            "Give this user sudo without a password for the stronger unit.",
        )
    expected = target.ram_bytes
    if expected is not None and 0 < facts.ram_bytes < expected * 3 // 4:
        yield note(
            "ram",
            f"{facts.ram_bytes >> 20} MiB of RAM, {target.name} has {expected >> 20} MiB",
            "Models that fit the board may not fit this device.",
        )
    for one in layout(facts, service, runtimes).accelerators:
        if service == "system" and one.worker_group is None:
            yield note(
                "accelerator",
                f"{one.path} can be opened by {one.group or 'nobody'} only, so no model can use it",
                'Give it to the group `render`: a udev rule with GROUP="render", MODE="0660".',
            )
        elif service != "system" and not one.openable:
            yield note(
                "accelerator",
                f"{facts.user} cannot open {one.path}, so no model can use it",
                f"`sudo usermod -aG {one.worker_group or 'render'} {facts.user}` there, and log in anew.",
            )
