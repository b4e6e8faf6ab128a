"""Operators that give out values of their inputs, so that all have one scale and zero-point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from converters.quantize.integer.rules import decompositions, rearrangements
from converters.quantize.integer.rules.base import Rule, expanded
from converters.quantize.scheme import STATIC

if TYPE_CHECKING:
    from converters.quantize.integer.rules.base import Expand

_SAME = Rule(same="all")
_SELECTS = Rule(same="all", selects=True)
_MOVES = Rule(same="all", moves=True)


def _int16(expand: Expand) -> Rule:
    """Several operators where no kernel moves int16."""
    return evolve(_MOVES.only("int8"), expand={"int16x8": expand})


RULES: dict[str, Rule] = {
    "AVERAGE_POOL_2D": _SAME,
    "BATCH_TO_SPACE_ND": _MOVES,
    "BROADCAST_TO": _MOVES,
    "CONCATENATION": _MOVES,
    "DEPTH_TO_SPACE": _int16(rearrangements.depth_to_space),
    "DYNAMIC_UPDATE_SLICE": _MOVES,
    "EMBEDDING_LOOKUP": evolve(_MOVES, precisions=(), expand=dict.fromkeys(STATIC, rearrangements.embedding)),
    "EXPAND_DIMS": _MOVES,
    "FILL": expanded(rearrangements.filled, check=decompositions.has_constant(1, "value")),
    "GATHER": _MOVES,
    "GATHER_ND": _MOVES,
    "MAXIMUM": _SELECTS,
    "MAX_POOL_2D": _SELECTS,
    "MINIMUM": _SELECTS,
    "MIRROR_PAD": _MOVES,
    "ONE_HOT": _SAME.only("int8"),
    "PACK": _MOVES,
    "PAD": _MOVES,
    "PADV2": _MOVES,
    "REDUCE_MAX": _SELECTS,
    "REDUCE_MIN": _SELECTS,
    "RESHAPE": _MOVES,
    "RESIZE_BILINEAR": _SAME,
    "RESIZE_NEAREST_NEIGHBOR": _MOVES,
    "REVERSE_V2": _MOVES,
    "SCATTER_ND": evolve(_SAME, precisions=(), expand=dict.fromkeys(STATIC, rearrangements.scattered)),
    "SELECT": _SAME,
    "SELECT_V2": _SAME,
    "SLICE": _MOVES,
    "SPACE_TO_BATCH_ND": _MOVES,
    "SPACE_TO_DEPTH": _int16(rearrangements.space_to_depth),
    "SPLIT": _MOVES,
    "SPLIT_V": _MOVES,
    "SQUEEZE": _MOVES,
    "STRIDED_SLICE": _MOVES,
    "TILE": _MOVES,
    "TOPK_V2": _SAME,
    "TRANSPOSE": _MOVES,
    "UNPACK": _MOVES,
}
TFLITE: dict[str, Rule] = {
    "DYNAMIC_UPDATE_SLICE": _MOVES.only("int8"),
    "TILE": evolve(_int16(rearrangements.tiled), check=decompositions.has_constant(1, "counts")),
}
