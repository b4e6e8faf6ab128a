"""The process that TensorFlow runs in: takes questions on standard input until that ends, one at a time.

{"kind": "convert" | "run" | "export", "format", "path", "sha256", "batch", "shapes"} + tensors  ->
{"kind": "converted", "inputs", "declared", "outputs", "file"} | {"kind": "outputs", "version"} + tensors |
{"kind": "exported"} | {"kind": "error", "error"}

An export also has `to`: the folder of the SavedModel that is made.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from converters.tensorflow.job import Job, array_of, tensor_of
from device_agent import frames, tensors
from device_agent.errors import EdgeError, InvalidModel, MissingDependency
from device_agent.frames import Frame

if TYPE_CHECKING:
    from converters.tensorflow.opened import Opened

KEPT = 2  # models that stay open: their weights are in memory


def main() -> None:
    """Answer until the asker is gone, or has asked nothing for the seconds of the first argument."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what TensorFlow prints goes to the log
    questions: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, questions), daemon=True).start()
    models: dict[Job, Opened] = {}
    while True:
        try:
            question = questions.get(timeout=float(sys.argv[1]))
        except queue.Empty:
            os._exit(0)  # the listening thread holds standard input, which Python would wait for
        try:
            answer = _answer(question, models)
        except EdgeError as e:
            answer = Frame({"kind": "error", "error": e.to_json()})
        except RecursionError as e:
            error = InvalidModel("the model is nested too deeply", where=question.head["path"], got=str(e))
            answer = Frame({"kind": "error", "error": error.to_json()})
        out.write(answer.encode())
        out.flush()


def _listen(stream: BinaryIO, questions: queue.SimpleQueue[Frame]) -> None:
    """Pass questions on; at the end of the stream the asker is gone, and whatever is under way is in vain."""
    while (question := frames.read_blocking(stream)) is not None:
        questions.put(question)
    os._exit(0)


def _answer(question: Frame, models: dict[Job, Opened]) -> Frame:
    job, inputs = Job.parse(question.head, tensors.unpack(question.payload))
    opened = models.pop(job, None) or _open(job)
    models[job] = opened  # the latest stands last
    while len(models) > KEPT:
        models.pop(next(iter(models)))
    if question.kind == "run":
        outputs = opened.run({name: array_of(tensor) for name, tensor in inputs.items()})
        packed = tensors.pack({name: tensor_of(value) for name, value in outputs.items()})
        return Frame({"kind": "outputs", "version": _version()}, packed)
    if question.kind == "export":
        opened.export(question.head["to"])
        return Frame({"kind": "exported"})
    with tempfile.NamedTemporaryFile(suffix=".tflite", delete=False) as file:
        file.write(opened.convert())
    return Frame(
        {
            "kind": "converted",
            "inputs": [name for name, _, _ in opened.inputs],
            "declared": [[one.name, one.dtype, list(one.dimensions)] for one in opened.source.inputs],
            "outputs": list(opened.source.outputs),
            "file": file.name,
        }
    )


def _open(job: Job) -> Opened:
    from converters.tensorflow import examine

    found = examine.examine(Path(job.path)) if job.format == "keras" else None  # before seconds are spent
    try:
        import tensorflow  # noqa: F401 - only whether it can be imported
    except Exception as e:  # a broken installation surfaces as almost any exception
        raise MissingDependency(
            "tensorflow cannot be imported",
            got=" ".join(str(e).split())[:300],
            next_step="pip install 'edge-deployment-sdk[keras]'",
        ) from e
    from converters.tensorflow import keras_files, saved_models
    from converters.tensorflow.opened import Opened

    source = saved_models.open_folder(job) if found is None else keras_files.open_file(job, found)
    return Opened(source, job)


def _version() -> str:
    import tensorflow

    return str(tensorflow.__version__)


if __name__ == "__main__":
    main()
