"""Nodes that stand for other nodes: schema functions, If with a known condition, Loop and Scan unrolled.

`expand` gives the nodes that compute the same, with names of their own, or None where the node is to be
lowered (or refused) as it is. The caller looks at what it is given again, so expansions nest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from attrs import field, frozen
from onnx import helper, numpy_helper

from converters.lowering.algebra import determinant, einsum

STANDARD_DOMAINS = ("", "ai.onnx")
MAX_TRIPS = 1024  # of a Loop or a Scan that is unrolled
_DONE = "__done"  # of a Loop that is unrolled in part: its trips so far
_KEPT = "__kept"  # ... and what each trip gave to each scan output


@frozen
class Step:
    """A node to lower, the node of the file it stands for, and the operator sets its types come from."""

    source: int
    node: onnx.NodeProto
    opsets: Mapping[str, int]
    inlined: bool = False

    @property
    def opset(self) -> int:
        """The version of the operator set of its type."""
        if self.node.domain in STANDARD_DOMAINS:
            return next((self.opsets[name] for name in STANDARD_DOMAINS if name in self.opsets), 1)
        return self.opsets.get(self.node.domain, 1)


@frozen
class Known:
    """What an expansion may ask: types and constants of values, and names that are not taken."""

    types: Mapping[str, onnx.TypeProto]
    constants: Mapping[str, np.ndarray]
    native: Callable[[str], bool]  # whether there is a lowering of this standard operator
    prefixes: set[str] = field(factory=set)

    def prefix(self, node: onnx.NodeProto) -> str:
        """A prefix for the names of a node's insides that nothing has yet."""
        base = node.name or next((name for name in node.output if name), node.op_type)
        count, made = 0, base
        while made in self.prefixes:
            count += 1
            made = f"{base}_{count}"
        self.prefixes.add(made)
        return made


def expand(step: Step, known: Known) -> list[Step] | None:
    """The nodes that a node stands for, in order; None where it stands for itself."""
    node = step.node
    if node.domain in STANDARD_DOMAINS and node.op_type in _EXPANSIONS:
        made = _EXPANSIONS[node.op_type](node, known, step.opset)
        return None if made is None else [Step(step.source, n, step.opsets, inlined=True) for n in made]
    if node.domain in STANDARD_DOMAINS and known.native(node.op_type):
        return None
    function = _function(step, known)
    if function is None:
        return None
    opsets = dict(step.opsets) | {entry.domain: entry.version for entry in function.opset_import}
    return [Step(step.source, n, opsets, inlined=True) for n in _call(node, function, step, known)]


# --- functions


def _function(step: Step, known: Known) -> onnx.FunctionProto | None:
    """The body that the operator's schema gives, None if it has none."""
    node = step.node
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, step.opset, node.domain)  # its stub lacks half of it
        if step.opset >= min(schema.function_opset_versions, default=step.opset + 1):
            data = schema.get_function_with_opset_version(step.opset)
        elif schema.has_context_dependent_function:
            types = [known.types[name].SerializeToString() if name else b"" for name in node.input]
            data = schema.get_context_dependent_function_with_opset_version(
                step.opset, node.SerializeToString(), types
            )
        else:
            return None
    except Exception:  # noqa: BLE001 - the C++ side throws several kinds; without a body it is refused later
        return None
    return onnx.FunctionProto.FromString(data) if data else None


def _call(
    node: onnx.NodeProto, function: onnx.FunctionProto, step: Step, known: Known
) -> list[onnx.NodeProto]:
    prefix = known.prefix(node)
    names = {"": ""}
    names |= dict.fromkeys(function.input, "")
    names |= dict(zip(function.input, node.input, strict=False))
    names |= {inner: outer for inner, outer in zip(function.output, node.output, strict=False) if outer}
    given = {attribute.name: attribute for attribute in node.attribute}
    schema = onnx.defs.get_schema(node.op_type, step.opset, node.domain)
    for name, stated in schema.attributes.items():
        if name not in given and stated.default_value.name:
            given[name] = stated.default_value
    given = {attribute.name: attribute for attribute in function.attribute_proto} | given
    return [_renamed(n, lambda name: names.get(name, f"{prefix}/{name}"), given) for n in function.node]


