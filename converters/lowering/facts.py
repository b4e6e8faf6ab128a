"""What is known of an ONNX graph before it runs: every value's dtype and shape, and the constants."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import onnx
from attrs import define, field, frozen
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from converters.lowering.flatten import STANDARD_DOMAINS, Known, Step, expand, subgraphs
from converters.lowering.weights import array_of
from device_agent.errors import InvalidModel

__all__ = ["STANDARD_DOMAINS", "Facts", "Step", "ValueType", "analyse", "dtype_name", "inputs_of", "opset_of"]

_MAX_FOLDED = 1 << 26  # elements: nothing that a device could hold is larger
_MAX_ARRAY = 1 << 48  # elements: NumPy takes no more, however little memory they need
_MAX_INFERRED = 1 << 10  # elements of constants that shape inference may look into
_MAX_STEPS = 20_000  # nodes after everything is taken apart; a Loop within a Loop may grow without end
_OF_SHAPE = ("EyeLike", "OptionalHasElement", "Shape", "Size")
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
    """`types` and `constants` by value name; `folded` and `dead` are indices of `steps`.

    `steps` are the nodes to lower: the file's, with those that stand for others taken apart. What is
    float16 in the file is computed in float32 and is listed in `halves`.
    """

    types: dict[str, ValueType] = field(factory=dict)
    constants: dict[str, np.ndarray] = field(factory=dict)
    steps: list[Step] = field(factory=list)
    folded: set[int] = field(factory=set)
    dead: set[int] = field(factory=set)
    halves: set[str] = field(factory=set)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The graph's real inputs: a file may list its initializers there too."""
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set."""
    return next((entry.version for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS), 1)


def dtype_name(element: int) -> str:
    """NumPy's name of an ONNX element type: `str` for strings, the number of one that ONNX has not."""
    if element not in helper.get_all_tensor_dtypes():
        return f"element type {element}"
    if element == onnx.TensorProto.STRING:
        return "str"
    return str(helper.tensor_dtype_to_np_dtype(element).name)


def analyse(proto: onnx.ModelProto, native: Callable[[str], bool]) -> Facts:
    """Take apart what stands for other nodes, fold what is constant and infer the rest, node by node.

    Nodes whose inputs are all constants, and `Shape` and `Size` of static shapes, are computed with
    ONNX's reference implementation. `native` says whether a standard operator has a lowering.

    Raises:
        InvalidModel: an initializer cannot be read, or a node's inputs do not fit its operator.
    """
    analysis = _Analysis(proto, Facts())
    facts = analysis.facts
    for value in inputs_of(proto.graph):
        analysis.note_type(value.name, value.type)
    for tensor in proto.graph.initializer:
        analysis.note_constant(tensor.name, array_of(tensor))
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    pending = deque(Step(index, node, opsets) for index, node in enumerate(proto.graph.node))
    known = Known(analysis.types, analysis.arrays, native)
    while pending:
        step = pending.popleft()
        inferred = analysis.infer(step)
        folded = analysis.fold(step, inferred)
        if folded is None:
            folded = _empty(inferred)
        if folded is not None:
            facts.folded.add(len(facts.steps))
            for name, array in folded.items():
                analysis.note_constant(name, array)
        else:
            room = len(facts.steps) + len(pending) < _MAX_STEPS
            inside = expand(step, known) if room else None
            if inside is not None:
                pending.extendleft(reversed(inside))
                continue
            for name, made in inferred.items():
                analysis.note_type(name, made)
        facts.steps.append(step)
    facts.dead = _dead(facts.steps, proto.graph)
    return facts


