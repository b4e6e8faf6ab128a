"""An opened model at work: its function traced for static shapes, run as the reference or converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from converters.shaping import resolve
from converters.tensorflow.job import Job
from converters.tensorflow.source import Source
from device_agent.errors import InvalidModel, UnsupportedOperator

if TYPE_CHECKING:
    import numpy as np

MOST_NODES = 20_000  # of an unrolled function; conversion time grows faster than their number
_ASSIGN = re.compile(r"Assign(Add|Sub)?VariableOp|ResourceScatter\w+|Assign")
_NODE = re.compile(r"'tf\.(\w+)' op")


class Opened:
    """A source with static input shapes; inputs that the job binds are constants of it.

    Args:
        source: what was opened.
        job: what its inputs get.

    Raises:
        InvalidRequest: the job does not fit the inputs.
        InvalidModel: an input stays open.
    """

    def __init__(self, source: Source, job: Job) -> None:
        self.source = source
        self._path = job.path
        found = resolve(source.inputs, job.shaping(), job.path)
        self._bound = [found.bound.get(one.name) for one in source.inputs]
        self.inputs = tuple(
            (one.name, one.dtype, found.shapes[one.name])
            for one in source.inputs
            if one.name not in found.bound
        )

    @cached_property
    def _reference(self) -> Any:
        return self._traced()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the source model once, as it is.

        Raises:
            InvalidModel: TensorFlow cannot run it.
        """
        import tensorflow as tf

        function = self._reference
        try:
            outputs = function(*(tf.constant(inputs[name]) for name, _, _ in self.inputs))
        except Exception as e:  # errors of TensorFlow and of NumPy
            raise self._invalid("TensorFlow cannot run the model", e) from e
        return {name: value.numpy() for name, value in zip(self.source.outputs, outputs, strict=True)}

    def convert(self) -> bytes:
        """The model as a TFLite file in float; what TFLite has no operator for becomes a custom one.

        Raises:
            UnsupportedOperator: it changes its variables, or unrolls to too much, or the converter refuses.
            InvalidModel: TensorFlow cannot trace it.
        """
        with self.source.unrolled() as unrolled:
            function = self._traced()
        self._check(function, unrolled=unrolled)
        try:
            return _converted(function, with_tensorflow_operators=False)
        except Exception as first:  # noqa: BLE001 - ConverterError, ValueError, RuntimeError, ...; kept
            try:
                return _converted(function, with_tensorflow_operators=True)
            except Exception as e:
                raise self._refused(first) from e

    def export(self, folder: str) -> None:
        """Write the model as a SavedModel of these shapes, its ends under the source's names.

        Raises:
            InvalidModel: TensorFlow cannot trace it, or not save it.
        """
        import tensorflow as tf

        function = self._reference
        keywords = [f"input_{index:04}" for index in range(len(self.inputs))]

        def call(**given: Any) -> dict[str, Any]:
            made = function(*(given[key] for key in keywords))
            return {f"output_{index:04}": value for index, value in enumerate(made)}

        specs = {
            key: tf.TensorSpec(shape, dtype, name=key)
            for key, (_, dtype, shape) in zip(keywords, self.inputs, strict=True)
        }
        holder = tf.Module()
        holder.kept = self.source.kept  # owns the variables
        holder.call = tf.function(call, autograph=False)
        try:
            signature = holder.call.get_concrete_function(**specs)
            tf.saved_model.save(holder, folder, signatures=signature)
        except Exception as e:  # errors of TensorFlow and of the layers' own code
            raise self._invalid("TensorFlow cannot save it as a SavedModel", e) from e

    def _traced(self) -> Any:
        import tensorflow as tf

        def call(*given: Any) -> list[Any]:
            free = iter(given)
            tensors = [next(free) if value is None else tf.constant(value) for value in self._bound]
            return self.source.call(tensors)

        specs = [
            tf.TensorSpec(shape, dtype, name=f"input_{index:04}")
            for index, (_, dtype, shape) in enumerate(self.inputs)
        ]
        try:
            return tf.function(call, autograph=False).get_concrete_function(*specs)
        except Exception as e:  # errors of TensorFlow and of the layers' own code
            raise self._invalid("TensorFlow cannot build the model for these shapes", e) from e

    def _check(self, function: Any, *, unrolled: bool) -> None:
        graph = function.graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        writing = [node.name for node in nodes if _ASSIGN.fullmatch(node.op)]
        if writing:
            raise UnsupportedOperator(
                "the model changes its own variables, which a compiled model cannot",
                where=f"{self._path}: {', '.join(writing[:3])}",
                next_step="Make what it keeps between two runs an input and an output.",
            )
        if unrolled and len(nodes) > MOST_NODES:
            raise UnsupportedOperator(
                "its recurrent layers would become too many operators, step by step",
                where=self._path,
                got=str(len(nodes)),
                expected=f"at most {MOST_NODES}",
                next_step="Give fewer time steps with `--input-shape`, or make the state an input and an "
                "output, and run one step at a time.",
            )

    def _invalid(self, what: str, error: Exception) -> InvalidModel:
        text = " ".join(str(error).split())
        return InvalidModel(
            what,
            where=self._path,
            got=f"{type(error).__name__}: {text[:400]}",
            next_step="Check its input shapes: `--input-shape NAME=1,...` gives others.",
        )

    def _refused(self, error: Exception) -> UnsupportedOperator:
        lines = [line for line in str(error).splitlines() if "error:" in line] or str(error).splitlines()
        named = sorted(set(_NODE.findall(str(error))))
        said = " ".join(" ".join(lines[:2]).split())[:400]
        return UnsupportedOperator(
            "TensorFlow's converter refuses the model",
            where=self._path,
            got=", ".join(named) + f": {said}" if named else said,
            next_step="Replace what it names by layers that TFLite has operators for.",
        )


def _converted(function: Any, *, with_tensorflow_operators: bool) -> bytes:
    """The function as a TFLite file, its variables frozen into it.

    Frozen here and not through a SavedModel, as `from_keras_model` does it: that takes twenty times longer.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.exclude_conversion_metadata = True  # the same model gives the same file
    if with_tensorflow_operators:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter.allow_custom_ops = True
    return bytes(converter.convert())
