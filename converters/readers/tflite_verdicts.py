"""What of a TFLite file cannot be compiled again, and why."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from converters.graph.ir import Graph, GraphOperator, GraphTensor
from converters.graph.read import CALLERS, decoding
from converters.verdict import Verdict

# custom operators that the TFLite runtimes bring along
# https://github.com/google-ai-edge/LiteRT/blob/main/tflite/core/kernels/register.cc
BUNDLED_CUSTOM = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"})
_COMPILED = {"edgetpu-custom-op": "the Edge TPU", "ethos-u": "an Ethos-U"}  # custom code -> processor
_STATEFUL = frozenset(
    {"ASSIGN_VARIABLE", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE"}
    | {"READ_VARIABLE", "VAR_HANDLE"}
)
_OWN_METADATA = frozenset({"CONVERSION_METADATA", "min_runtime_version"})  # written anew, or of no use after
_MANY = 100
_PLACEHOLDERS = frozenset({"DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"})


def kind(operator: GraphOperator) -> str:
    """What an operator is called: `CONV_2D`, `CUSTOM:PosenetDecoderOp`."""
    return f"CUSTOM:{operator.options['customCode']}" if operator.type == "CUSTOM" else operator.type


def judge(operator: GraphOperator, place: str) -> Verdict:
    """Whether an operator of a TFLite file can stay; `place` names it."""
    name = kind(operator)
    if operator.type == "CUSTOM":
        refused = _custom(str(operator.options["customCode"]))
    elif operator.type.startswith("BUILTIN_"):
        refused = ("it is newer than the schema of this version", "Update edge-deployment-sdk.")
    elif operator.type in CALLERS:
        refused = (
            "it calls another subgraph, and a model of one graph is made",
            "Export the model without control flow.",
        )
    elif operator.type in _STATEFUL:
        refused = ("it keeps a state outside of the graph", "Export the state as inputs and outputs.")
    elif operator.type in _PLACEHOLDERS:
        refused = ("it stands for what was not written", "Give the file it was made from.")
    else:
        return Verdict.yes(f"becomes {operator.type}", operator=name, place=place)
    if not refused:
        return Verdict.yes(f"stays {name}", operator=name, place=place)
    return Verdict.no(refused[0], operator=name, place=place, help=refused[1])


def _custom(code: str) -> tuple[str, str] | None:
    if code in BUNDLED_CUSTOM:
        return None
    if code in _COMPILED:
        return f"it was compiled for {_COMPILED[code]} already", "Give the model it was compiled from."
    if code.startswith("Flex"):
        return (
            "it is an operator of TensorFlow, which the runtime has not",
            "Convert the source model with TFLITE_BUILTINS only.",
        )
    return (
        "it is a custom operator, for which the runtime has no kernel",
        "Leave it out of the model and compute it where its outputs are used.",
    )


def quantized(graph: Graph) -> str | None:
    """`full` if operators give quantised values, `weights` if only their weights are, else None."""
    found = None
    for operator in graph.operators:
        made = [graph.tensors[name] for name in operator.outputs]
        read = [graph.tensors[name] for name in operator.inputs if name is not None]
        if any(_steps(tensor) for tensor in made):
            return "full"
        if operator.type != "DEQUANTIZE" and any(_steps(tensor) for tensor in read):
            found = "weights"
    return found


def notes(data: bytes, form: str | None, where: str) -> tuple[str, ...]:
    """What a user should know of a readable TFLite file of that form (see `quantized`); `where` names it."""
    found = []
    if form == "full":
        found.append("the model is quantised already: its integers are kept as they are")
    if form == "weights":
        found.append("the model's weights are quantised already: they are kept as they are")
    with decoding(where):
        model = schema.Model.GetRootAs(data, 0)
        names = [model.Metadata(index).Name() or b"" for index in range(min(model.MetadataLength(), _MANY))]
    left = sorted({name.decode(errors="replace") for name in names} - _OWN_METADATA)
    if left:
        found.append(f"metadata of the file are not carried over: {', '.join(left)}")
    return tuple(found)


def _steps(tensor: GraphTensor) -> bool:
    return tensor.quantization is not None and tensor.dtype in ("int8", "uint8", "int16", "int4")
