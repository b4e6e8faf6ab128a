"""What a lowering works in: values with their layouts, and the graph under construction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import frozen

from converters.graph import options as tables
from converters.graph.dtypes import schema_name
from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.verify import MAX_ELEMENTS
from converters.lowering import layout
from converters.lowering.facts import Facts, ValueType
from converters.lowering.layout import Order, Shape
from converters.lowering.registry import Refused

# operators whose result has the scale of their first input
_KEEP_SCALE = frozenset(
    (
        "CONCATENATION",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PACK",
        "PAD",
        "PADV2",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    )
)
# builtins that broadcast over four axes at most, in runtimes that are in use (tflite-runtime 2.14)
_FOUR_AXES = frozenset(
    (
        "BITWISE_XOR",
        "EQUAL",
        "FLOOR_MOD",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "LOGICAL_AND",
        "LOGICAL_OR",
        "NOT_EQUAL",
        "POW",
        "RIGHT_SHIFT",
        "SELECT_V2",
    )
)
_FOUR_AXES_OF_INTEGERS = frozenset(("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SUB"))
_MAX_TRANSPOSED = 5  # axes; six in later runtimes only


@frozen
class Value:
    """An ONNX value as it lies in the graph: the tensor that holds it, and the order of its axes there."""

    tensor: str
    order: Order


class Context:
    """The graph under construction, and the ONNX values that are in it already."""

    def __init__(self, facts: Facts) -> None:
        self.graph = Graph({}, [], {}, {})
        self.source = -1  # index of the node that is being lowered
        self._facts = facts
        self._makers: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._arranged: dict[tuple[str, Order, Shape], str] = {}
        self._constants: dict[tuple[str, Order, Shape], str] = {}

    # --- what is known of a value

    def type(self, name: str) -> ValueType:
        """The dtype and shape of an ONNX value."""
        return self._facts.types[name]

    def shape(self, name: str) -> Shape:
        """The shape of an ONNX value, in ONNX's order of axes."""
        return self._facts.types[name].shape

    def dtype(self, name: str) -> str:
        """The dtype of an ONNX value."""
        return self._facts.types[name].dtype

    def constant(self, name: str | None) -> np.ndarray | None:
        """The value itself if it is a constant, else None."""
        return self._facts.constants.get(name) if name is not None else None

    def need_constant(self, name: str, what: str) -> np.ndarray:
        """The value of something that must be a constant.

        Raises:
            Refused: it is computed.
        """
        value = self.constant(name)
        if value is None:
            raise Refused(f"its {what} must be constant", got=f"{name!r} is computed")
        return value

    def order(self, name: str) -> Order | None:
        """How a value's axes lie in its tensor; None for a constant, which lies as one likes."""
        return None if self.constant(name) is not None else self._values[name].order

    def value(self, name: str) -> Value | None:
        """How the graph holds a value; None for a constant, and for what is not in the graph (any more)."""
        held = self._values.get(name)
        tensor = self.graph.tensors.get(held.tensor) if held is not None else None
        return held if tensor is not None and tensor.data is None else None

    def knows(self, name: str) -> bool:
        """Whether there is a value of this name."""
        return name in self._facts.types

    def half(self, name: str) -> bool:
        """Whether a value that is computed in float32 is float16 in the file."""
        return name in self._facts.halves

    def declare(self, name: str, known: ValueType, constant: np.ndarray | None = None) -> None:
        """Add a value that the file has not; one that is computed must be bound too."""
        self._facts.types[name] = known
        if constant is not None:
            self._facts.constants[name] = constant

    # --- tensors

    def bind(self, name: str, tensor: str, order: Order | None = None) -> None:
        """Say that this tensor holds the ONNX value `name`, in ONNX's order if none is given.

        Raises:
            Refused: the tensor has another shape than the value, which its node's attributes contradict.
        """
        shape, held = self.shape(name), self.graph.tensors[tensor].shape
        order = layout.identity(len(shape)) if order is None else order
        if len(order) != len(shape) or layout.physical(shape, order) != held:
            raise Refused("its attributes contradict its shape", got=list(held), limit=list(shape))
        self._values[name] = Value(tensor, order)

    def tensor(self, name: str) -> str:
        """The tensor that holds a value, in whatever order it lies (a constant in ONNX's)."""
        if self.constant(name) is not None:
            return self.arrange(name, layout.identity(len(self.shape(name))))
        return self._values[name].tensor

    def arrange(self, name: str, order: Order, shape: Shape | None = None) -> str:
        """The tensor that holds a value with its axes in `order`, made if it must be.

        `shape` is the value's shape with axes of size 1 put in, where it is not its own. A constant is
        rearranged here; a tensor by a RESHAPE if only axes of size 1 move, else by a TRANSPOSE.
        """
        shape = self.shape(name) if shape is None else shape
        key = (name, order, shape)
        constant = self.constant(name)
        if constant is not None:
            if key not in self._constants:
                array = np.transpose(constant.reshape(shape), order)
                self._constants[key] = self.add_constant(array, name)
            return self._constants[key]
        value = self._values[name]
        lying = layout.padded(value.order, len(shape))
        if lying == order and len(value.order) == len(order):
            return value.tensor
        if key not in self._arranged:
            target = layout.physical(shape, order)
            if layout.moved(shape, lying) == layout.moved(shape, order):
                self._arranged[key] = self.reshape_tensor(value.tensor, target)
            else:
                held = layout.physical(shape, lying)
                perm = tuple(lying.index(axis) for axis in order)
                made = self._transpose(name, value.tensor, held, perm)
                self._arranged[key] = self.reshape_tensor(made, target)
        return self._arranged[key]

    def _transpose(self, name: str, tensor: str, shape: Shape, perm: Order) -> str:
        """A tensor, of this shape, transposed; of many axes those that stay together are one."""
        if len(shape) > _MAX_TRANSPOSED:
            shape, perm = layout.merged(shape, perm)
            if len(shape) > _MAX_TRANSPOSED + 1:
                raise Refused("it transposes too many axes", got=len(shape), limit=_MAX_TRANSPOSED + 1)
        held = self.reshape_tensor(tensor, shape)
        inputs: list[str | None] = [held, self.add_constant(np.array(perm, np.int32), "perm")]
        made = ValueType(self.dtype(name), layout.physical(shape, perm))
        return self.emit("TRANSPOSE", inputs, made, f"{name}_transposed")

    def logical(self, name: str) -> str:
        """The tensor that holds a value in ONNX's order."""
        return self.arrange(name, layout.identity(len(self.shape(name))))

    def transposed(self, name: str, perm: Order) -> str:
        """A value of its own that is `name` transposed; it lies in the same tensor."""
        made = f"{name}^{perm}"
        known, constant = self.type(name), self.constant(name)
        self._facts.types[made] = ValueType(known.dtype, layout.physical(known.shape, perm))
        if constant is not None:
            self._facts.constants[made] = np.transpose(constant, perm)
        else:
            value = self._values[name]
            self._values[made] = Value(value.tensor, layout.transposed(value.order, perm))
        return made

    def reshape_tensor(self, tensor: str, shape: Shape, hint: str | None = None) -> str:
        """The tensor with another shape: itself if it has it already."""
        held = self.graph.tensors[tensor]
        if held.shape == shape:
            return tensor
        inputs: list[str | None] = [tensor, self.add_constant(np.array(shape, np.int32), "shape")]
        return self.emit(
            "RESHAPE",
            inputs,
            ValueType(held.dtype, shape),
            hint or f"{tensor}_reshaped",
            **_new_shape(shape),
        )

    def add_constant(self, array: np.ndarray, hint: str) -> str:
        """A new constant tensor."""
        name = self._fresh(hint)
        data = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a scalar [1]
        self.graph.tensors[name] = GraphTensor(name, data.shape, data.dtype.name, data)
        return name

    def add_input(self, name: str, *, channels_last: bool = False) -> None:
        """Make an ONNX graph input an input of the graph, in ONNX's order of axes unless `channels_last`."""
        known, half = self.type(name), self.half(name)
        order = _end_order(known.shape, channels_last=channels_last)
        tensor, shape = self._fresh(name), layout.physical(known.shape, order)
        self.graph.tensors[tensor] = GraphTensor(tensor, shape, "float16" if half else known.dtype)
        self.graph.inputs[name] = tensor
        self.bind(name, self.cast(tensor, "float32", f"{name}_float32") if half else tensor, order)

    def add_output(self, name: str, *, channels_last: bool = False) -> None:
        """Make an ONNX value an output of the graph, in ONNX's order of axes unless `channels_last`."""
        tensor = self.arrange(name, _end_order(self.shape(name), channels_last=channels_last))
        if self.half(name):
            tensor = self.cast(tensor, "float16", name)
        taken = {*self.graph.inputs.values(), *self.graph.outputs.values()}
        if tensor in taken or self.graph.tensors[tensor].data is not None:
            # a runtime may not share one tensor between two ends of the graph, nor give out a constant
            shape = self.graph.tensors[tensor].shape
            target = self.add_constant(np.array(shape, np.int32), "shape")
            made = ValueType(self.graph.tensors[tensor].dtype, shape)
            tensor = self.emit("RESHAPE", [tensor, target], made, name, **_new_shape(shape))
        self.graph.outputs[name] = tensor

    def cast(self, tensor: str, dtype: str, hint: str) -> str:
        """The tensor in another dtype: itself if it has it already.

        Between integers CAST keeps the low bits, as NumPy does.
        """
        held = self.graph.tensors[tensor]
        if held.dtype == dtype:
            return tensor
        source, target = schema_name(held.dtype), schema_name(dtype)
        made = ValueType(dtype, held.shape)
        return self.emit("CAST", [tensor], made, hint, inDataType=source, outDataType=target)

    # --- operators

    def emit(self, builtin: str, inputs: list[str | None], made: ValueType, hint: str, **options: Any) -> str:
        """Add an operator with one output of type `made` (its shape as it lies) and give that tensor."""
        named = [name for name in inputs if name is not None]
        shapes = [self.graph.tensors[name].shape for name in named]
        few = builtin in _FOUR_AXES or (builtin in _FOUR_AXES_OF_INTEGERS and made.dtype != "float32")
        if few and len(made.shape) > 4 and any(shape != made.shape for shape in shapes):
            *fewer, target = layout.together(shapes, made.shape)
            inputs = [self._viewed(name, shape) for name, shape in zip(named, fewer, strict=True)]
            [tensor] = self.emit_many(builtin, inputs, [ValueType(made.dtype, target)], [hint], **options)
            return self.reshape_tensor(tensor, made.shape, hint)
        return self.emit_many(builtin, inputs, [made], [hint], **options)[0]

    def _viewed(self, tensor: str, shape: Shape) -> str:
        """The tensor in another shape; a constant is reshaped here, and one number stays a scalar."""
        held = self.graph.tensors[tensor]
        if held.data is None:
            return self.reshape_tensor(tensor, shape)
        target = () if held.data.size == 1 else shape
        return tensor if held.shape == target else self.add_constant(held.data.reshape(target), tensor)

    def emit_many(
        self,
        builtin: str,
        inputs: list[str | None],
        made: list[ValueType],
        hints: list[str],
        **options: Any,
    ) -> list[str]:
        """Add an operator with several outputs of these types (their shapes as they lie).

        Raises:
            Refused: an option is a number that the file format cannot hold.
        """
        for option, value in options.items():
            if isinstance(value, int) and not -MAX_ELEMENTS <= value <= MAX_ELEMENTS:
                raise Refused(f"{builtin} cannot take such a {option}", got=value, limit=MAX_ELEMENTS)
        first = self.graph.tensors[inputs[0]] if inputs and inputs[0] is not None else None
        kept = first.quantization if first is not None and builtin in _KEEP_SCALE else None
        names = []
        for known, hint in zip(made, hints, strict=True):
            name = self._fresh(hint)
            self.graph.tensors[name] = GraphTensor(name, known.shape, known.dtype)
            if first is not None and first.dtype == known.dtype and kept and len(kept.scale) == 1:
                self.graph.tensors[name].quantization = kept
            self._makers[name] = builtin
            names.append(name)
        sources = (self.source,) if self.source >= 0 else ()
        filled = tables.complete(builtin, options)
        self.graph.operators.append(GraphOperator(builtin, inputs, names, filled, sources))
        return names

    def produce(
        self, output: str, builtin: str, inputs: list[str | None], order: Order, **options: Any
    ) -> None:
        """Add the operator that computes the ONNX value `output` with its axes in `order`."""
        known = self.type(output)
        made = ValueType(known.dtype, layout.physical(known.shape, order))
        self.bind(output, self.emit(builtin, inputs, made, output, **options), order)

    def made_by(self, tensor: str) -> str | None:
        """The type of the operator that makes a tensor, None for inputs and constants."""
        return self._makers.get(tensor)

    def _fresh(self, hint: str) -> str:
        name, count = hint, 0
        while name in self.graph.tensors:
            count += 1
            name = f"{hint}_{count}"
        return name


def _end_order(shape: Shape, *, channels_last: bool) -> Order:
    return layout.channels_last(len(shape)) if channels_last else layout.identity(len(shape))


def _new_shape(shape: Shape) -> dict[str, list[int]]:
    """The option of RESHAPE; a file cannot tell the empty list of a scalar from none."""
    return {"newShape": list(shape)} if shape else {}


def elements(shape: Shape) -> int:
    """The number of elements of a shape."""
    return math.prod(shape)
