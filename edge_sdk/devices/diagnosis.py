"""Every step of the way to a device, looked at one after another: what is right, what is not, what to do."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing

from attrs import frozen
from packaging.version import Version

from device_agent.device_nodes import OPENVINO_PCI_VENDOR
from device_agent.errors import DeviceError, EdgeError, ProtocolError
from device_agent.protocol import PROTOCOL_VERSION, AgentInfo, RuntimeDevice
from device_agent.trust import OFF, REQUIRE
from edge_sdk.devices import selection
from edge_sdk.devices.addresses import ADDRESSES
from edge_sdk.devices.bootstrap import choice, drift, probe
from edge_sdk.devices.bootstrap.layout import layout
from edge_sdk.devices.bootstrap.probe import Accelerator
from edge_sdk.devices.device import Device
from edge_sdk.devices.inventory import Entry
from edge_sdk.devices.ssh import CONNECT_TIMEOUT_S, SshConnection
from edge_sdk.devices.ssh_config import Hop
from edge_sdk.devices.ssh_errors import mapped
from targets.schema import Target

FREE_FAIL_BYTES = 100_000_000  # a deployment keeps two generations and what is being uploaded
FREE_WARN_BYTES = 1_000_000_000
HOST = "host"  # the architecture of a target that is the machine the SDK runs on
_ASKED = frozenset({"openvino"})  # runtimes with several processors
_SAME = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}  # what kernels call them -> what we do


@frozen
class Check:
    """One thing that was looked at. `status` is ok, warn or fail; `next_step` is empty where it is ok."""

    name: str
    status: str
    message: str
    next_step: str = ""


def examine(address: str) -> Iterator[Check]:
    """Look at each step of the way to a device, and stop at the first that fails.

    Args:
        address: `local`, `fake`, a registered name or an SSH address.
    """
    try:
        device = selection.open_device(address)
    except EdgeError as e:
        yield _failed("address", e)
        return
    if address not in ADDRESSES:
        failed = False
        for check in _way(selection.find(address)):
            yield check
            failed = check.status == "fail"
        if failed:
            return
    yield from _agent(device)
    if address not in ADDRESSES:
        yield from _installation(selection.find(address))


def workers(info: AgentInfo) -> Check:
    """How models are contained: a gap in a unit's sandbox is worth a warning."""
    gaps = ", ".join(info.isolation_gaps) or "everything is enforced"
    if info.isolation == "unit" and not info.isolation_gaps:
        return Check("workers", "ok", f"in units of their own; {gaps}")
    if info.isolation == "unit":
        return Check(
            "workers", "warn", f"in units of their own, but: {gaps}", "See Isolation in docs/agent.md."
        )
    return Check("workers", "ok", f"in processes, weaker than units: {gaps}")


def architecture(info: AgentInfo, target: Target | None) -> Check:
    """Whether the machine is what its target says."""
    got = normal(info.machine)
    text = f"{got}, {info.word_bits} bit"
    if target is None:
        return Check(
            "target", "warn", f"{text}; no target is known", "`edge devices add` registers it with one."
        )
    expected = normal(platform.machine() if target.architecture == HOST else target.architecture)
    if got == expected:
        return Check("target", "ok", f"{text}, as {target.name} has it")
    return Check(
        "target",
        "fail",
        f"{text}, but {target.name} is {expected}",
        "Register it with the board that it is: `edge targets list`, `edge devices add ... --target`.",
    )


def trust(info: AgentInfo) -> Check:
    """What the device asks of a bundle, and whether it can check that."""
    found = info.trust
    if found is None:
        return Check("trust", "warn", "the agent knows of no signatures", "`edge devices upgrade`.")
    if found.problem:
        return Check(
            "trust",
            "fail",
            found.problem,
            "" if found.verifier else "Install OpenSSH's client on the device: `apt install openssh-client`.",
        )
    if found.policy == OFF:
        without = "" if found.verifier else "; ssh-keygen, which would check signatures, is missing"
        return Check("trust", "ok", f"unsigned bundles are taken: no signer is installed{without}")
    keys = f"{len(found.signers)} signer{'' if len(found.signers) == 1 else 's'}"
    if found.policy != REQUIRE:
        return Check("trust", "warn", f"unsigned bundles are taken although there are signers ({keys})")
    return Check("trust", "ok", f"signed bundles only, {keys}")


