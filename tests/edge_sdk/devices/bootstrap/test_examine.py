"""Refusals and warnings, from facts."""

from importlib import resources
from pathlib import Path

import attrs
import pytest

from device_agent.errors import DeviceUnsuitable, InvalidRequest
from edge_sdk.devices.bootstrap import examine
from edge_sdk.devices.bootstrap.probe import Accelerator, Facts, Python
from targets.schema import load_target
from tests.edge_sdk.devices.bootstrap.conftest import CASES, facts

# case -> (refusals, warnings) for rpi4, with the service that is chosen
EXPECTED = {
    "rpi4_bookworm": ("system", [], []),
    "rpi4_32_bit_userland": ("system", ["architecture"], []),
    "alpine": ("plain", ["libc"], ["supervisor"]),
    "bullseye_python_3_9": ("system", ["python"], []),
    "disk_too_small": ("system", ["disk"], []),
    "no_systemd": ("plain", [], ["supervisor"]),
    "no_memory_cgroup": ("system", [], ["memory-cgroup"]),
    "no_sudo": ("user", [], ["user-unit"]),
    "not_linux": ("system", ["system", "architecture", "libc", "python"], []),
    "little_memory": ("system", ["memory"], ["ram"]),
    "installed": ("system", ["launcher"], []),
}


def found(case: str | Facts, board: str, *runtimes: str, service: str = "plain") -> list[examine.Finding]:
    """What speaks against a device that shall get these runtimes."""
    device = facts(case) if isinstance(case, str) else case
    return examine.examine(device, load_target(board), runtimes, service=service, least_python=(3, 10))


@pytest.mark.parametrize("case", CASES)
def test_a_device(case: str) -> None:
    """Each device is refused, warned of or taken for the reasons it should be, by name."""
    device = facts(case)
    service = examine.choose_service(device, None, own=False)
    findings = examine.examine(device, load_target("rpi4"), ["litert"], service=service, least_python=(3, 10))
    refused = [one.name for one in findings if one.refused]
    warned = [one.name for one in findings if not one.refused]
    assert EXPECTED[case] == (service, refused, warned)
    assert all(one.what and one.next_step.endswith(".") for one in findings)


def test_a_32_bit_board_needs_the_systems_numpy() -> None:
    """NumPy has no wheels for 32-bit ARM: without the system's own the board is refused, with it taken."""
    board = load_target("rpi4-32bit")
    device = facts("rpi4_32_bit_userland")
    python = attrs.evolve(device.pythons[0], modules=frozenset({"numpy"}))

    def refused(device: Facts) -> list[str]:
        findings = examine.examine(device, board, ["tflite"], service="system", least_python=(3, 10))
        return [one.name for one in findings if one.refused]

    assert ["numpy"] == refused(device)
    assert [] == refused(attrs.evolve(device, pythons=(python,)))
    assert ["architecture"] == refused(facts("rpi4_bookworm"))


def test_a_refusal_names_every_reason() -> None:
    """The error holds all of them, and what can be done."""
    findings = found("not_linux", "rpi4", "litert")
    with pytest.raises(DeviceUnsuitable, match=r"system: .*architecture: .*python: .*newer Python"):
        examine.check(findings, "pi")
    examine.check([one for one in findings if not one.refused], "pi")


def test_without_a_runtime_less_is_needed() -> None:
    """The null target runs with any C library and little memory."""
    for case in ("alpine", "little_memory"):
        assert [] == [one.name for one in found(case, "null", "null") if one.refused]


def test_the_choice_of_python() -> None:
    """The system's own if it will do, otherwise the newest that has wheels; one that is too new never."""

    def named(*series: tuple[int, int]) -> tuple[Python, ...]:
        return tuple(Python((*one, 0), 64, frozenset(), f"/usr/bin/python{one}") for one in series)

    def choice(*series: tuple[int, int]) -> tuple[int, int] | None:
        device = attrs.evolve(facts("rpi4_bookworm"), pythons=named(*series))
        found = examine.choose_python(device, (3, 10))
        return None if found is None else found.series

    assert (3, 11) == choice((3, 11), (3, 13))
    assert (3, 13) == choice((3, 9), (3, 10), (3, 13))
    assert (3, 12) == choice((3, 14), (3, 12))
    assert choice((3, 14)) is None
    assert choice() is None


def test_the_choice_of_service() -> None:
    """The strongest that there is; on one's own machine one's own; what is not there is refused."""
    device = facts("rpi4_bookworm")
    assert "system" == examine.choose_service(device, None, own=False)
    assert "user" == examine.choose_service(device, None, own=True)
    assert "plain" == examine.choose_service(device, "plain", own=False)
    with pytest.raises(InvalidRequest, match="got system, expected user or plain"):
        examine.choose_service(facts("no_sudo"), "system", own=False)
    with pytest.raises(InvalidRequest, match="no such service"):
        examine.choose_service(device, "cron", own=False)


def test_openvino_is_for_two_machines(tmp_path: Path) -> None:
    """A 32-bit board that lists it, and a device without glibc, are refused by name."""
    board = tmp_path / "small.toml"
    text = (resources.files("targets") / "boards/rpi4-32bit.toml").read_text()
    board.write_text(text.replace("[runtimes]", '[runtimes]\nopenvino = "2025.4"'))
    findings = found("rpi4_32_bit_userland", str(board), "openvino")
    assert ["runtime: openvino is not published for armv7l, only for aarch64 and x86_64"] == [
        f"{one.name}: {one.what}" for one in findings if one.refused
    ]
    (refused,) = [one for one in found("alpine", "rpi4", "litert", "openvino") if one.refused]
    assert ("libc", "musl, and litert, openvino is published for glibc only") == (refused.name, refused.what)


def test_openvino_needs_room(tmp_path: Path) -> None:
    """Two releases with it, and the wheels they are unpacked from, must fit beside each other."""
    device = attrs.evolve(facts("rpi4_bookworm"), opt_free_bytes=600 << 20)
    assert [] == [one.name for one in found(device, "rpi4", "litert", service="system") if one.refused]
    names = [one.name for one in found(device, "rpi4", "litert", "openvino", service="system") if one.refused]
    assert ["disk"] == names


@pytest.mark.parametrize(
    ("service", "group", "mode", "openable", "expected"),
    [
        ("system", "render", 0o660, False, ""),  # the unit makes workers members of the group
        ("system", "root", 0o600, False, "can be opened by root only"),
        ("system", "root", 0o660, False, "can be opened by root only"),
        ("system", "root", 0o666, True, ""),
        ("plain", "render", 0o660, True, ""),
        ("plain", "render", 0o660, False, "pi cannot open /dev/accel/accel0"),
    ],
)
def test_an_npu_that_no_model_could_use(
    service: str, group: str, mode: int, openable: bool, expected: str
) -> None:
    """Whoever installs OpenVINO for it is told who may open its node; without OpenVINO nobody asks."""
    npu = Accelerator("/dev/accel/accel0", "0x8086", group, mode, openable)
    device = attrs.evolve(facts("rpi4_bookworm"), accelerators=(npu,))
    told = [
        one.what for one in found(device, "rpi4", "openvino", service=service) if one.name == "accelerator"
    ]
    assert bool(expected) == bool(told)
    assert all(what.startswith((expected, f"/dev/accel/accel0 {expected}")) for what in told)
    assert "accelerator" not in [one.name for one in found(device, "rpi4", "litert", service=service)]
