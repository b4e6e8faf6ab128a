"""Layers that change their precision together, and what it would cost them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from attrs import frozen

from converters.quantize.engine import Layer, LayerError

SWITCH = 0.01  # of plain int8's latency: what changing to another precision and back is guessed to take
SEEN = 0.1  # of plain int8's latency: a difference that a few runs tell from noise


@frozen(eq=False)  # compared as objects, which each is made once: many are, in sets
class Group:
    """Layers that are cut out of an int8 model together, in execution order."""

    layers: tuple[Layer, ...]

    @cached_property
    def key(self) -> str:
        """The same text for groups of the same layers."""
        return " ".join(layer.name for layer in self.layers)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of its layers."""
        return frozenset(layer.name for layer in self.layers)

    @property
    def label(self) -> str:
        """What a user knows them by."""
        return " and ".join(
            layer.label or layer.name for layer in self.layers if layer.macs or layer is self.head
        )

    @property
    def head(self) -> Layer:
        """The layer it is called after: the one that computes most."""
        return max(self.layers, key=lambda layer: layer.macs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all its layers."""
        return sum(layer.macs for layer in self.layers)

    def exceptions(self, precision: str) -> dict[str, str]:
        """Its layers that can compute in that precision, as `Scheme.exceptions` wants them."""
        return {layer.name: precision for layer in self.layers if precision in layer.precisions}


def grouped(layers: Sequence[Layer]) -> tuple[Group, ...]:
    """The layers in groups.

    A layer without multiply-accumulates (an addition, a reshape, an activation) goes with the last layer
    that it reads: alone it would only be put between two conversions, and what it adds to the error is
    mostly the rounding of its inputs. Where an engine does not say what a layer reads, it is the one
    before it. At the start of a model it stands alone.
    """
    members: list[list[Layer]] = []
    place: dict[str, int] = {}
    for layer in layers:
        read = [place[name] for name in layer.inputs if name in place]
        before = max(read, default=len(members) - 1 if not layer.inputs else -1)
        if layer.macs > 0 or before < 0:
            before = len(members)
            members.append([])
        members[before].append(layer)
        place[layer.name] = before
    return tuple(Group(tuple(group)) for group in members)


def joined(group: Group, groups: Sequence[Group]) -> Group | None:
    """A group with those whose outputs it reads, of all in execution order; None where there are none.

    What a tensor loses in int8 is only won back where both its sides are given more: alone neither shows it.
    """
    layers = [layer for one in groups for layer in one.layers]
    order = {layer.name: place for place, layer in enumerate(layers)}
    home = {layer.name: one for one in groups for layer in one.layers}
    read = {name for layer in group.layers for name in layer.inputs if name in home}
    if not read:
        before = order[group.layers[0].name] - 1
        read = {layers[before].name} if before >= 0 and not any(one.inputs for one in group.layers) else set()
    sides = {home[name].key: home[name] for name in read if home[name] is not group}
    if not sides:
        return None
    members = [*group.layers, *(layer for side in sides.values() for layer in side.layers)]
    return Group(tuple(sorted(members, key=lambda layer: order[layer.name])))


def suspected(groups: Sequence[Group], errors: Sequence[LayerError]) -> tuple[Group, ...]:
    """The groups, those first whose own output lost most.

    What a layer adds to the error is told by the noise-to-signal ratio of its output (of `LayerError.snr_db`,
    10^(-snr/10)) less that of the worst of its inputs; where those are not known, less that of the layer
    before. Layers that were not looked at come last, in execution order.
    """
    noise = {error.layer: 0.0 if error.snr_db is None else 10 ** (-error.snr_db / 10) for error in errors}
    added: dict[str, float] = {}
    before = 0.0
    for layer in (layer for group in groups for layer in group.layers):
        if layer.name in noise:
            known = [noise[name] for name in layer.inputs if name in noise]
            added[layer.name] = noise[layer.name] - max(known, default=0.0 if layer.inputs else before)
            before = noise[layer.name]
    most = {group: max(added.get(one.name, -1.0) for one in group.layers) for group in groups}
    return tuple(sorted(groups, key=lambda group: -most[group]))


def extra_ns(
    group: Group, precision: str, latencies_ns: Mapping[str, int], macs: int, seen_ns: int | None
) -> float:
    """A guess at what a group costs in another precision than int8, in nanoseconds; never nothing.

    What was seen of the group alone, where that stands out of the noise of a few runs. Otherwise its share
    of the model's multiply-accumulates of what the whole model costs more in that precision, and a
    hundredth of plain int8 for changing over and back.

    Args:
        group: it.
        precision: int16x8 or float32.
        latencies_ns: of the whole model by precision, `int8` and as many others as are known.
        macs: the model's multiply-accumulates.
        seen_ns: how much longer a run took with this group alone in that precision, None: not known.
    """
    plain = latencies_ns["int8"]
    if seen_ns is not None and seen_ns > SEEN * plain:
        return seen_ns
    more = latencies_ns.get(precision, 2 * plain) - plain
    return SWITCH * plain + max(0.0, more * group.macs / max(1, macs))
