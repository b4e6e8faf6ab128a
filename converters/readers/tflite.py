"""The TFLite reader: a `.tflite` file is a graph already, and its reference is its own runtime."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from converters.model import Model, Operator
from converters.quantize.fidelity import array_of, tensor_of
from converters.quantize.quiet import quiet
from converters.verdict import Verdict
from device_agent import runtimes
from device_agent.bundle import TensorSpec
from device_agent.errors import FileMissing, InvalidModel, InvalidRequest
from device_agent.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from converters.graph.ir import Graph
    from converters.readers.base import Arrays
    from converters.shaping import Shaping


@frozen
class TfliteSource:
    """The payload of a model whose source is, or became, a TFLite file."""

    data: bytes = field(repr=False)
    where: str


class TfliteReader:
    """Reads TFLite files; see `readers.base.Reader`. The payload of its models is a `TfliteSource`."""

    name = "tflite"
    suffixes = (".tflite", ".lite")
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in a TFLite file.

        Raises:
            FileMissing: there is no such file.
            InvalidModel: truncated, corrupt, not TFLite, or of several subgraphs.
            InvalidRequest: shapes were asked for; those of a TFLite file are fixed.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError as e:
            raise FileMissing("no such model file", where=str(path)) from e
        except OSError as e:
            raise InvalidModel("the model file cannot be read", where=str(path), got=str(e)) from e
        if (
            shaping.batch != 1
            or shaping.input_shapes
            or shaping.bind
            or shaping.dynamic
            or shaping.layout != "keep"
        ):
            raise InvalidRequest(
                "the shapes of a TFLite file are fixed",
                where=str(path),
                next_step="Convert its source model anew with those shapes.",
            )
        made = from_tflite(data, path, self.name)
        return evolve(made, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The file's own graph, read anew, and a yes for each of its operators."""
        return lower(model)

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """LiteRT on the file as it came, on one thread of this machine."""
        runtime = runtimes.get("litert")
        with tempfile.TemporaryDirectory(prefix="edge-") as folder, quiet():
            file = Path(folder) / "reference.tflite"
            file.write_bytes(model.payload.data)
            session = runtime.load(file, threads=1)

        def run(feed: Arrays) -> dict[str, np.ndarray]:
            session.set_inputs({spec.name: tensor_of(feed[spec.name], spec) for spec in model.inputs})
            session.invoke()
            got = session.get_outputs()
            return {spec.name: array_of(got[spec.name], spec) for spec in model.outputs}

        return f"litert {runtime.version()}", run


def from_tflite(data: bytes, path: Path, format: str) -> Model:  # noqa: A002 - the field's name
    """A model whose source became the TFLite file `data`; digest and size are those of `data`.

    Raises:
        InvalidModel: not a TFLite file of one subgraph, or an end has a dtype that cannot be carried.
    """
    from converters.graph.read import read

    graph = read(data, where=str(path))
    return Model(
        path=path,
        format=format,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        inputs=_specs(graph, graph.inputs, path),
        outputs=_specs(graph, graph.outputs, path),
        operators=tuple(
            Operator(index, operator.type, operator.outputs[0] if operator.outputs else operator.type)
            for index, operator in enumerate(graph.operators)
        ),
        parameters=sum(tensor.data.size for tensor in graph.tensors.values() if tensor.data is not None),
        payload=TfliteSource(data, str(path)),
    )


def lower(model: Model) -> tuple[Graph, tuple[Verdict, ...]]:
    """The graph of a model that `from_tflite` made, fresh each time, and a yes for each operator."""
    from converters.graph.read import read

    graph = read(model.payload.data, where=model.payload.where)
    for index, operator in enumerate(graph.operators):
        operator.sources = (index,)
    verdicts = tuple(
        Verdict.yes(f"becomes {operator.type}", operator=operator.type, place=operator.name)
        for operator in model.operators
    )
    return graph, verdicts


def _specs(graph: Graph, named: dict[str, str], path: Path) -> tuple[TensorSpec, ...]:
    found = []
    for name, place in named.items():
        tensor = graph.tensors[place]
        if tensor.dtype not in DTYPES:
            raise InvalidModel(
                "an input or output has a dtype that cannot be carried",
                where=f"{path}: {name!r}",
                got=tensor.dtype,
                expected=", ".join(DTYPES),
            )
        found.append(TensorSpec(name, tensor.dtype, tensor.shape, None, tensor.quantization))
    return tuple(found)


reader = TfliteReader()
