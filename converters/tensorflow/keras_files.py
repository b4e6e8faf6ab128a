"""Keras models from `.keras` and HDF5 files, by Keras 3 or, where that refuses, tf_keras."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from converters.tensorflow.examine import KerasFile
from converters.tensorflow.job import Job
from converters.tensorflow.source import Source, declared
from device_agent.errors import InvalidModel, UnsupportedOperator

# what makes a recurrent layer of Keras 3 or tf_keras write out its steps -> the value that does
_LOOPING = {"unroll": True, "_could_use_gpu_kernel": False, "use_cudnn": False}


def open_file(job: Job, file: KerasFile) -> Source:
    """The model in a Keras file that was examined.

    Raises:
        InvalidModel: no Keras that is installed can load it, or it states no inputs.
        UnsupportedOperator: a recurrent layer keeps its state between runs.
    """
    model, keras = _load(job, file)
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        raise InvalidModel(
            "the model states no inputs",
            where=job.path,
            got=type(model).__name__,
            next_step="Give it an Input of a known shape (or call it once on data), and save it anew.",
        )
    keeping = [layer.name for layer in _recurrent(model) if getattr(layer, "stateful", False)]
    if keeping:
        raise UnsupportedOperator(
            "recurrent layers keep their state between runs, which a compiled model cannot",
            where=f"{job.path}: {', '.join(keeping)}",
            got="stateful=True",
            expected="stateful=False",
            next_step="Make the state an input (`initial_state`) and an output (`return_state`).",
        )
    return Source(
        tuple(declared(one.name.split(":")[0], one.dtype, one.shape, job.path) for one in inputs),
        _unique(_output_names(model)),
        lambda tensors: _flatten(keras, model(_packed(keras, model, tensors), training=False)),
        model,
        lambda: _unrolled(model),
    )


def _load(job: Job, file: KerasFile) -> tuple[Any, ModuleType]:
    """The model, and the Keras that loaded it: the one it was saved with goes first."""
    order = [_by_keras, _by_tf_keras]
    if file.version.startswith("2."):
        order.reverse()
    refusals: list[tuple[str, Exception]] = []
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{file.ending}"  # Keras goes by the ending, we by the content
        link.symlink_to(Path(job.path).resolve())
        for load in order:
            try:
                return load(link)
            except ImportError as e:
                refusals.append(("tf_keras is not installed", e))
            except Exception as e:  # noqa: BLE001 - a bad file surfaces as almost any exception
                refusals.append((load.__name__.removeprefix("_by_"), e))
    name, error = next((entry for entry in refusals if not isinstance(entry[1], ImportError)), refusals[0])
    raise InvalidModel(
        f"{name} cannot load it",
        where=job.path,
        got=_short(error),
        next_step="Save the model anew with a current Keras: `model.save('model.keras')`; layers of your own "
        "go through `model.export('folder')`, whose SavedModel can be read.",
    ) from error


def _by_keras(path: Path) -> tuple[Any, ModuleType]:
    import keras

    return keras.models.load_model(path, compile=False, safe_mode=True), keras


def _by_tf_keras(path: Path) -> tuple[Any, ModuleType]:
    import tf_keras
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    with SafeModeScope(safe_mode=True):  # its HDF5 reader has no such argument
        return tf_keras.models.load_model(path, compile=False, safe_mode=True), tf_keras


def _short(error: Exception) -> str:
    """The part of Keras's message that says what is wrong: the cause, without the layer's whole config."""
    text = str(error)
    cause = text.rpartition("Exception encountered:")[2]
    return f"{type(error).__name__}: " + " ".join(cause.split())[:300]


def _output_names(model: Any) -> list[str]:
    names = getattr(model, "output_names", None)
    if names:
        return list(names)
    if type(model).__name__ == "Sequential":  # of Keras 3: has one output, and no name for it
        return [model.layers[-1].name]
    return [f"output_{index}" for index in range(len(model.outputs))]


def _unique(names: list[str]) -> tuple[str, ...]:
    """The names; of the outputs of one layer all but the first get a number."""
    found: dict[str, None] = {}
    for name in names:
        count = 1
        while (candidate := name if count == 1 else f"{name}_{count}") in found:
            count += 1
        found[candidate] = None
    return tuple(found)


def _packed(keras: ModuleType, model: Any, tensors: list[Any]) -> Any:
    """The inputs in the structure that the model was built with."""
    if isinstance(model, keras.Sequential):  # has one input, and no structure to ask for
        return tensors[0]
    if keras.__name__ == "tf_keras":
        import tensorflow as tf

        return tf.nest.pack_sequence_as(model.input, tensors)
    return keras.tree.pack_sequence_as(model.input, tensors)


def _flatten(keras: ModuleType, outputs: Any) -> list[Any]:
    if keras.__name__ == "tf_keras":
        import tensorflow as tf

        return list(tf.nest.flatten(outputs))
    return list(keras.tree.flatten(outputs))


def _recurrent(model: Any) -> list[Any]:
    """The layers that run over time, those inside of others too."""
    layers = getattr(model, "_flatten_layers", lambda: model.layers)()
    return [layer for layer in layers if hasattr(layer, "unroll")]


@contextmanager
def _unrolled(model: Any) -> Iterator[bool]:
    """The model's recurrent layers written out step by step instead of as a loop; whether there are any."""
    layers = _recurrent(model)
    before = [
        (layer, key, getattr(layer, key)) for layer in layers for key in _LOOPING if hasattr(layer, key)
    ]
    try:
        for layer, key, _ in before:
            setattr(layer, key, _LOOPING[key])
        yield bool(layers)
    finally:
        for layer, key, value in before:
            setattr(layer, key, value)
