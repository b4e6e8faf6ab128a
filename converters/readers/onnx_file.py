"""An ONNX file as a checked message: recognised, parsed, its external data found, its versions known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from converters.readers.files import content, reading
from converters.readers.magic import recognize
from device_agent.errors import InvalidModel, MissingDependency

if TYPE_CHECKING:
    import onnx

INSTALL = "pip install edge-deployment-sdk"
OLDEST_OPSET = 7  # older operator sets broadcast in other ways; what can be is brought up to this one
_MAX_MESSAGE = (1 << 31) - 1  # bytes: no protobuf parser takes more
_MAX_WEIGHTS = (1 << 31) - 1  # bytes of all weights: the offsets in a TFLite file are of 32 bits


@frozen
class OnnxFile:
    """A checked message, and the digest and size of its file.

    Large initializers are external data: see `lowering.weights`.
    """

    proto: onnx.ModelProto
    sha256: str
    size_bytes: int


def open_file(path: Path) -> OnnxFile:
    """Read and check an ONNX file.

    Raises:
        FileMissing: there is no such file.
        InvalidModel: truncated, corrupt, not ONNX, too large, or what it refers to is not there.
        MissingDependency: onnx is not installed.
    """
    data = _bytes(path)
    proto = _parse(path, data)
    made = OnnxFile(proto, hashlib.sha256(data).hexdigest(), len(data))
    del data
    _find_external(path, proto)
    _check_weights(path, proto)
    _check_versions(path, proto)
    _check(path, proto)
    return OnnxFile(_inlined(path, _upgraded(path, proto)), made.sha256, made.size_bytes)


def invalid(path: Path, what: str, cause: Exception | None = None) -> InvalidModel:
    """The error for a file that is no good as it is."""
    got = " ".join(str(cause).split())[:400] if cause is not None else None
    return InvalidModel(
        what, where=str(path), got=got or None, next_step="Copy the file again, or export it anew."
    )


def _bytes(path: Path) -> bytes:
    with reading(path):
        size = path.stat().st_size
    if size > _MAX_MESSAGE:
        raise InvalidModel(
            "an ONNX file cannot be larger than two gigabytes",
            where=str(path),
            got=f"{size} bytes",
            expected=f"at most {_MAX_MESSAGE}",
            next_step="Save it with its weights beside it: "
            "onnx.save(model, path, save_as_external_data=True).",
        )
    return content(path)


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    """The message in the file, its large weights left there."""
    try:
        import onnx
    except ImportError as e:
        raise MissingDependency("onnx is missing", next_step=INSTALL) from e
    from converters.readers.onnx_wire import slim

    known = recognize(data[:64])
    if known is not None:
        raise InvalidModel(
            "not an ONNX file", where=str(path), got=known.name, expected="ONNX", next_step=known.advice
        )
    if not data:
        raise invalid(path, "not an ONNX file: it is empty")
    try:
        proto = onnx.load_model_from_string(slim(data, path))
    except Exception as e:  # protobuf's DecodeError has a different home in each of its implementations
        raise invalid(path, "not an ONNX file, or a truncated one", e) from e
    if not proto.graph.node and not proto.graph.output:
        raise invalid(path, "not an ONNX file: it holds no graph")
    if not proto.graph.output:
        raise invalid(path, "its graph has no output")
    for value in proto.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_value < 0:  # some exporters mean an open one; ONNX's own C++ ends the process
                dimension.Clear()
    return proto


def _find_external(path: Path, proto: onnx.ModelProto) -> None:
    """Let initializers that lie in files beside the model say where, in full; load those of subgraphs."""
    from onnx.external_data_helper import load_external_data_for_model

    from converters.lowering.weights import is_external
    from converters.readers.onnx_wire import reference

    for tensor in proto.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if is_external(tensor) and "mtime_ns" not in entries:
            file, offset, length = _located(path, tensor, entries)
            del tensor.external_data[:]
            tensor.MergeFrom(reference(file, offset, length))
    found = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    try:
        load_external_data_for_model(proto, str(path.parent))
    except Exception as e:  # onnx's own ValidationError, OSError and ValueError
        raise invalid(path, "its external data cannot be read", e) from e
    finally:
        proto.graph.initializer.extend(found)


def _located(path: Path, tensor: onnx.TensorProto, entries: dict[str, str]) -> tuple[Path, int, int]:
    """The file, offset and length of an initializer's bytes, checked."""
    from converters.lowering.weights import size_bytes

    place = f"{path}: initializer {tensor.name!r}"
    name = entries.get("location", "")
    folder = path.parent.resolve()
    try:
        file = (folder / name).resolve()
        there = file.is_file()
        held = file.stat().st_size if there else 0
        needed = size_bytes(tensor)
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or needed or 0)
    except (OSError, TypeError, ValueError, KeyError) as e:
        raise invalid(path, f"the external data of initializer {tensor.name!r} cannot be read", e) from e
    if not name or Path(name).is_absolute() or not file.is_relative_to(folder):
        raise InvalidModel(
            "its external data lies outside the model's folder",
            where=place,
            got=repr(name),
            expected="a file beside the model",
            next_step="Put the file beside the model and export it anew with that name.",
        )
    if not there:
        raise InvalidModel(
            "the file of its external data is missing",
            where=place,
            got=f"no file {str(file)!r}",
            next_step=f"Copy {file.name!r} into the model's folder.",
        )
    if needed is None or length != needed or offset < 0 or offset + length > held:
        raise InvalidModel(
            "its external data does not hold what the initializer states",
            where=place,
            got=f"bytes {offset} to {offset + length} of {held} in {file.name!r}",
            expected=f"{needed} bytes" if needed is not None else "a dtype of a fixed size",
            next_step="Copy both files again, or export the model anew.",
        )
    return file, offset, length


