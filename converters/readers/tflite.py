"""The TFLite reader: a `.tflite` file is a graph already, and its reference is its own runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from converters.model import Model, Operator
from converters.quantize.accuracy.fidelity import array_of, tensor_of
from converters.readers.files import content
from converters.verdict import Verdict
from device_agent import runtimes
from device_agent.bundle import TensorSpec
from device_agent.errors import EdgeError, InvalidModel
from device_agent.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from converters.graph.ir import Graph, GraphTensor
    from converters.readers.base import Arrays
    from converters.readers.tflite_shapes import Original
    from converters.shaping import Shaping

_LAYOUTS = {4: "NHWC", 5: "NDHWC"}  # by rank, of what a convolution or pool reads
_WINDOWED = frozenset(
    {"AVERAGE_POOL_2D", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "RESIZE_BILINEAR"}
    | {"RESIZE_NEAREST_NEIGHBOR"}
)
_KEEP_AXES = frozenset({"ADD", "CAST", "DEQUANTIZE", "DIV", "MUL", "PAD", "PADV2", "QUANTIZE", "SUB"})


@frozen
class TfliteSource:
    """The payload of a model whose source is, or became, a TFLite file.

    `original` is what `data` is compared with: the file as it came.
    """

    data: bytes = field(repr=False)
    where: str
    original: Original | None = None


class TfliteReader:
    """Reads TFLite files; see `readers.base.Reader`. The payload of its models is a `TfliteSource`."""

    name = "tflite"
    suffixes = (".tflite", ".lite")
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in a TFLite file.

        Raises:
            FileMissing: there is no such file.
            InvalidModel: truncated, corrupt, not TFLite, of several entry points, with sparse constants, or
                an axis beside the batch stays open.
            InvalidRequest: shapes or values that the model cannot take.
        """
        from converters.readers.tflite_shapes import original, shaped

        data = content(path)
        graph = read_graph(data, str(path))
        made, compared, resolved = shaped(original(data, graph, str(path)), graph, shaping)
        model = from_tflite(made, path, self.name)
        return evolve(
            model,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            payload=evolve(model.payload, original=compared),
            shaping=evolve(shaping, input_shapes=resolved.shapes, bind=resolved.bound),
            dynamic=resolved.dynamic,
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The file's own graph, read anew, and a verdict on each of its operators."""
        return lower(model)

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """LiteRT on the file as it came, on one thread, in a process of its own.

        Raises:
            InvalidModel: LiteRT refuses the file or crashes on it, when it is loaded or run.
        """
        from converters.readers.child import as_array, of_array
        from converters.readers.tflite_shapes import original, runner

        source = model.payload.original
        if source is None:
            where = model.payload.where
            source = original(model.payload.data, read_graph(model.payload.data, where), where)
        in_process = runner(source)

        def run(feed: Arrays) -> dict[str, np.ndarray]:
            got = in_process({s.name: as_array(tensor_of(feed[s.name], s)) for s in model.inputs})
            return {spec.name: array_of(of_array(got[spec.name]), spec) for spec in model.outputs}

        return f"litert {runtimes.get('litert').version()}", run


def read_graph(data: bytes, where: str) -> Graph:
    """The well-formed graph in a TFLite file; what nothing reads is still in it.

    Raises:
        InvalidModel: see `graph.read`; or its tensors and operators contradict each other.
    """
    from converters.graph import operands
    from converters.graph.read import read

    graph = read(data, where=where)
    operands.check(graph, where)
    return graph


def from_tflite(data: bytes, path: Path, format: str) -> Model:  # noqa: A002 - the field's name
    """A model whose source became the TFLite file `data`; digest and size are those of `data`.

    Raises:
        InvalidModel: not a TFLite file of one entry point, its tensors and operators contradict each other,
            or an end has a dtype that cannot be carried.
    """
    from converters.readers.tflite_verdicts import kind, notes, quantized

    source = TfliteSource(data, str(path))
    graph = _graph(source)
    form = quantized(graph)
    return Model(
        path=path,
        format=format,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        inputs=_specs(graph, graph.inputs, path),
        outputs=_specs(graph, graph.outputs, path),
        operators=tuple(
            Operator(index, kind(operator), _place(operator.outputs, operator.type))
            for index, operator in enumerate(graph.operators)
        ),
        parameters=sum(tensor.data.size for tensor in graph.tensors.values() if tensor.data is not None),
        payload=source,
        quantized=form,
        notes=notes(data, form, str(path)),
    )


def graph_of(model: Model) -> Graph:
    """The graph of a model that `from_tflite` made, fresh each time, also where an operator is refused."""
    return _graph(model.payload)


def lower(model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
    """The graph of a model that `from_tflite` made, fresh each time, and a verdict on each operator."""
    from converters.readers.tflite_constants import widen_constants
    from converters.readers.tflite_verdicts import judge

    graph = graph_of(model)
    verdicts = tuple(
        judge(operator, source.name)
        for operator, source in zip(graph.operators, model.operators, strict=True)
    )
    if not all(verdict.ok for verdict in verdicts):
        return None, verdicts
    widen_constants(graph)
    return graph, verdicts


@contextmanager
def malformed(model: Model) -> Iterator[None]:
    """What rewriting or counting a TFLite file raises where an operator has not the tensors it needs.

    Raises:
        InvalidModel: instead of it; of a graph that was lowered here it is a fault of ours, and stays.
    """
    try:
        yield
    except EdgeError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        if not isinstance(model.payload, TfliteSource):
            raise
        raise InvalidModel(
            "an operator's tensors do not fit it",
            where=str(model.path),
            got=f"{type(e).__name__}: {e}",
            next_step="Make the file anew: no runtime could run this one.",
        ) from e


def _graph(source: TfliteSource) -> Graph:
    """The graph in a source, without what nothing reads."""
    from converters.graph.verify import verify
    from converters.readers.tflite_constants import drop_unused

    graph = read_graph(source.data, source.where)
    drop_unused(graph)
    for tensor in graph.tensors.values():
        tensor.signature = None  # what is to stay open, `--dynamic` says
    for index, operator in enumerate(graph.operators):
        operator.sources = (index,)
    try:
        verify(graph, unknown_builtins=True)
    except InvalidModel as e:
        raise InvalidModel(e.what, where=f"{source.where}: {e.where}", got=e.got, expected=e.expected) from e
    return graph


def _problem(tensor: GraphTensor) -> tuple[str, str, str] | None:
    """What is wrong with an input or output: what, got, expected."""
    if tensor.dtype not in DTYPES:
        return "has a dtype that cannot be carried", tensor.dtype, ", ".join(DTYPES)
    if 0 in tensor.shape:
        return "has no elements", str(list(tensor.shape)), "sizes of at least 1"
    if tensor.quantization is not None and min(tensor.quantization.scale) <= 0:
        return "has a scale that is not positive", str(min(tensor.quantization.scale)), "a positive one"
    return None


def _layout(graph: Graph, place: str) -> str | None:
    """How a tensor's axes lie, where a convolution, pool or resize reads it; None where nothing tells."""
    seen, ahead = {place}, [place]
    while ahead:
        name = ahead.pop()
        for operator in graph.consumers(name):
            if operator.type in _WINDOWED and name == operator.inputs[0]:
                return _LAYOUTS.get(len(graph.tensors[name].shape))
            made = operator.outputs[0] if operator.type in _KEEP_AXES else place
            if made not in seen and len(graph.tensors[made].shape) == len(graph.tensors[place].shape):
                seen.add(made)
                ahead.append(made)
    return None


def _place(outputs: list[str], otherwise: str) -> str:
    return outputs[0] if outputs else otherwise


def _specs(graph: Graph, named: dict[str, str], path: Path) -> tuple[TensorSpec, ...]:
    found = []
    for name, place in named.items():
        tensor = graph.tensors[place]
        problem = _problem(tensor)
        if problem is not None:
            raise InvalidModel(
                f"an input or output {problem[0]}",
                where=f"{path}: {name!r}",
                got=problem[1],
                expected=problem[2],
            )
        layout = _layout(graph, place)
        found.append(TensorSpec(name, tensor.dtype, tensor.shape, layout, tensor.quantization))
    return tuple(found)


reader = TfliteReader()
