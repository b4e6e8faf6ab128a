"""Budgets: what is too little is refused before anything is done, what is spent ends a search."""

import pytest

from converters.quantize.search import budget as budgets
from converters.quantize.search.budget import MIB, Budget
from device_agent.errors import BudgetExceeded


def test_too_little_memory():
    """The error says what would need how much, and what budget would do."""
    with pytest.raises(BudgetExceeded) as e:
        budgets.check("net.onnx", 10 * MIB, 200 * MIB, held=100 * MIB)
    assert "net.onnx" == e.value.where
    assert "a budget of 200 MiB" == e.value.got
    assert "about 410 MiB: 100 held already" in e.value.expected
    assert "--memory-budget 410M" in e.value.next_step


def test_enough_memory():
    """What one candidate takes is known where it fits, and where there is no budget."""
    needed = 160 * MIB + budgets.OVERHEAD
    assert needed == budgets.check("net.onnx", 10 * MIB, 410 * MIB, held=100 * MIB)
    assert needed == budgets.check("net.onnx", 10 * MIB, None, held=0)


def test_time():
    """Time is counted from when the budget was made."""
    times = iter([10.0, 12.0, 15.5, 15.0, 16.0])
    budget = Budget(seconds=5, clock=lambda: next(times))
    assert 2.0 == budget.spent
    assert -0.5 == budget.left()
    assert "the time budget of 5 s is spent" == budget.over()
    assert 6.0 == budget.spent


def test_no_limits():
    """Without limits there is nothing to be over."""
    budget = Budget()
    assert None is budget.over()
    assert None is budget.left()


def test_resident_bytes():
    """What the process holds is read from the system: more once there is more."""
    before = budgets.resident_bytes()
    held = bytearray(64 * MIB)
    held[::4096] = b"x" * len(held[::4096])
    assert before + 32 * MIB < budgets.resident_bytes()
