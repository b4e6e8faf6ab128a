"""What came out of TensorFlow's converter: its ends under the source's names, and what is refused of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema
from attrs import evolve

from converters.graph.options import enum_names
from converters.verdict import Verdict
from device_agent.errors import InvalidModel, UnsupportedOperator

if TYPE_CHECKING:
    from converters.graph.ir import Graph
    from converters.model import Operator

_WINDOWS = {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
_PLAIN = {"PAD", "PADV2", "MIRROR_PAD", "MUL", "ADD", "SUB", "DIV"}  # may stand before a window and keep axes
_REPLACE = "Replace the layer by ones that TFLite has operators for, or leave it out and compute it apart."


def with_names(data: bytes, inputs: Sequence[str], outputs: Sequence[str], where: str) -> bytes:
    """The TFLite file with a signature that gives its ends these names, in order.

    Raises:
        InvalidModel: the file has other ends than the source, or the shape of one depends on values.
        UnsupportedOperator: it branches or loops at run time, or a shape inside depends on values.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    main = model.subgraphs[0]
    _check_static(model, outputs, where)
    if (len(main.inputs), len(main.outputs)) != (len(inputs), len(outputs)):
        raise InvalidModel(
            "the conversion has other inputs or outputs than its source",
            where=where,
            got=f"{len(main.inputs)} and {len(main.outputs)}",
            expected=f"{len(inputs)} and {len(outputs)}",
            next_step="This is a fault of the converter: please report it with the model.",
        )
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = _maps(inputs, main.inputs)
    signature.outputs = _maps(outputs, main.outputs)
    model.signatureDefs = [signature]
    return _packed(model, len(data))


def _maps(names: Sequence[str], indices: Sequence[int]) -> list[Any]:
    maps = []
    for name, index in zip(names, indices, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(index)
        maps.append(entry)
    return maps


def _packed(model: Any, size_bytes: int) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(size_bytes + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _check_static(model: Any, outputs: Sequence[str], where: str) -> None:
    """Refuse control flow and shapes that are known only at run time."""
    main = model.subgraphs[0]
    names = enum_names("BuiltinOperator")

    def kind(operator: Any) -> str:
        code = model.operatorCodes[operator.opcodeIndex]
        return names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def place(operator: Any) -> str:
        name = _text(main.tensors[operator.outputs[0]].name) if len(operator.outputs) else ""
        return name.split(";")[0]  # the layer's name, then those of the calls that it stood in

    if len(model.subgraphs) > 1:
        flow = [f"{kind(op)} at {place(op)!r}" for op in main.operators if kind(op) in ("WHILE", "IF")]
        raise UnsupportedOperator(
            "the model loops or branches at run time",
            where=where,
            got="; ".join(flow[:5]) or f"{len(model.subgraphs)} subgraphs",
            expected="operators in one fixed order",
            next_step="Recurrent layers of a Keras file are written out step by step; in a SavedModel they "
            "are loops: give the .keras file, or export it with `unroll=True` in these layers.",
        )
    for position, index in enumerate(main.outputs):
        if _is_open(main.tensors[index]):
            raise InvalidModel(
                "the shape of an output depends on the values of the inputs",
                where=f"{where}: output {outputs[position]!r}",
                expected="a static shape",
                next_step="Leave what selects by value out of the model, and compute it from its outputs.",
            )
    for operator in main.operators:
        if any(_is_open(main.tensors[index]) for index in operator.outputs if index >= 0):
            raise UnsupportedOperator(
                "the shape of a result depends on the values of the inputs",
                where=where,
                got=f"{kind(operator)} at {place(operator)!r}",
                expected="static shapes",
                next_step=_REPLACE,
            )


def _is_open(tensor: Any) -> bool:
    signature = tensor.shapeSignature
    return signature is not None and any(size < 0 for size in signature)


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def foreign_operators(graph: Graph) -> dict[int, str]:
    """Index -> TensorFlow's name of every operator that is not TFLite's own."""
    return {
        index: str(operator.options.get("customCode", "")).removeprefix("Flex")
        for index, operator in enumerate(graph.operators)
        if operator.type == "CUSTOM"
    }


def renamed(operators: Sequence[Operator], foreign: dict[int, str]) -> tuple[Operator, ...]:
    """The operators, those of TensorFlow under their own types."""
    return tuple(evolve(op, type=foreign[op.index]) if op.index in foreign else op for op in operators)


def refusals(operators: Sequence[Operator], foreign: dict[int, str]) -> tuple[Verdict, ...]:
    """A verdict per operator: no for those of TensorFlow."""
    return tuple(
        Verdict.no(
            f"TFLite has no operator for TensorFlow's {operator.type}",
            operator=operator.type,
            place=operator.name,
            help=_REPLACE,
        )
        if operator.index in foreign
        else Verdict.yes(f"becomes {operator.type}", operator=operator.type, place=operator.name)
        for operator in operators
    )


def layouts(graph: Graph) -> dict[str, str]:
    """The layouts of inputs that are images for certain: what a convolution or pool reads, maybe scaled."""
    return {
        name: "NHWC"
        for name, place in graph.inputs.items()
        if len(graph.tensors[place].shape) == 4 and _reaches_window(graph, place)
    }


def _reaches_window(graph: Graph, tensor: str) -> bool:
    waiting, seen = [tensor], set()
    while waiting:
        name = waiting.pop()
        for operator in graph.consumers(name):
            if operator.type in _WINDOWS and operator.inputs[0] == name:
                return True
            made = operator.outputs[0]
            same_rank = len(graph.tensors[made].shape) == 4
            if operator.type in _PLAIN and same_rank and made not in seen:
                seen.add(made)
                waiting.append(made)
    return False
