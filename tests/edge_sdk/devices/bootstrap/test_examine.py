"""Refusals and warnings, from facts."""

import attrs
import pytest

from device_agent.errors import DeviceUnsuitable, InvalidRequest
from edge_sdk.devices.bootstrap import examine
from edge_sdk.devices.bootstrap.probe import Facts, Python
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


@pytest.mark.parametrize("case", CASES)
def test_a_device(case: str) -> None:
    """Each device is refused, warned of or taken for the reasons it should be, by name."""
    device = facts(case)
    service = examine.choose_service(device, None, own=False)
    findings = examine.examine(device, load_target("rpi4"), service=service, least_python=(3, 10))
    refused = [one.name for one in findings if one.refused]
    warned = [one.name for one in findings if not one.refused]
    assert EXPECTED[case] == (service, refused, warned)
    assert all(one.what and one.next_step.endswith(".") for one in findings)


def test_a_32_bit_board_needs_the_systems_numpy() -> None:
    """NumPy has no wheels for 32-bit ARM: without the system's own the board is refused, with it taken."""
    board = load_target("rpi4-32bit")
    device = facts("rpi4_32_bit_userland")
    python = attrs.evolve(device.pythons[0], modules=frozenset({"numpy"}))

    def refused(found: Facts) -> list[str]:
        findings = examine.examine(found, board, service="system", least_python=(3, 10))
        return [one.name for one in findings if one.refused]

    assert ["numpy"] == refused(device)
    assert [] == refused(attrs.evolve(device, pythons=(python,)))
    assert ["architecture"] == refused(facts("rpi4_bookworm"))


def test_a_refusal_names_every_reason() -> None:
    """The error holds all of them, and what can be done."""
    findings = examine.examine(facts("not_linux"), load_target("rpi4"), service="plain", least_python=(3, 10))
    with pytest.raises(DeviceUnsuitable, match=r"system: .*architecture: .*python: .*newer Python"):
        examine.check(findings, "pi")
    examine.check([one for one in findings if not one.refused], "pi")


def test_without_a_runtime_less_is_needed() -> None:
    """The null target runs with any C library and little memory."""
    for case in ("alpine", "little_memory"):
        found = examine.examine(facts(case), load_target("null"), service="plain", least_python=(3, 10))
        assert [] == [one.name for one in found if one.refused]


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
