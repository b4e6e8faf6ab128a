"""What the readers of Keras and SavedModel files share: TensorFlow converts and runs their models."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from converters.readers.files import reading
from converters.readers.tflite import TfliteSource, from_tflite
from converters.readers.tflite import lower as lower_tflite
from converters.shaping import Declared, resolve
from converters.tensorflow.job import Job, array_of, tensor_of
from converters.tensorflow.process import tensorflow
from device_agent import tensors
from device_agent.errors import InvalidRequest, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from converters.graph.ir import Graph
    from converters.model import Model
    from converters.readers.base import Arrays
    from converters.shaping import Shaping
    from converters.verdict import Verdict

KEPT = 4  # conversions of this process: plan, convert and inspect of one model convert it once


@frozen
class TensorFlowSource(TfliteSource):
    """The payload: the converted file, the job it came of, and which operators TFLite has not.

    `owner` keeps what the source file needs to go on existing (a model that came from memory).
    """

    job: Job = field(kw_only=True)
    foreign: dict[int, str] = field(kw_only=True)
    owner: Any = field(default=None, repr=False, kw_only=True)


class TensorFlowReader:
    """Reads models that TensorFlow converts; see `readers.base.Reader`.

    Args:
        name: the format's name.
        suffixes: the file endings it takes.
        folders: the files that make a folder one of this format.
        measure: the digest and the size in bytes of a file or folder.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[Path], tuple[str, int]],
        *,
        suffixes: tuple[str, ...] = (),
        folders: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.suffixes = suffixes
        self.folders = folders
        self._measure = measure

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in that file or folder, its open batch made static.

        Raises:
            FileMissing: there is nothing at `path`.
            InvalidModel: truncated, corrupt, another format, or a dimension stays open.
            InvalidRequest: `shaping` does not fit the model.
            UnsupportedOperator: it needs Python code, keeps state, or loops at run time.
            MissingDependency: TensorFlow is not installed.
        """
        sha256, size_bytes = self._measured(path)
        job = Job.of(self.name, path, sha256, shaping)
        data, inputs = _converted(job)
        resolved = resolve(inputs, shaping, str(path))
        made = from_tflite(data, path, self.name)
        return evolve(
            self._described(made, job, size_bytes),
            shaping=evolve(shaping, input_shapes=resolved.shapes, bind=resolved.bound),
            dynamic=resolved.dynamic,
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The converted graph, read anew, and a verdict per operator: no for TensorFlow's own."""
        if model.payload.foreign:
            from converters.readers.converted import refusals

            return None, refusals(model.operators, model.payload.foreign)
        return lower_tflite(model)

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """TensorFlow on the source model as it is, in its own process.

        Raises:
            InvalidModel: TensorFlow cannot run it.
            InvalidRequest: the file has changed since it was read.
        """
        job: Job = model.payload.job
        if self._measured(Path(job.path))[0] != job.sha256:
            raise InvalidRequest(
                "the model's file has changed since it was read", where=job.path, next_step="Read it again."
            )

        def ask(feed: Arrays) -> tuple[str, dict[str, np.ndarray]]:
            payload = tensors.pack(job.payload({name: tensor_of(value) for name, value in feed.items()}))
            answer = tensorflow.ask({"kind": "run", **job.head()}, payload, about=job.path)
            made = {name: array_of(tensor) for name, tensor in tensors.unpack(answer.payload).items()}
            return str(answer.head["version"]), made

        def run(feed: Arrays) -> dict[str, np.ndarray]:
            return ask(feed)[1]

        import numpy as np

        zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in model.inputs}
        return f"tensorflow {ask(zeros)[0]}", run  # the first run also opens and traces the model

    def _measured(self, path: Path) -> tuple[str, int]:
        with reading(path):
            return self._measure(path)

    def _described(self, made: Model, job: Job, size_bytes: int) -> Model:
        """The model of the converted file as that of its source."""
        from converters.graph.read import read
        from converters.readers import converted

        graph = read(made.payload.data, where=job.path)
        foreign = converted.foreign_operators(graph)
        layouts = converted.layouts(graph)
        return evolve(
            made,
            sha256=job.sha256,
            size_bytes=size_bytes,
            inputs=tuple(evolve(spec, layout=layouts.get(spec.name)) for spec in made.inputs),
            operators=converted.renamed(made.operators, foreign),
            payload=TensorFlowSource(made.payload.data, made.payload.where, job=job, foreign=foreign),
        )


@lru_cache(maxsize=KEPT)
def _converted(job: Job) -> tuple[bytes, tuple[Declared, ...]]:
    """The model as a TFLite file with the source's names, and the inputs as the source declares them."""
    from converters.readers.converted import with_names

    payload = tensors.pack(job.payload({}))
    answer = tensorflow.ask({"kind": "convert", **job.head()}, payload, about=job.path)
    file = Path(str(answer.head["file"]))
    try:
        data = file.read_bytes()
        file.unlink()
    except OSError as e:
        raise ProtocolError("TensorFlow's answer cannot be read", where=job.path, got=str(e)) from e
    inputs = tuple(Declared(name, dtype, tuple(sizes)) for name, dtype, sizes in answer.head["declared"])
    return with_names(data, answer.head["inputs"], answer.head["outputs"], job.path), inputs
