"""Repairs by name, in the order worth trying: each is imported when it is called.

Equalisation changes ranges, so it comes before what is measured within them; weight rounding changes what
the weights lose, so it comes before the biases that make up for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converters.quantize.engine import Effect
    from converters.quantize.integer.prepared import Prepared
    from converters.quantize.integer.repairs.base import Context, Repair

_NAMES = ("split_heads", "equalization", "weight_rounding", "bias_correction")


def _repair(name: str) -> Repair:
    def repair(prepared: Prepared, context: Context) -> Effect:
        """The function of that name in the module of that name."""
        made: Effect = getattr(import_module(f"{__name__}.{name}"), name)(prepared, context)
        return made

    return repair


REPAIRS: dict[str, Repair] = {name: _repair(name) for name in _NAMES}
