"""Which inputs and outputs of an ONNX graph are channel-first images, and so can lie channel-last instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from converters.lowering.facts import inputs_of

if TYPE_CHECKING:
    from converters.lowering.facts import Facts, Step

_RANK = 4  # batch, channels, height, width
# what these read first, and what they give, is channel-first for certain
_SPATIAL = frozenset(
    (
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "DepthToSpace",
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "GridSample",
        "InstanceNormalization",
        "LRN",
        "LpPool",
        "MaxPool",
        "QLinearConv",
        "SpaceToDepth",
    )
)
# what these give need not have the axes of what they read
_REARRANGING = frozenset(
    (
        "Attention",
        "Einsum",
        "Expand",
        "Flatten",
        "Gather",
        "GatherND",
        "Gemm",
        "MatMul",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)


def image_ends(graph: onnx.GraphProto, facts: Facts) -> frozenset[str]:
    """The inputs and outputs of four axes that are channel-first images.

    A convolution, pool or the like reads or gives them, perhaps past operators that leave the axes alone.
    """
    images: set[str] = set()
    links: list[set[str]] = []
    for place, step in enumerate(facts.steps):
        if place in facts.folded or place in facts.dead:
            continue
        if step.node.op_type in _SPATIAL:
            images.update(_computed((*step.node.input[:1], *step.node.output[:1]), facts))
        elif step.node.op_type not in _REARRANGING:
            links.append(_alike(step, facts))
    count = -1
    while count != len(images):  # an image makes images of what it is linked to, in both directions
        count = len(images)
        for link in (*links, *reversed(links)):
            if not images.isdisjoint(link):
                images |= link
    return frozenset(images) & {value.name for value in (*inputs_of(graph), *graph.output)}


def _alike(step: Step, facts: Facts) -> set[str]:
    return _computed((*step.node.input, *step.node.output), facts)


def _computed(names: tuple[str, ...], facts: Facts) -> set[str]:
    """Those of the values that are computed and have four axes."""
    return {
        name
        for name in names
        if name in facts.types and len(facts.types[name].shape) == _RANK and name not in facts.constants
    }