def runtimes(info: AgentInfo, target: Target | None, name: str) -> Check:
    """Whether a device, of this `name`, has the preferred runtimes of its target, and none too old."""
    found = {runtime.name: runtime.version for runtime in info.runtimes}
    text = ", ".join(f"{runtime} {version}" for runtime, version in found.items()) or "none"
    known = {} if target is None else target.runtimes
    preferred = () if target is None else choice.choose(target, ())
    lacking = [
        f"{runtime} >= {least}"
        for runtime, least in known.items()
        if (runtime in preferred if runtime not in found else Version(found[runtime]) < Version(least))
    ]
    if not lacking:
        more = [runtime for runtime in known if runtime not in found]
        # an agent that nobody installed computes with what is installed here
        bring = (
            "pip install 'edge-deployment-sdk[{0}]'"
            if info.release is None
            else "edge devices install {1} --runtime {0}"
        )
        offers = "".join(f"; {runtime} comes with `{bring.format(runtime, name)}`" for runtime in more)
        return Check("runtimes", "ok" if found else "warn", f"{text}{offers}")
    return Check(
        "runtimes",
        "fail",
        f"{text}, but the target needs {', '.join(lacking)}",
        f"`edge devices install {name}` or, where an agent is installed, `edge devices upgrade {name}`.",
    )


def processors(runtime: str, found: Sequence[RuntimeDevice]) -> Check:
    """What a runtime can compute with on the device; one that it should have and cannot use is a warning."""
    usable = [f"{one.name} ({one.title}: {', '.join(one.capabilities)})" for one in found if not one.problem]
    problems = [one.problem for one in found if one.problem]
    text = "; ".join([*usable, *problems]) or "no processor"
    if usable and not problems:
        return Check(runtime, "ok", text)
    return Check(runtime, "warn", text, "See Accelerators in docs/bootstrap.md.")


def accelerators(shown: Sequence[Accelerator], has: Collection[str], name: str) -> Check:
    """Accelerators that the kernel shows, and whether a runtime that could use them is there.

    Args:
        shown: by the kernel of the device.
        has: the runtimes that are installed there.
        name: the device's.
    """
    nodes = ", ".join(one.path for one in shown) or "the kernel shows none"
    usable = [one.path for one in shown if one.vendor == OPENVINO_PCI_VENDOR]
    if usable and "openvino" not in has:
        return Check(
            "accelerators",
            "warn",
            f"{nodes}; OpenVINO, which is not installed, could use {', '.join(usable)}",
            f"`edge devices install {name} --runtime openvino`.",
        )
    if shown and not usable:
        return Check("accelerators", "ok", f"{nodes}; none that a runtime here could use")
    return Check("accelerators", "ok", nodes)


def disk(info: AgentInfo) -> Check:
    """Whether there is room for models where the agent keeps them."""
    text = f"{info.disk_free_bytes / 1e9:.2f} GB free at {info.state_dir} on the device"
    if info.disk_free_bytes >= FREE_WARN_BYTES:
        return Check("disk", "ok", text)
    status = "fail" if info.disk_free_bytes < FREE_FAIL_BYTES else "warn"
    return Check("disk", status, text, "Free some space there; `edge remove NAME` removes a model.")


def normal(machine: str) -> str:
    """An architecture as targets name it."""
    return _SAME.get(machine.lower(), machine.lower())


