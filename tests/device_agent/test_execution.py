"""What may stand in an Execution, and what its device names."""

from typing import Any

import pytest

from device_agent.bundle import Execution
from device_agent.errors import InvalidRequest
from device_agent.execution import check, is_one_of, kind_of, named_in


@pytest.mark.parametrize(
    ("device", "kind", "names"),
    [
        ("CPU", "", ("CPU",)),
        ("GPU.1", "", ("GPU.1",)),
        ("AUTO", "AUTO", ()),
        ("AUTO:GPU,CPU", "AUTO", ("GPU", "CPU")),
        ("HETERO:NPU,CPU", "HETERO", ("NPU", "CPU")),
    ],
)
def test_devices(device: str, kind: str, names: tuple[str, ...]) -> None:
    """A device is one processor, or a way to choose among those that it names."""
    assert (kind, names) == (kind_of(device), named_in(device))
    assert Execution(device) == check(Execution(device))


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        *(
            ({"device": device}, "device")
            for device in (
                *("", "cpu", "CPU ", "CPU.", "CPU,GPU", "CPU:GPU", "MULTI:CPU", "BATCH:CPU(4)", "HETERO"),
                *("HETERO:", "AUTO:", "AUTO:CPU,CPU", "HETERO:AUTO", "HETERO:GPU,MULTI", "AUTO:-CPU"),
                *("GPU.1234", "HETERO:CPU,", "C" * 17, "CPU\n"),
            )
        ),
        ({"hint": "speed"}, "hint"),
        ({"precision": "f64"}, "precision"),
        ({"streams": 0}, "streams"),
        ({"streams": 1000}, "streams"),
        ({"affinities": {"conv": "CPU"}}, "affinities"),
        ({"device": "HETERO:CPU", "affinities": {"conv": "GPU"}}, "conv"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], where: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidRequest) as caught:
        check(Execution(**wrong))
    assert where == caught.value.where


@pytest.mark.parametrize(
    ("asked", "found", "same"),
    [
        ("GPU", "GPU", True),
        ("GPU", "GPU.1", True),
        ("GPU.0", "GPU", True),
        ("GPU.1", "GPU.1", True),
        ("GPU.1", "GPU.0", False),
        ("GPU.1", "GPU", False),
        ("CPU", "GPU", False),
    ],
)
def test_numbered_devices(asked: str, found: str, *, same: bool) -> None:
    """A device without a number is any of its kind."""
    assert same == is_one_of(asked, found)