def _renamed(
    node: onnx.NodeProto, rename: Callable[[str], str], given: Mapping[str, onnx.AttributeProto]
) -> onnx.NodeProto:
    """A copy with other names, and with its references to attributes of the function resolved."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [rename(name) if name else "" for name in node.input]
    made.output[:] = [rename(name) if name else "" for name in node.output]
    made.name = ""
    del made.attribute[:]
    for attribute in node.attribute:
        copy = onnx.AttributeProto()
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            copy.CopyFrom(given[attribute.ref_attr_name])
            copy.name = attribute.name
        else:
            copy.CopyFrom(attribute)
            if attribute.HasField("g"):
                _rename_graph(copy.g, rename, given)
            for inner in copy.graphs:
                _rename_graph(inner, rename, given)
        made.attribute.append(copy)
    return made


def _rename_graph(
    graph: onnx.GraphProto, rename: Callable[[str], str], given: Mapping[str, onnx.AttributeProto]
) -> None:
    nodes = [_renamed(node, rename, given) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    ends: Iterable[Any] = (*graph.input, *graph.output, *graph.initializer)
    for value in ends:
        value.name = rename(value.name)
    del graph.value_info[:]


# --- subgraphs


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds."""
    return [a.g for a in node.attribute if a.HasField("g")] + [g for a in node.attribute for g in a.graphs]