@define
class _Analysis:
    """The facts so far, and the same in the form that shape inference takes."""

    proto: onnx.ModelProto
    facts: Facts
    types: dict[str, onnx.TypeProto] = field(factory=dict)
    small: dict[str, onnx.TensorProto] = field(factory=dict)  # constants that decide shapes
    arrays: dict[str, np.ndarray] = field(factory=dict)  # constants in the dtypes of the file

    def note_type(self, name: str, made: onnx.TypeProto) -> None:
        """Keep what is known of a computed value; only a static shape is a fact."""
        self.types[name] = made
        tensor = made.tensor_type
        if not made.HasField("tensor_type") or not tensor.HasField("shape"):
            return
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        if min(sizes, default=0) < 0 or tensor.elem_type not in helper.get_all_tensor_dtypes():
            return
        if math.prod(max(size, 1) for size in sizes) > _MAX_ARRAY:
            raise InvalidModel("a value is larger than anything could hold", where=name, got=str(sizes))
        dtype = dtype_name(tensor.elem_type)
        if 0 in sizes and dtype != "str":  # there is but one value without elements
            self.note_constant(name, np.zeros(sizes, dtype))
        self.facts.types[name] = ValueType(self._computed(name, dtype), tuple(sizes))

    def note_constant(self, name: str, array: np.ndarray) -> None:
        """Keep a constant."""
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(element, array.shape)
        dtype = self._computed(name, dtype_name(element))
        self.facts.types[name] = ValueType(dtype, array.shape)
        self.facts.constants[name] = array.astype(dtype) if name in self.facts.halves else array
        self.arrays[name] = array
        if array.size <= _MAX_INFERRED:
            self.small[name] = numpy_helper.from_array(array, name)

    def _computed(self, name: str, dtype: str) -> str:
        """The dtype that a value is computed in."""
        if dtype != "float16":
            return dtype
        self.facts.halves.add(name)
        return "float32"

    def infer(self, step: Step) -> dict[str, onnx.TypeProto]:
        """The types of a node's outputs; none where an input's type or the operator is unknown."""
        node = step.node
        names = [name for name in node.input if name]
        known = onnx.defs.has(node.op_type, node.domain) and all(name in self.types for name in names)
        if not known or (step.inlined and node.op_type == "Loop"):
            return {}
        if node.op_type == "STFT" and not any(a.name == "onesided" for a in node.attribute):
            # inference forgets that this is the default
            node = helper.make_node("STFT", node.input, node.output, onesided=1)
        try:
            schema = onnx.defs.get_schema(node.op_type, step.opset, node.domain)
            made = shape_inference.infer_node_outputs(
                schema,
                node,
                # a node with a subgraph may read any value from within it
                self.types if subgraphs(node) else {name: self.types[name] for name in names},
                {name: self.small[name] for name in names if name in self.small},
                opset_imports=_imports(step),
                ir_version=self.proto.ir_version,
            )
        except Exception as e:  # the C++ side throws several kinds, none of them documented
            if step.inlined or node.domain not in STANDARD_DOMAINS:
                return {}  # not for the user to mend: it is refused, as a node of unknown shapes
            raise InvalidModel(
                f"the inputs of a {node.op_type} do not fit together",
                where=node.name or node.op_type,
                got=" ".join(str(e).split()),
                next_step="Check the file with onnx.checker.check_model(path, full_check=True).",
            ) from e
        if node.op_type in _LIKE_INPUT:
            made[node.output[0]] = self.types[node.input[0]]
        if node.op_type == "MaxUnpool" and len(names) == 3 and names[2] in self.facts.constants:
            shape = [int(size) for size in self.facts.constants[names[2]]]  # inference does not look
            element = self.types[names[0]].tensor_type.elem_type
            made[node.output[0]] = helper.make_tensor_type_proto(element, shape)
        return made

    def fold(self, step: Step, inferred: dict[str, onnx.TypeProto]) -> dict[str, np.ndarray] | None:
        """The node's outputs if they are constants of a bearable size, else None."""
        node = step.node
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
            opset_imports=_imports(step),
            ir_version=self.proto.ir_version,
        )
        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(model).run(None, feeds)
            arrays = {value.name: np.array(made) for value, made in zip(outputs, results, strict=True)}
            return arrays if all(_fits(arrays[name], made) for name, made in inferred.items()) else None
        except Exception:  # noqa: BLE001 - what the reference cannot compute is left to its lowering to refuse
            return None

    def _feeds(self, node: onnx.NodeProto) -> dict[str, np.ndarray] | None:
        if node.domain not in STANDARD_DOMAINS or node.op_type in _RANDOM or subgraphs(node):
            return None
        names = [name for name in node.input if name]
        if node.op_type in _OF_SHAPE and names and names[0] in self.facts.types:
            # only the type of the input matters: an array that takes no memory stands for it
            element = dtype_name(self.types[names[0]].tensor_type.elem_type)
            if element != "str":
                return {names[0]: np.broadcast_to(np.zeros((), element), self.facts.types[names[0]].shape)}
        if all(name in self.arrays for name in names):
            return {name: self.arrays[name] for name in names}
        return None


def _empty(inferred: dict[str, onnx.TypeProto]) -> dict[str, np.ndarray] | None:
    """The outputs of a node if none of them has an element."""
    made = {}
    for name, known in inferred.items():
        tensor = known.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        if 0 not in sizes or min(sizes) < 0 or tensor.elem_type == onnx.TensorProto.STRING:
            return None
        made[name] = np.zeros(sizes, dtype_name(tensor.elem_type))
    return made or None


def _imports(step: Step) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid(domain, version) for domain, version in step.opsets.items()]


def _fits(array: np.ndarray, made: onnx.TypeProto) -> bool:
    """Whether the reference gave the dtype that the schema states: it is not always careful."""
    element = made.tensor_type.elem_type
    return not element or element == helper.np_dtype_to_tensor_dtype(array.dtype)


def _elements(made: onnx.TypeProto) -> int:
    return math.prod(d.dim_value if d.HasField("dim_value") else 1 for d in made.tensor_type.shape.dim)


def _dead(steps: list[Step], graph: onnx.GraphProto) -> set[int]:
    """The steps whose outputs nothing reads."""
    needed = {value.name for value in graph.output}
    dead = set()
    for index in reversed(range(len(steps))):
        node = steps[index].node
        if needed.isdisjoint(name for name in node.output if name):
            dead.add(index)
            continue
        needed.update(node.input)
        for inner in subgraphs(node):
            needed |= _read_within(inner)
    return dead


def _read_within(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for inner in subgraphs(node):
            names |= _read_within(inner)
    return names
