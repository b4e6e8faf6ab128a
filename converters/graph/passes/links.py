"""Who makes and who reads each tensor, kept true while rewrites change the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.options import complete


class Links:
    """A graph with its edges, and the changes that rewrites are made of.

    Every change costs time in proportion to the tensors it touches, none to the graph.

    Args:
        graph: changed in place.
        fixed: whether the shapes that the graph states hold in every run. Where an axis is open, or a
            shape is known only from values, no rewrite may build on the sizes of tensors.
        fixed_inside: whether all axes but the first do; so it is if `fixed`.
    """

    def __init__(self, graph: Graph, *, fixed: bool = True, fixed_inside: bool = False) -> None:
        self.graph = graph
        self.fixed = fixed
        self.fixed_inside = fixed or fixed_inside
        self.memo: dict[str, Any] = {}  # what rewrites found, until the graph changes
        self.outputs = set(graph.outputs.values())
        self.maker: dict[str, GraphOperator] = {}
        self._readers: dict[str, list[GraphOperator]] = {}
        self._removed: set[int] = set()
        for operator in graph.operators:
            self.maker.update(dict.fromkeys(operator.outputs, operator))
            for name in operator.inputs:
                if name is not None:
                    self._readers.setdefault(name, []).append(operator)

    def operators(self, *types: str) -> list[GraphOperator]:
        """The operators of these types that stand in the graph now, in order."""
        return [op for op in self.graph.operators if op.type in types and id(op) not in self._removed]

    def stands(self, operator: GraphOperator) -> bool:
        """Whether a rewrite of this sweep has not removed it."""
        return id(operator) not in self._removed

    def readers(self, name: str) -> list[GraphOperator]:
        """The operators that read a tensor, once for each time they do."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> GraphOperator | None:
        """The one operator that reads a tensor which is no output of the graph, else None."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def exclusive(self, name: str | None, operator: GraphOperator) -> bool:
        """Whether only this operator reads a tensor, once or more often, and no output of the graph does."""
        return (
            name is not None
            and name not in self.outputs
            and all(reader is operator for reader in self.readers(name))
        )

    def maker_of(self, name: str | None, *types: str) -> GraphOperator | None:
        """The operator of one of these types that makes a tensor, else None."""
        made = self.maker.get(name) if name is not None else None
        return made if made is not None and made.type in types else None

    def tensor(self, name: str | None) -> GraphTensor:
        """A tensor that an operator must have."""
        if name is None:
            raise KeyError("an input that this rewrite needs is absent")
        return self.graph.tensors[name]

    def set_input(self, operator: GraphOperator, place: int, name: str | None) -> None:
        """Let an operator read another tensor at a place."""
        while len(operator.inputs) <= place:
            operator.inputs.append(None)
        before = operator.inputs[place]
        operator.inputs[place] = name
        if before is not None:
            self._forget(before, operator)
        if name is not None:
            self._readers.setdefault(name, []).append(operator)

    def become(
        self,
        operator: GraphOperator,
        builtin: str,
        inputs: Sequence[str | None],
        options: Mapping[str, Any],
        parts: Sequence[GraphOperator] = (),
    ) -> None:
        """Let an operator compute its output by another builtin, for itself and for `parts`.

        What only `parts` did falls to `remove_dead`.
        """
        for name in operator.inputs:
            if name is not None:
                self._forget(name, operator)
        operator.type, operator.inputs, operator.options = builtin, [], complete(builtin, dict(options))
        for place, name in enumerate(inputs):
            self.set_input(operator, place, name)
        operator.sources = merged(operator, *parts)

    def insert_after(self, place: GraphOperator, operator: GraphOperator) -> None:
        """Add an operator behind another one, in time proportional to the graph."""
        index = next(index for index, op in enumerate(self.graph.operators) if op is place)
        self.graph.operators.insert(index + 1, operator)
        self.maker.update(dict.fromkeys(operator.outputs, operator))
        for name in operator.inputs:
            if name is not None:
                self._readers.setdefault(name, []).append(operator)

    def absorb(self, maker: GraphOperator, reader: GraphOperator) -> None:
        """Remove `reader`, the only one to read what `maker` makes; `maker` makes its output instead."""
        between, output = maker.outputs[0], reader.outputs[0]
        self._remove(reader)
        maker.outputs[0] = output
        maker.sources = merged(maker, reader)
        self.maker[output] = maker
        del self.maker[between]
        self.graph.tensors.pop(between)

    def bypass(self, operator: GraphOperator) -> bool:
        """Remove an operator that gives its first input unchanged.

        False where an output of the graph forbids it, or the tensors do not state the same values: another
        dtype, or integers that stand for other numbers.
        """
        source, output = operator.inputs[0] or "", operator.outputs[0]
        maker = self.maker.get(source)
        given, made = self.tensor(source), self.tensor(output)
        if (given.dtype, given.quantization) != (made.dtype, made.quantization):
            return False
        if output in self.outputs:
            if maker is None or source in self.outputs:
                return False
            for public in [public for public, name in self.graph.outputs.items() if name == output]:
                self.graph.outputs[public] = source
            self.outputs.remove(output)
            self.outputs.add(source)
        heirs = [maker] if maker is not None else list(self.readers(output))
        for reader in list(self.readers(output)):
            for place, name in enumerate(reader.inputs):
                if name == output:
                    self.set_input(reader, place, source)
        for heir in heirs:
            heir.sources = merged(heir, operator)
        self._remove(operator)
        del self.maker[output]
        self.graph.tensors.pop(output)
        return True

    def new_name(self, hint: str) -> str:
        """A tensor name that is free."""
        name, count = hint, 0
        while name in self.graph.tensors:
            count += 1
            name = f"{hint}_{count}"
        return name

    def add_constant(self, array: np.ndarray, hint: str) -> str:
        """A new constant tensor."""
        name = self.new_name(hint)
        data = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a scalar [1]
        self.graph.tensors[name] = GraphTensor(name, data.shape, data.dtype.name, data)
        return name

    def replace_constant(self, operator: GraphOperator, place: int, array: np.ndarray, hint: str) -> None:
        """Give an operator its own constant at a place; others that read the old one keep it."""
        self.set_input(operator, place, self.add_constant(array, hint))

    def commit(self) -> None:
        """Take the removed operators out of the graph's list."""
        if self._removed:
            self.graph.operators[:] = [op for op in self.graph.operators if id(op) not in self._removed]

    def _remove(self, operator: GraphOperator) -> None:
        self._removed.add(id(operator))
        for name in operator.inputs:
            if name is not None:
                self._forget(name, operator)

    def _forget(self, name: str, operator: GraphOperator) -> None:
        self.memo.clear()
        readers = self._readers[name]
        for place, reader in enumerate(readers):
            if reader is operator:
                del readers[place]
                return


def merged(*operators: GraphOperator) -> tuple[int, ...]:
    """The source operators that these stand for together."""
    return tuple(sorted({source for operator in operators for source in operator.sources}))