def _way(entry: Entry) -> Iterator[Check]:
    """From the name to an authenticated connection."""
    connection = SshConnection(selection.ssh_settings(entry))
    try:
        hops = connection.way()
    except EdgeError as e:
        yield _failed("config", e)
        return
    yield Check("config", "ok", " -> ".join(map(str, hops)))
    steps: list[tuple[str, Callable[[], str]]] = [
        ("host key", lambda: _host_key(connection)),
        ("login", lambda: _login(connection, hops[-1])),
    ]
    if hops[0].proxy_command is None:
        steps[:0] = [
            ("name", lambda: _resolve(hops[0])),
            ("port", lambda: _knock(hops[0])),
        ]
    try:
        for name, step in steps:
            try:
                yield Check(name, "ok", step())
            except EdgeError as e:
                yield _failed(name, e)
                return
    finally:
        connection.close()


def _resolve(hop: Hop) -> str:
    with mapped(hop.host):
        found = socket.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
    return f"{hop.host} is {', '.join(dict.fromkeys(str(place[4][0]) for place in found))}"


def _knock(hop: Hop) -> str:
    with mapped(str(hop)), socket.create_connection((hop.host, hop.port), CONNECT_TIMEOUT_S):
        return f"{hop.host} listens on port {hop.port}"


def _host_key(connection: SshConnection) -> str:
    shown = connection.check_host_key()
    return f"{shown.type} {shown.fingerprint} is known"


def _login(connection: SshConnection, hop: Hop) -> str:
    connection.connect()
    return f"{hop.user} may log in"


def _agent(device: Device) -> Iterator[Check]:
    """From the bridge to the target."""
    try:
        with device:
            info = device.describe()
            asked = list(_processors(device, info))
    except DeviceError as e:
        yield _failed("protocol" if isinstance(e, ProtocolError) else "agent", e)
        return
    yield Check("agent", "ok", f"{info.agent_version} on {info.hostname}, Python {info.python}")
    yield Check("protocol", "ok", f"version {PROTOCOL_VERSION} on both sides")
    yield runtimes(info, device.target, device.name)
    yield from asked
    yield disk(info)
    yield trust(info)
    yield workers(info)
    if info.memory_cgroup is not None:
        yield _memory(limited=info.memory_cgroup)
    yield architecture(info, device.target)


def _processors(device: Device, info: AgentInfo) -> Iterator[Check]:
    """What the runtimes that have more than the CPU to choose from find on the device."""
    for runtime in info.runtimes:
        if runtime.name in _ASKED:
            try:
                yield processors(runtime.name, device.runtime_devices(runtime.name))
            except DeviceError as e:
                yield _failed(runtime.name, e)


def _installation(entry: Entry) -> Iterator[Check]:
    """Launcher and units, where `edge devices install` wrote them, and what they let workers use."""
    with closing(SshConnection(selection.ssh_settings(entry))) as connection:
        try:
            facts = probe.ask(connection)
            for found in facts.installed[:1]:
                has = choice.among(found.wheels)
                where = layout(facts, found.service, has)
                yield installation(drift.outdated(connection, where), entry.name)
                yield accelerators(facts.accelerators, has, entry.name)
        except EdgeError as e:
            yield _failed("installation", e)


def installation(outdated: Sequence[str], name: str) -> Check:
    """Whether launcher and units are what this version writes; `name` is the device's."""
    if not outdated:
        return Check("installation", "ok", "launcher and units are of this version")
    return Check(
        "installation",
        "warn",
        f"not as this version writes them: {', '.join(outdated)}",
        f"`edge devices install {name}` writes them anew; `upgrade` leaves them alone.",
    )


def _memory(*, limited: bool) -> Check:
    if limited:
        return Check("memory", "ok", "the kernel can limit the memory of a model")
    return Check(
        "memory",
        "warn",
        "the kernel has memory control groups switched off: the memory of a model cannot be limited",
        "Add `cgroup_enable=memory` to /boot/firmware/cmdline.txt on the device, and reboot it.",
    )


def _failed(name: str, error: EdgeError) -> Check:
    message = str(EdgeError(error.what, where=error.where, got=error.got, expected=error.expected))
    return Check(name, "fail", message, error.next_step or "")
