"""What a Keras file says of itself, read before TensorFlow is imported: its kind, version and architecture.

A file must not make Keras run code: Python functions stored in Lambda layers, classes of other packages
(which Keras would import by the name the file gives) and TensorFlow functions that reach files are
refused here, by name, and not left to Keras alone, whose HDF5 readers had no such guard for years.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from device_agent.errors import InvalidModel, MissingDependency, UnsupportedOperator

_ARCHIVE, _HDF5 = ".keras", ".h5"
_PACKAGES = ("keras", "tf_keras", "builtins")  # whose classes a file may name
_NOT_LAYERS = {"utils", "datasets", "saving"}  # parts of these packages that hold no layers
_AGAIN = "Copy the file again, or save the model anew."
_EXPORT = (
    "Load it in Python where that code is and call `model.export('folder')`: the SavedModel in that folder "
    "holds operators in place of code, and can be read."
)
_WEIGHTS_ONLY = (
    "Build the model in Python, load these weights into it, and save both with `model.save('model.keras')`."
)
# namespaces of TensorFlow's functions that a layer of a functional model may call, and names at its top
_CALLED = ("math.", "nn.", "linalg.", "image.", "signal.", "__operators__.", "keras.activations.")
_CALLED_TOP = frozenset(
    """
    abs add add_n argmax argmin argsort broadcast_to cast clip_by_value concat constant
    convert_to_tensor cos cosh cumsum divide einsum equal erf exp expand_dims eye fill floor gather
    gather_nd greater greater_equal identity less less_equal linspace logical_and logical_not logical_or
    matmul maximum meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow
    range rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min
    reduce_prod reduce_sum repeat reshape reverse roll round rsqrt scalar_mul shape sigmoid sign sin
    sinh size slice softmax sort space_to_depth split sqrt square squeeze stack stop_gradient
    strided_slice subtract tan tanh tensordot tile transpose truediv unstack where zeros zeros_like
    """.split()  # noqa: SIM905 - a list of as many quoted words is harder to read
)
_CALLERS = {"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"}


@frozen
class KerasFile:
    """A Keras file by its content: the ending it should have, and the Keras it was saved with."""

    ending: str  # .keras: a zip archive of Keras 3, .h5: HDF5
    version: str  # "" where the file does not say
    config: Any = field(repr=False)


def examine(path: Path) -> KerasFile:
    """Read a Keras file's architecture and refuse what must not be loaded.

    Raises:
        InvalidModel: truncated, corrupt, another format, or weights without an architecture.
        UnsupportedOperator: it holds Python code, or names classes that are not Keras's own.
        MissingDependency: h5py, which comes with TensorFlow, is not installed.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        found = _archive(path)
    elif start == b"\x89HDF\r\n\x1a\n":
        found = _hdf5(path)
    else:
        raise InvalidModel(
            "not a Keras file: neither a zip archive nor HDF5",
            where=str(path),
            got=repr(start) if start else "an empty file",
            next_step=_AGAIN,
        )
    _check_config(found.config, str(path))
    return found


def _archive(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            missing = {"config.json", "metadata.json"} - names
            if missing:
                raise InvalidModel(
                    "not a Keras archive: it has no " + " and no ".join(sorted(missing)),
                    where=str(path),
                    next_step=_AGAIN if "model.weights.h5" not in names else _WEIGHTS_ONLY,
                )
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as e:
        if isinstance(e, InvalidModel):
            raise
        raise InvalidModel(
            "the Keras archive is truncated or corrupt", where=str(path), got=str(e)[:200], next_step=_AGAIN
        ) from e
    if damaged is not None:
        raise InvalidModel("the Keras archive is corrupt", where=f"{path}: {damaged}", next_step=_AGAIN)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return KerasFile(_ARCHIVE, str(version or ""), config)


def _hdf5(path: Path) -> KerasFile:
    try:
        import h5py
    except ImportError as e:
        raise MissingDependency(
            "h5py is missing", next_step="pip install 'edge-deployment-sdk[keras]'"
        ) from e
    try:
        with h5py.File(path, "r") as file:
            config = _text(file.attrs.get("model_config"))
            weights = file.get("model_weights", file)
            version = _text(weights.attrs.get("keras_version")) or _text(file.attrs.get("keras_version"))
        parsed = json.loads(config) if config is not None else None
    except Exception as e:  # h5py raises OSError, KeyError, RuntimeError, ... as its C library fails
        raise InvalidModel(
            "the HDF5 file is truncated or corrupt",
            where=str(path),
            got=" ".join(str(e).split())[:200],
            next_step=_AGAIN,
        ) from e
    if parsed is None:
        raise InvalidModel(
            "the file holds weights alone, which say nothing of the layers they belong to",
            where=str(path),
            got="no model_config",
            expected="a whole model",
            next_step=_WEIGHTS_ONLY,
        )
    return KerasFile(_HDF5, version or "", parsed)


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _check_config(config: Any, path: str) -> None:
    """Refuse an architecture that holds code or names classes of other packages."""
    refused = list(dict.fromkeys(why for entry in _entries(config) if (why := _refusal(entry)) is not None))
    if refused:
        raise UnsupportedOperator(
            "the model needs Python code, and code of a model file is never run",
            where=path,
            got="; ".join(refused[:5]) + (f" and {len(refused) - 5} more" if len(refused) > 5 else ""),
            expected="Keras's own layers",
            next_step=_EXPORT,
        )


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """Every object in an architecture that names a class, outermost first."""
    waiting = [config]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _refusal(entry: dict[str, Any]) -> str | None:
    """Why an object cannot be loaded, None if it can."""
    kind, config = str(entry["class_name"]), entry.get("config")
    own = config if isinstance(config, dict) else {}
    name = repr(str(own.get("name") or entry.get("name") or kind))
    if kind in ("Lambda", "__lambda__"):
        return f"{name} is a Lambda layer" if kind == "Lambda" else "a Python function as bytecode"
    module, registered = entry.get("module"), str(entry.get("registered_name") or "")
    parts = str(module).split(".") if module else ["keras"]
    if parts[0] not in _PACKAGES or _NOT_LAYERS.intersection(parts):
        return f"{name} is of the class {module}.{kind}"
    if ">" in kind or ">" in registered:
        return f"{name} is of the custom class {kind if '>' in kind else registered}"
    if kind in _CALLERS:
        called = str(own.get("function") or own.get("method_name") or own.get("attr_name") or "")
        if kind in ("TFOpLambda", "ClassMethod") and not (
            called in _CALLED_TOP
            or called.startswith(_CALLED)
            or called.removeprefix("compat.v1.") in _CALLED_TOP
        ):
            return f"{name} calls tf.{called}"
    return None