def _check_weights(path: Path, proto: onnx.ModelProto) -> None:
    from converters.lowering.weights import is_external, size_bytes

    total = 0
    for tensor in proto.graph.initializer:
        if tensor.data_type not in type(tensor).DataType.values() or any(size < 0 for size in tensor.dims):
            raise InvalidModel(
                "an initializer has a shape or dtype that ONNX has not",
                where=f"{path}: initializer {tensor.name!r}",
                got=f"dtype {tensor.data_type}, shape {list(tensor.dims)}",
            )
        if is_external(tensor):
            total += size_bytes(tensor) or 0
    if total > _MAX_WEIGHTS:
        raise InvalidModel(
            "the model's weights are larger than a TFLite file can hold",
            where=str(path),
            got=f"{total} bytes",
            expected=f"at most {_MAX_WEIGHTS}",
            next_step="Convert its parts one by one, or a smaller model.",
        )


def _check_versions(path: Path, proto: onnx.ModelProto) -> None:
    import onnx

    if proto.ir_version > onnx.IR_VERSION:
        raise _too_new(path, "format version (ir_version)", proto.ir_version, int(onnx.IR_VERSION))
    newest = {"": onnx.defs.onnx_opset_version(), "ai.onnx": onnx.defs.onnx_opset_version()}
    for entry in proto.opset_import:
        if entry.version > newest.get(entry.domain, entry.version):
            raise _too_new(path, "operator set", entry.version, newest[entry.domain])


def _too_new(path: Path, what: str, got: int, known: int) -> InvalidModel:
    import onnx

    return InvalidModel(
        f"its {what} is newer than the installed onnx {onnx.__version__} knows",
        where=str(path),
        got=str(got),
        expected=f"at most {known}",
        next_step="Install a newer one (`pip install --upgrade onnx`), or export for an older operator set.",
    )


def _check(path: Path, proto: onnx.ModelProto) -> None:
    """ONNX's own checker; what it cannot see of weights in files was checked before."""
    import onnx

    from converters.lowering.weights import is_external

    checked = onnx.ModelProto()
    checked.CopyFrom(proto)
    inside = [tensor for tensor in proto.graph.initializer if not is_external(tensor)]
    listed = {value.name for value in proto.graph.input}
    if len(inside) < len(proto.graph.initializer):  # to the checker, those in files are inputs
        del checked.graph.initializer[:]
        checked.graph.initializer.extend(inside)
        for tensor in proto.graph.initializer:
            if is_external(tensor) and tensor.name not in listed:
                checked.graph.input.append(
                    onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
    try:
        onnx.checker.check_model(checked)
    except Exception as e:  # ValidationError, and ValueError above two gigabytes
        raise invalid(path, "the ONNX checker refuses it", e) from e


def _upgraded(path: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model at the oldest operator set that is read; itself where it is of that or a later one."""
    import onnx
    from onnx import version_converter

    from converters.lowering.facts import opset_of
    from converters.lowering.weights import is_external

    opset = opset_of(proto)
    if opset >= OLDEST_OPSET:
        return proto
    cause: Exception | None = None
    if not any(is_external(tensor) for tensor in proto.graph.initializer):
        try:
            made = version_converter.convert_version(proto, OLDEST_OPSET)
            onnx.checker.check_model(made)  # it lets through what it has no rule for
            return made
        except Exception as e:  # noqa: BLE001 - the C++ side throws several kinds; raised from it below
            cause = e
    raise InvalidModel(
        "its operator set is too old, and onnx cannot convert it to a newer one",
        where=str(path),
        got=f"operator set {opset}" + (f" ({' '.join(str(cause).split())[:200]})" if cause else ""),
        expected=f"at least {OLDEST_OPSET}",
        next_step="Export the model anew for a newer operator set.",
    ) from cause


def _inlined(path: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions taken apart."""
    from onnx import inliner

    if not proto.functions:
        return proto
    try:
        return inliner.inline_local_functions(proto)
    except Exception as e:  # the C++ side throws several kinds
        raise invalid(path, "its functions cannot be taken apart", e) from e
