"""The machine as /proc and /sys describe it, and the measured loop."""

from pathlib import Path

import pytest
from attrs import evolve

from device_agent import bench, system
from device_agent.errors import InvalidRequest
from device_agent.protocol import BenchmarkRequest
from device_agent.runtimes.null import NullSession

PI = "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"


def test_userland_decides_the_machine() -> None:
    """A 32-bit userland on a 64-bit kernel is what wheels must be chosen for."""
    assert "armv7l" == system.userland_machine("aarch64", 32)
    assert "aarch64" == system.userland_machine("aarch64", 64)
    assert "armv6l" == system.userland_machine("armv6l", 32)


def test_cpu_model_of_different_kernels() -> None:
    """The model's line has different names; without any it is empty."""
    assert "Raspberry Pi 4 Model B Rev 1.4" == system.cpu_model(PI)
    assert "AMD EPYC" == system.cpu_model("vendor_id : AMD\nmodel name\t: AMD EPYC\nflags : a b\n")
    assert "" == system.cpu_model("")


def test_hottest_zone_counts_and_absent_ones_are_none(tmp_path: Path) -> None:
    """The temperature is that of the hottest zone that can be read."""
    assert system.temperature_c(tmp_path) is None
    for index, text in enumerate(["41200\n", "55100\n", "not a number"]):
        zone = tmp_path / f"thermal_zone{index}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    assert 55.1 == system.temperature_c(tmp_path)


def test_memory_control_groups(tmp_path: Path) -> None:
    """Version 2 lists its controllers; with version 1 the kernel's table says what is switched on."""
    table = "#subsys_name hierarchy num_cgroups enabled\ncpu 2 61 1\nmemory 0 61 {}\n"
    assert system.memory_cgroup(tmp_path, table.format(1))
    assert not system.memory_cgroup(tmp_path, table.format(0))
    assert not system.memory_cgroup(tmp_path, "")
    for controllers, expected in (("cpuset cpu io pids\n", False), ("cpu memory pids\n", True)):
        (tmp_path / "cgroup.controllers").write_text(controllers)
        assert expected == system.memory_cgroup(tmp_path, table.format(1))


def test_description_is_of_this_machine(tmp_path: Path) -> None:
    """Everything that must be known is, also before the state folder exists."""
    info = system.describe(tmp_path / "not" / "yet", on_demand=True)
    assert info.cpu_count >= 1
    assert info.ram_bytes > info.state.memory_available_bytes > 0
    assert info.disk_free_bytes > 0
    assert info.word_bits in (32, 64)


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0},
        {"warmup_iterations": -1},
        {"min_iterations": 0},
        {"min_seconds": float("nan")},
        {"max_seconds": float("inf")},
        {"min_seconds": 2.0, "max_seconds": 1.0},
    ],
)
def test_impossible_measurements_are_refused(change: dict[str, float]) -> None:
    """A benchmark that could not end, or not begin, is refused by the field's name."""
    with pytest.raises(InvalidRequest):
        bench.check(evolve(BenchmarkRequest(), **change))


def test_loop_stops_at_its_bounds() -> None:
    """At least the iterations asked for; one even where the time is over at once."""
    seen: list[tuple[int, int]] = []
    session = NullSession((), ())
    request = BenchmarkRequest(warmup_iterations=5, min_iterations=100, min_seconds=0.0, max_seconds=60.0)
    measured = bench.measure(session, request, lambda *at: seen.append(at))
    assert (5, 100) == (len(measured.warmup_latencies_ns), len(measured.latencies_ns))
    assert (100, 100) == seen[-1]
    hurried = evolve(request, min_seconds=0.0, max_seconds=0.0)
    assert 1 == len(bench.measure(session, hurried, lambda *_: None).latencies_ns)
