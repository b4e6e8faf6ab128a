"""Einsum and Det as nodes of products and sums, which have lowerings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from attrs import define, field
from onnx import helper, numpy_helper

_MAX_DETERMINANT = 3  # rows: beyond it an elimination would need to choose its pivots


@define
class _Nodes:
    """Nodes under construction, with names of their own; values are (name, labels or shape)."""

    prefix: str
    opset: int
    made: list[onnx.NodeProto] = field(factory=list)

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node with one output."""
        name = f"{self.prefix}/{len(self.made)}"
        self.made.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def numbers(self, values: Sequence[int] | int) -> str:
        """An int64 constant."""
        return self.add("Constant", [], value=numpy_helper.from_array(np.array(values, np.int64)))

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """A Reshape."""
        return self.add("Reshape", [name, self.numbers(shape)])

    def total(self, name: str, axes: Sequence[int]) -> str:
        """A ReduceSum, whose axes were an attribute before operator set 13."""
        if self.opset < 13:
            return self.add("ReduceSum", [name], axes=list(axes), keepdims=0)
        return self.add("ReduceSum", [name, self.numbers(axes)], keepdims=0)


def determinant(
    node: onnx.NodeProto, shape: Sequence[int], prefix: str, opset: int
) -> list[onnx.NodeProto] | None:
    """`Det` of up to three rows, by the first of them; None for more."""
    rows = shape[-1]
    if rows > _MAX_DETERMINANT:
        return None
    nodes = _Nodes(prefix, opset)
    axis = len(shape) - 2
    lines = [nodes.add("Gather", [node.input[0], nodes.numbers(row)], axis=axis) for row in range(rows)]
    items = [
        [nodes.add("Gather", [line, nodes.numbers(at)], axis=axis) for at in range(rows)] for line in lines
    ]

    def of(remaining: list[list[str]]) -> str:
        if len(remaining) == 1:
            return remaining[0][0]
        result = ""
        for at, item in enumerate(remaining[0]):
            minor = [[*line[:at], *line[at + 1 :]] for line in remaining[1:]]
            product = nodes.add("Mul", [item, of(minor)])
            result = nodes.add("Sub" if at % 2 else "Add", [result, product]) if result else product
        return result

    nodes.made.append(helper.make_node("Identity", [of(items)], list(node.output)))
    return nodes.made


def einsum(
    node: onnx.NodeProto, shapes: Sequence[Sequence[int]], prefix: str, opset: int
) -> list[onnx.NodeProto] | None:
    """`Einsum` as Transpose, Reshape, MatMul, Mul and ReduceSum, two operands at a time.

    None where a label stands twice in one operand, or sizes of one label differ.
    """
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    parsed = _parse(equation, shapes)
    if parsed is None:
        return None
    terms, output = parsed
    sizes: dict[str, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, size in zip(labels, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                return None
    nodes = _Nodes(prefix, opset)
    name, labels = node.input[0], terms[0]
    for place in range(1, len(terms)):
        wanted = set(output).union(*terms[place + 1 :])
        name, labels = _joined(nodes, (name, labels), (node.input[place], terms[place]), wanted, sizes)
    name, labels = _summed(nodes, name, labels, set(output))
    perm = [labels.index(label) for label in output]
    nodes.made.append(helper.make_node("Transpose", [name], list(node.output), perm=perm))
    return nodes.made


def _parse(equation: str, shapes: Sequence[Sequence[int]]) -> tuple[list[str], str] | None:
    """The labels of each operand and of the output; the axes of `...` are labelled 0, 1, ..."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        return None
    widths = {len(shape) - len(term) + 3 for term, shape in zip(terms, shapes, strict=True) if "..." in term}
    if len(widths) > 1 or max(widths, default=0) > 9:
        return None  # ellipses that broadcast
    dots = "".join(str(at) for at in range(max(widths, default=0)))
    if not arrow:
        single = sorted(label for label in set(left) - set(",.") if left.count(label) == 1)
        right = "..." * ("..." in left) + "".join(single)
    made = [term.replace("...", dots) for term in terms]
    output = right.replace("...", dots)
    fits = all(len(term) == len(shape) for term, shape in zip(made, shapes, strict=True))
    distinct = all(len(set(labels)) == len(labels) for labels in (*made, output))
    return (made, output) if fits and distinct else None


def _summed(nodes: _Nodes, name: str, labels: str, wanted: set[str]) -> tuple[str, str]:
    """A value without the labels that nothing wants."""
    axes = [axis for axis, label in enumerate(labels) if label not in wanted]
    if not axes:
        return name, labels
    return nodes.total(name, axes), "".join(label for label in labels if label in wanted)


def _arranged(nodes: _Nodes, value: tuple[str, str], groups: Sequence[str], sizes: Mapping[str, int]) -> str:
    """A value transposed to these groups of labels, each group one axis; an absent batch is left out."""
    name, labels = value
    name = nodes.add("Transpose", [name], perm=[labels.index(label) for label in "".join(groups)])
    shape = [math.prod(sizes[label] for label in group) for group in groups]
    return nodes.reshape(name, shape if groups[0] else shape[1:])


def _joined(
    nodes: _Nodes, left: tuple[str, str], right: tuple[str, str], wanted: set[str], sizes: Mapping[str, int]
) -> tuple[str, str]:
    """The product of two values, summed over the labels that both have and nothing else wants."""
    left = _summed(nodes, *left, wanted | set(right[1]))
    right = _summed(nodes, *right, wanted | set(left[1]))
    shared = [label for label in left[1] if label in right[1]]
    batch = "".join(label for label in shared if label in wanted)
    inner = "".join(label for label in shared if label not in wanted)
    rows = "".join(label for label in left[1] if label not in shared)
    columns = "".join(label for label in right[1] if label not in shared)
    labels = batch + rows + columns
    if inner:
        operands = (
            _arranged(nodes, left, (batch, rows, inner), sizes),
            _arranged(nodes, right, (batch, inner, columns), sizes),
        )
        product = nodes.add("MatMul", operands)
    else:
        many, high, wide = (math.prod(sizes[label] for label in group) for group in (batch, rows, columns))
        outer = [many] if batch else []
        first = nodes.reshape(_arranged(nodes, left, (batch, rows), sizes), [*outer, high, 1])
        second = nodes.reshape(_arranged(nodes, right, (batch, columns), sizes), [*outer, 1, wide])
        product = nodes.add("Mul", (first, second))
    return nodes.reshape(product, [sizes[label] for label in labels]), labels
