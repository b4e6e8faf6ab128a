"""What is known of an ONNX graph before it runs: every value's dtype and shape, and the constants."""

from __future__ import annotations

import math

import numpy as np
import onnx
from attrs import define, field, frozen
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from device_agent.errors import InvalidModel

STANDARD_DOMAINS = ("", "ai.onnx")
_MAX_FOLDED = 1 << 26  # elements: nothing that a device could hold is larger
_MAX_INFERRED = 1 << 10  # elements of constants that shape inference may look into
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
# of these inference knows nothing: their output is of their input's type
_LIKE_INPUT = frozenset(("GroupNormalization", "MeanVarianceNormalization"))


@frozen
class ValueType:
    """The dtype (NumPy's name) and static shape of a value."""

    dtype: str
    shape: tuple[int, ...]


@define
class Facts:
    """`types` and `constants` by value name; `folded` and `dead` are node indices."""

    opset: int
    types: dict[str, ValueType] = field(factory=dict)
    constants: dict[str, np.ndarray] = field(factory=dict)
    folded: set[int] = field(factory=set)
    dead: set[int] = field(factory=set)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The graph's real inputs: a file may list its initializers there too."""
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set."""
    return next((entry.version for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS), 1)


def dtype_name(element: int) -> str:
    """NumPy's name of an ONNX element type (`str` for strings)."""
    if element == onnx.TensorProto.STRING:
        return "str"
    return str(helper.tensor_dtype_to_np_dtype(element).name)


def analyse(proto: onnx.ModelProto) -> Facts:
    """Fold what is constant and infer the rest, node by node in the file's order.

    Nodes whose inputs are all constants, and `Shape` and `Size` of static shapes, are computed with
    ONNX's reference implementation.

    Raises:
        InvalidModel: an initializer cannot be read, or a node's inputs do not fit its operator.
    """
    analysis = _Analysis(proto, Facts(opset_of(proto)))
    for value in inputs_of(proto.graph):
        analysis.note_type(value.name, value.type)
    for tensor in proto.graph.initializer:
        try:
            array = numpy_helper.to_array(tensor)
        except Exception as e:  # a tensor that does not hold what it states: almost any exception
            raise InvalidModel("an initializer cannot be read", where=tensor.name, got=str(e)) from e
        analysis.note_constant(tensor.name, array)
    for index, node in enumerate(proto.graph.node):
        inferred = analysis.infer(node)
        folded = analysis.fold(node, inferred)
        if folded is not None:
            analysis.facts.folded.add(index)
            for name, array in folded.items():
                analysis.note_constant(name, array)
        else:
            for name, made in inferred.items():
                analysis.note_type(name, made)
    analysis.facts.dead = _dead(proto.graph)
    return analysis.facts


@define
class _Analysis:
    """The facts so far, and the same in the form that shape inference takes."""

    proto: onnx.ModelProto
    facts: Facts
    types: dict[str, onnx.TypeProto] = field(factory=dict)
    small: dict[str, onnx.TensorProto] = field(factory=dict)  # constants that decide shapes

    def note_type(self, name: str, made: onnx.TypeProto) -> None:
        """Keep what is known of a computed value; only a static shape is a fact."""
        self.types[name] = made
        tensor = made.tensor_type
        if not made.HasField("tensor_type") or not tensor.HasField("shape"):
            return
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        if min(sizes, default=0) >= 0 and tensor.elem_type in helper.get_all_tensor_dtypes():
            self.facts.types[name] = ValueType(dtype_name(tensor.elem_type), tuple(sizes))

    def note_constant(self, name: str, array: np.ndarray) -> None:
        """Keep a constant."""
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(element, array.shape)
        self.facts.types[name] = ValueType(dtype_name(element), array.shape)
        self.facts.constants[name] = array
        if array.size <= _MAX_INFERRED:
            self.small[name] = numpy_helper.from_array(array, name)

    def infer(self, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        """The types of a node's outputs; none where an input's type or the operator is unknown."""
        names = [name for name in node.input if name]
        if node.domain not in STANDARD_DOMAINS or any(name not in self.types for name in names):
            return {}
        try:
            schema = onnx.defs.get_schema(node.op_type, self.facts.opset, node.domain)
            known = shape_inference.infer_node_outputs(
                schema,
                node,
                # a node with a subgraph may read any value from within it
                self.types if _subgraphs(node) else {name: self.types[name] for name in names},
                {name: self.small[name] for name in names if name in self.small},
                opset_imports=list(self.proto.opset_import),
                ir_version=self.proto.ir_version,
            )
        except Exception as e:  # the C++ side throws several kinds, none of them documented
            raise InvalidModel(
                f"the inputs of a {node.op_type} do not fit together",
                where=node.name or node.op_type,
                got=" ".join(str(e).split()),
                next_step="Check the file with onnx.checker.check_model(path, full_check=True).",
            ) from e
        if node.op_type in _LIKE_INPUT:
            known[node.output[0]] = self.types[node.input[0]]
        return known

    def fold(self, node: onnx.NodeProto, inferred: dict[str, onnx.TypeProto]) -> dict[str, np.ndarray] | None:
        """The node's outputs if they are constants of a bearable size, else None."""
        feeds = self._feeds(node)
        if feeds is None or any(_elements(made) > _MAX_FOLDED for made in inferred.values()):
            return None
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        model = helper.make_model(
            helper.make_graph([node], "fold", inputs, outputs),
            opset_imports=self.proto.opset_import,
            ir_version=self.proto.ir_version,
        )
        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(model).run(None, feeds)
            return {value.name: np.array(made) for value, made in zip(outputs, results, strict=True)}
        except Exception:  # noqa: BLE001 - what the reference cannot compute is left to its lowering to refuse
            return None

    def _feeds(self, node: onnx.NodeProto) -> dict[str, np.ndarray] | None:
        if node.domain not in STANDARD_DOMAINS or node.op_type in _RANDOM or _subgraphs(node):
            return None
        names = [name for name in node.input if name]
        if node.op_type in ("Shape", "Size") and names and names[0] in self.facts.types:
            # only the shape of the input matters: an array that takes no memory stands for it
            return {names[0]: np.broadcast_to(np.zeros((), np.float32), self.facts.types[names[0]].shape)}
        if all(name in self.facts.constants for name in names):
            return {name: self.facts.constants[name] for name in names}
        return None


def _elements(made: onnx.TypeProto) -> int:
    return math.prod(d.dim_value if d.HasField("dim_value") else 1 for d in made.tensor_type.shape.dim)


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [a.g for a in node.attribute if a.HasField("g")] + [g for a in node.attribute for g in a.graphs]


def _dead(graph: onnx.GraphProto) -> set[int]:
    """The nodes whose outputs nothing reads."""
    needed = {value.name for value in graph.output}
    dead = set()
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed.isdisjoint(name for name in node.output if name):
            dead.add(index)
            continue
        needed.update(node.input)
        for inner in _subgraphs(node):
            needed |= _read_within(inner)
    return dead


def _read_within(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for inner in _subgraphs(node):
            names |= _read_within(inner)
    return names