def _own_names(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(node.output)
        for inner in subgraphs(node):
            names |= _own_names(inner)
    return names - {""}


def _inline(
    graph: onnx.GraphProto, prefix: str, feeds: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes of a subgraph that reads `feeds`, and the names of what it gives."""
    names = {name: f"{prefix}/{name}" for name in _own_names(graph)}
    names |= {value.name: name for value, name in zip(graph.input, feeds, strict=False)}

    def rename(name: str) -> str:
        return names.get(name, name)

    nodes = [_constant(rename(tensor.name), tensor) for tensor in graph.initializer]
    nodes += [_renamed(node, rename, {}) for node in graph.node]
    return nodes, [rename(value.name) for value in graph.output]


def _constant(name: str, tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=tensor)


def _number(name: str, value: int | list[int]) -> onnx.NodeProto:
    return _constant(name, numpy_helper.from_array(np.array(value, np.int64)))


def _copies(sources: Sequence[str], targets: Sequence[str]) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Identity", [source], [target])
        for source, target in zip(sources, targets, strict=True)
        if target
    ]


def _if(node: onnx.NodeProto, known: Known, _opset: int) -> list[onnx.NodeProto] | None:
    """The branch that a constant condition takes."""
    condition = known.constants.get(node.input[0])
    if condition is None or condition.size != 1:
        return None
    wanted = "then_branch" if condition.reshape(()) else "else_branch"
    branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
    nodes, results = _inline(branch, known.prefix(node), [])
    return nodes + _copies(results, node.output)


def _loop(node: onnx.NodeProto, known: Known, opset: int) -> list[onnx.NodeProto] | None:
    """One trip and the Loop of those that are left, as long as it is known whether there is another."""
    trips, condition = node.input[0], node.input[1] if len(node.input) > 1 else ""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    body, done = attributes["body"].g, attributes[_DONE].i if _DONE in attributes else 0
    kept = [name.decode() for name in attributes[_KEPT].strings] if _KEPT in attributes else []
    if (trips and trips not in known.constants) or (condition and condition not in known.constants):
        return None
    carried = list(node.input[2:])
    scanned = len(node.output) - len(carried)
    if (trips and done >= known.constants[trips].reshape(())) or (
        condition and not known.constants[condition].reshape(())
    ):
        if scanned and not done:
            return None  # a scan output without elements
        made = _copies(carried, node.output[: len(carried)])
        for place, output in enumerate(node.output[len(carried) :]):
            made += _stack(kept[place::scanned], output, opset)
        return made
    if done >= MAX_TRIPS:
        return None
    prefix = known.prefix(node)
    trip, going = f"{prefix}/trip", f"{prefix}/going"
    yes = _constant(going, numpy_helper.from_array(np.array(True)))
    nodes, results = _inline(body, prefix, [trip, condition or going, *carried])
    rest = helper.make_node("Loop", [trips, *results[: 1 + len(carried)]], node.output, body=body)
    rest.attribute.append(helper.make_attribute(_DONE, done + 1))
    kept += results[1 + len(carried) :]
    if kept:
        rest.attribute.append(helper.make_attribute(_KEPT, kept))
    return [_number(trip, done), yes, *nodes, rest]


def _stack(names: Sequence[str], output: str, opset: int, axis: int = 0) -> list[onnx.NodeProto]:
    """The nodes that join values along a new axis."""
    if not output:
        return []
    nodes, rows = [_number(f"{output}/axis", [axis])], []
    for place, name in enumerate(names):
        rows.append(f"{output}/{place}")
        if opset < 13:  # the axes were an attribute
            nodes.append(helper.make_node("Unsqueeze", [name], [rows[-1]], axes=[axis]))
        else:
            nodes.append(helper.make_node("Unsqueeze", [name, f"{output}/axis"], [rows[-1]]))
    return [*nodes, helper.make_node("Concat", rows, [output], axis=axis)]


def _scan(node: onnx.NodeProto, known: Known, opset: int) -> list[onnx.NodeProto] | None:
    """Every trip of a Scan (operator set 9 and later): its inputs are taken apart, its outputs stacked."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    body, count = attributes["body"], attributes["num_scan_inputs"]
    states = list(node.input[: len(node.input) - count])
    given = node.input[len(node.input) - count :]
    made = len(node.output) - len(states)
    if len(body.input) != len(node.input):
        return None  # operator set 8: another operator of the same name
    shapes = [[d.dim_value for d in known.types[name].tensor_type.shape.dim] for name in given]
    axes = [
        axis % len(shape)
        for axis, shape in zip(attributes.get("scan_input_axes", [0] * count), shapes, strict=True)
    ]
    lengths = {shape[axis] for axis, shape in zip(axes, shapes, strict=True)}
    backwards = attributes.get("scan_input_directions", [0] * count)
    out_axes = attributes.get("scan_output_axes", [0] * made)
    out_backwards = attributes.get("scan_output_directions", [0] * made)
    if len(lengths) != 1 or not 0 < max(lengths) <= MAX_TRIPS or min(out_axes, default=0) < 0:
        return None
    length, prefix = max(lengths), known.prefix(node)
    nodes: list[onnx.NodeProto] = []
    rows: list[list[str]] = [[] for _ in range(made)]
    for trip in range(length):
        here = f"{prefix}/{trip}"
        slices = []
        for place, (name, axis) in enumerate(zip(given, axes, strict=True)):
            slices.append(f"{here}/in{place}")
            at = length - 1 - trip if backwards[place] else trip
            nodes.append(_number(f"{here}/at{place}", at))
            nodes.append(helper.make_node("Gather", [name, f"{here}/at{place}"], [slices[-1]], axis=axis))
        inner, results = _inline(body, here, [*states, *slices])
        nodes += inner
        states = results[: len(states)]
        for row, name in zip(rows, results[len(states) :], strict=True):
            row.append(name)
    nodes += _copies(states, node.output[: len(states)])
    for place, row in enumerate(rows):
        ordered = row[::-1] if out_backwards[place] else row
        nodes += _stack(ordered, node.output[len(states) + place], opset, out_axes[place])
    return nodes


def _cast_like(node: onnx.NodeProto, known: Known, _opset: int) -> list[onnx.NodeProto] | None:
    """A Cast to the dtype of the second input, of which nothing else matters."""
    made = known.types.get(node.input[1])
    if made is None or not made.tensor_type.elem_type:
        return None
    given = [attribute for attribute in node.attribute if attribute.name in ("saturate", "round_mode")]
    cast = helper.make_node("Cast", [node.input[0]], list(node.output), to=made.tensor_type.elem_type)
    cast.attribute.extend(given)
    return [cast]


def _compress(node: onnx.NodeProto, known: Known, _opset: int) -> list[onnx.NodeProto] | None:
    """By a constant condition: a Gather of what it keeps."""
    condition = known.constants.get(node.input[1])
    if condition is None or not condition.any():
        return None
    prefix = known.prefix(node)
    nodes = [_number(f"{prefix}/kept", np.flatnonzero(condition).tolist())]
    source, axis = node.input[0], next((a.i for a in node.attribute if a.name == "axis"), None)
    if axis is None:
        nodes.append(_number(f"{prefix}/shape", [-1]))
        source = f"{prefix}/flat"
        nodes.append(helper.make_node("Reshape", [node.input[0], f"{prefix}/shape"], [source]))
    nodes.append(helper.make_node("Gather", [source, f"{prefix}/kept"], list(node.output), axis=axis or 0))
    return nodes


def _algebra(node: onnx.NodeProto, known: Known, opset: int) -> list[onnx.NodeProto] | None:
    """Einsum and Det of static shapes."""
    shapes = []
    for name in node.input:
        tensor = known.types[name].tensor_type if name in known.types else None
        if tensor is None or not all(d.HasField("dim_value") for d in tensor.shape.dim):
            return None
        shapes.append([d.dim_value for d in tensor.shape.dim])
    if node.op_type == "Det":
        return determinant(node, shapes[0], known.prefix(node), opset)
    return einsum(node, shapes, known.prefix(node), opset)


_EXPANSIONS: dict[str, Callable[[onnx.NodeProto, Known, int], list[onnx.NodeProto] | None]] = {
    "CastLike": _cast_like,
    "Compress": _compress,
    "Det": _algebra,
    "Einsum": _algebra,
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
}
