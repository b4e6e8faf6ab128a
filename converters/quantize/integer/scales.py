"""The scale and zero-point of every activation: ranges, joined where operators need the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from converters.graph.ir import Graph, GraphOperator
from converters.quantize.integer.assignment import FLOAT, Assignment, data_inputs, floats
from converters.quantize.integer.parameters import UNBOUNDED, WEIGHT_STEPS, of_range, range_of, spanned, union
from converters.quantize.integer.prepared import Range
from converters.quantize.integer.rules import rule_of
from converters.quantize.integer.rules.base import DTYPES, Rule
from device_agent.bundle import Quantization

# what the product of input and weights may be at most in steps of the output: XNNPACK refuses to load a graph
# with 256 or more, which only an output far below its inputs has (a dead layer)
MOST_STEPS = 64.0
WIDE = 4.0  # times as wide as the output: an operator more, for two bits more


@frozen
class Scales:
    """`homes`: the parameters of each activation that an integer operator makes (or the public input has).

    `shared`: by the index of an operator that needs one scale for all its data, those parameters.
    """

    homes: dict[str, Quantization]
    shared: dict[int, Quantization]


def scales(graph: Graph, ranges: Mapping[str, Range], assignment: Assignment, runtime: str) -> Scales:
    """Parameters for all activations of integer operators.

    Tensors that must have the same parameters form a group, with the union of their ranges. A tensor whose
    operator knows only one scale gives it to the groups that read it, if their ranges fit; otherwise these
    read a copy with their own scale.
    """
    found = _Groups(graph, ranges, assignment, runtime)
    for index, operator in enumerate(graph.operators):
        found.add(index, operator)
    return found.result()


class _Groups:
    """Sets of tensors with one scale, as a forest of names."""

    def __init__(
        self, graph: Graph, ranges: Mapping[str, Range], assignment: Assignment, runtime: str
    ) -> None:
        self._graph, self._ranges, self._assignment, self._runtime = graph, ranges, assignment, runtime
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, Quantization] = {}
        self._offered: defaultdict[str, list[str]] = defaultdict(list)  # root -> fixed tensors that it reads
        self._extra: defaultdict[str, list[Range]] = defaultdict(list)  # of constants and copies
        self._same: dict[int, str] = {}  # operator -> a member of its group
        self._weighted: list[tuple[str, str, float]] = []  # input, output, greatest weight

    def add(self, index: int, operator: GraphOperator) -> None:
        """Take an operator's tensors in."""
        precision = self._assignment.precisions[index]
        rule = rule_of(operator, self._runtime)
        if precision is None or precision == FLOAT or rule is None:
            return
        outputs = floats(self._graph, operator.outputs)
        if precision in rule.fixed:
            self._fixed.update(dict.fromkeys(outputs, rule.fixed[precision]))
        if rule.weights is not None and precision == "int8":
            self._weigh(operator, rule)
        if rule.same != "all":
            return
        places = data_inputs(rule, self._graph, operator, precision)
        data = [
            name
            for name in floats(self._graph, [operator.inputs[place] for place in places])
            if not (rule.selects and self._wide(name, outputs))
        ]
        members = [*outputs, *(name for name in data if self._joins(name, precision))]
        if not members:
            return
        for name in members[1:]:
            self._join(members[0], name)
        self._same[index] = members[0]
        for name in data:
            if name in members:
                continue
            constant = self._graph.constant(name)
            if name in self._fixed and self._assignment.homes.get(name) == precision:
                self._offered[members[0]].append(name)
            elif constant is not None:
                self._extra[members[0]].append(spanned(constant))
            else:
                self._extra[members[0]].append(self._ranges[name])

    def _weigh(self, operator: GraphOperator, rule: Rule) -> None:
        weights = self._graph.constant(operator.inputs[rule.weights or 0])
        (source, *_) = floats(
            self._graph,
            [operator.inputs[place] for place in data_inputs(rule, self._graph, operator, "int8")],
        )
        if weights is not None:
            greatest = max(float(weights.max(initial=0.0)), -float(weights.min(initial=0.0)))
            self._weighted.append((source, operator.outputs[0], greatest))

    def result(self) -> Scales:
        """The parameters of all groups."""
        members: defaultdict[str, list[str]] = defaultdict(list)
        for name, home in self._assignment.homes.items():
            if home != FLOAT and name not in self._fixed:
                members[self._root(name)].append(name)
        homes = self._chosen(members)
        for _ in self._weighted:  # what is made for one operator may be needed by the next
            if not self._made_room(homes):
                break
            homes = self._chosen(members)
        shared = {index: homes[name] for index, name in self._same.items()}
        return Scales(homes, shared)

    def _chosen(self, members: Mapping[str, list[str]]) -> dict[str, Quantization]:
        """The parameters of every activation, by the ranges so far."""
        homes: dict[str, Quantization] = dict(self._fixed)
        extra, offered = self._by_root(self._extra), self._by_root(self._offered)
        for root, names in members.items():
            held = [self._ranges[name] for name in names] + extra.get(root, [])
            held += [self._ranges[name] for name in offered.get(root, ()) if name in self._ranges]
            precision = self._assignment.homes[root]
            found = self._offer(offered.get(root, []), _bounded(held), precision)
            homes.update(dict.fromkeys(names, found))
        return homes

    def _made_room(self, homes: Mapping[str, Quantization]) -> bool:
        """Widen the outputs of weighted operators that are too far below their inputs; whether any was."""
        widened = False
        for source, output, greatest in self._weighted:
            as_read = homes[source] if self._assignment.homes[source] == "int8" else self._own(source)
            product = as_read.scale[0] * greatest / WEIGHT_STEPS
            if output not in self._fixed and product > MOST_STEPS * homes[output].scale[0]:
                self._extra[output].append(Range(0.0, 2 * product / MOST_STEPS * 255))
                widened = True
        return widened

    def _own(self, name: str) -> Quantization:
        return of_range(self._ranges[name], "int8")

    def _wide(self, name: str, outputs: list[str]) -> bool:
        """Whether what is selected of a tensor is so much narrower that a copy of its own pays."""
        if self._graph.constant(name) is not None:
            return True  # its copy costs nothing
        held = union([self._ranges[output] for output in outputs])
        found = self._ranges[name]
        return found.maximum - found.minimum > WIDE * (held.maximum - held.minimum)

    def _offer(self, names: list[str], held: Range, precision: str) -> Quantization:
        """The scale of fixed tensors that a group reads, if it is one and holds the range; else its own."""
        own = of_range(held, precision)
        offers = {self._fixed[name] for name in names}
        if len(offers) != 1:
            return own
        (offer,) = offers
        limits, step = range_of(offer, DTYPES[precision]), offer.scale[0]
        fits = held.minimum >= limits.minimum - step and held.maximum <= limits.maximum + step
        return offer if fits else own

    def _joins(self, name: str, precision: str) -> bool:
        return self._assignment.homes.get(name) == precision and name not in self._fixed

    def _root(self, name: str) -> str:
        root = name
        while root in self._parents:
            root = self._parents[root]
        return root

    def _join(self, one: str, other: str) -> None:
        first, second = self._root(one), self._root(other)
        if first != second:
            self._parents[second] = first

    def _by_root(self, listed: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for name, items in listed.items():
            found[self._root(name)].extend(items)
        return found


def _bounded(ranges: list[Range]) -> Range:
    """The union, without the ends that stand for infinity."""
    found = union(ranges)
    if max(-found.minimum, found.maximum) < UNBOUNDED:
        return found
    lows = [one.minimum for one in ranges if one.minimum > -UNBOUNDED]
    highs = [one.maximum for one in ranges if one.maximum < UNBOUNDED]
    return Range(min(lows, default=0.0), max(highs, default=0.0))
