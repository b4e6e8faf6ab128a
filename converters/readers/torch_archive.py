"""What a PyTorch file is, found out with the standard library: no torch, and no pickle is executed.

An exported program (`torch.export.save`) is a zip of JSON and raw tensors. It is let through only if
nothing in it makes torch run code of the file's choice when it is loaded: no pickled tensors and objects,
no compiled libraries, no expression beyond arithmetic (torch evaluates them), no target outside torch's
operators. Everything else is refused with the way out.
"""

from __future__ import annotations

import ast
import json
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from device_agent.errors import InvalidModel

_ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|extra/.*|models/model\.json|"
    r"data/sample_inputs/model\.pt|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
)
_CONFIGS = re.compile(r"data/(weights|constants)/model_\w+_config\.json")
_TARGET = re.compile(r"torch\.ops(\.\w+)+|(_operator|math)\.\w+|torch\._?sym_\w+")
_NAME = re.compile(r"\w*")
_MAX_EXPRESSION = 2000  # characters
# what the pickle of a state_dict names: tensors, their storages, and containers
_PLAIN = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|\w+)|"
    r"torch\.storage\.\w+|torch\.nn\.parameter\.(Parameter|Buffer)|torch\._tensor\._rebuild\w+|"
    r"torch\.serialization\._get_layout|numpy(\._?core)?\.\w+(\.\w+)*|_codecs\.encode|"
    r"(builtins|__builtin__)\.(set|frozenset|complex|bytearray|slice|range)"
)
_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Constant,
    ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.Tuple,
)  # fmt: skip

_EXPORT = (
    "`module.eval()`, `program = torch.export.export(module, (example_input,))`, "
    "`torch.export.save(program, {program!r})`"
)


def check(path: Path) -> None:
    """Nothing, if the file is an exported program that may be loaded.

    Raises:
        InvalidModel: a state_dict, a pickled module, TorchScript, a compiled package, a program that holds
            pickles; or damaged, or no PyTorch file at all.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise _no_zip(path)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.partition("/")[2]: entry.filename for entry in entries}
            if min((entry.header_offset for entry in entries), default=1):
                raise _damaged(path, "only the end of a zip file, or one inside of it, is whole")
            if _is_script(names):
                raise _script(path)
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise _foreign(path, "a zip file with compressed entries, which PyTorch does not write")
            damaged = archive.testzip()
            if damaged is not None:
                raise _damaged(path, f"{damaged!r} does not match its checksum")
            if "archive_format" in names:
                _program(path, archive, names)
            else:
                raise _no_program(path, archive, names)
    except InvalidModel:
        raise
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, RuntimeError, ValueError, LookupError) as e:
        raise _damaged(path, str(e)) from e  # what zipfile raises where the directory of entries is damaged


def _program(path: Path, archive: zipfile.ZipFile, names: dict[str, str]) -> None:
    if any(name.startswith("data/aotinductor/") for name in names):
        raise InvalidModel(
            "this package holds a compiled library for one machine, not a program",
            where=str(path),
            expected="a file of torch.export.save",
            next_step=f"Export the module: {_export(path)}.",
        )
    if "models/model.json" not in names:
        raise InvalidModel(
            "the archive holds no program called 'model'",
            where=str(path),
            expected="a file of torch.export.save",
            next_step=f"Export the module: {_export(path)}.",
        )
    entries = archive.namelist()
    if len({name.partition("/")[0] for name in entries}) > 1 or len(names) < len(entries):
        raise _foreign(
            path, "an archive of several folders, or with an entry twice"
        )  # torch may read the other
    strange = sorted(name for name in names if not _ENTRIES.fullmatch(name))
    if strange:
        raise _pickled(path, strange[0])
    for name in sorted(filter(_CONFIGS.fullmatch, names)):
        for key, entry in _json(path, archive, names[name]).get("config", {}).items():
            if entry.get("use_pickle") or not _ENTRIES.fullmatch(f"data/weights/{entry.get('path_name')}"):
                raise _pickled(path, key)
    program = _json(path, archive, names["models/model.json"])
    for key, value in _strings(program):
        if not _harmless(key, value):
            raise InvalidModel(
                "the program holds an entry that no export writes",
                where=str(path),
                got=f"{key} = {value[:80]!r}",
                next_step="Do not load it with torch either; export the module anew.",
            )


def _harmless(key: str, value: str) -> bool:
    if key == "target":
        return _TARGET.fullmatch(value) is not None
    if key == "name":
        return _NAME.fullmatch(value) is not None
    return key != "expr_str" or _is_arithmetic(value)


def _is_arithmetic(text: str) -> bool:
    """Whether an expression only calculates: torch gives it to sympy, which evaluates it as Python."""
    if len(text) > _MAX_EXPRESSION:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in nodes:
        if not isinstance(node, _ARITHMETIC):
            return False
        if isinstance(node, ast.Name) and node.id.startswith("__"):
            return False
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id[:1].isupper()
        ):
            return False  # sympy's functions are classes; no function of Python's own is capitalised
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str | bytes)
            and not re.fullmatch(r"_?[A-Za-z]\w*", str(node.value))
        ):
            return False  # a text would be evaluated in its turn
    return True


def _is_sympy(function: str) -> bool:
    """Whether a function can only be sympy's: most are capitalised, and none of Python's own is."""
    return function[:1].isupper() or function in ("floor", "ceiling", "sqrt", "log", "exp", "sign")


def _strings(tree: Any) -> Iterator[tuple[str, str]]:
    """Every string of a JSON tree that stands under a key; metadata, which nothing evaluates, left out."""
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            for key, value in node.items():
                if isinstance(value, str):
                    yield key, value
                elif key != "metadata":
                    todo.append(value)


def _json(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    try:
        found = json.loads(archive.read(name))
    except (ValueError, RecursionError) as e:
        raise _damaged(path, f"{name!r} is not JSON") from e
    if not isinstance(found, dict):
        raise _damaged(path, f"{name!r} is not a JSON object")
    return found


def _is_script(names: dict[str, str]) -> bool:
    return "constants.pkl" in names or any(name.startswith("code/") for name in names)


def _script(path: Path) -> InvalidModel:
    return InvalidModel(
        "this is a TorchScript file, which cannot be exported",
        where=str(path),
        expected="an exported program (.pt2)",
        next_step=f"Build the module from its Python source and export it: {_export(path)}.",
    )


def _no_program(path: Path, archive: zipfile.ZipFile, names: dict[str, str]) -> InvalidModel:
    """What a zip without a program is: an old one, or what `torch.save` wrote."""
    if "serialized_exported_program.json" in archive.namelist():
        return InvalidModel(
            "this program was saved by a PyTorch before 2.8",
            where=str(path),
            next_step=f"Load it there and save it with a newer one, or export anew: {_export(path)}.",
        )
    if "data.pkl" in names:
        with archive.open(names["data.pkl"]) as stream:
            return _saved(path, stream)
    return _foreign(path, "a zip file of something else")


def _no_zip(path: Path) -> InvalidModel:
    """What a file that is no zip is: a pickle of an old `torch.save`, a cut zip, or foreign."""
    with path.open("rb") as stream:
        start = stream.read(2)
        stream.seek(0)
        if start == b"PK":
            return _damaged(path, "a zip file without its end")
        if start[:1] == b"\x80":  # the first byte of every pickle of protocol 2 or later
            return _saved(path, stream)
    return _foreign(path, "an empty file" if not start else "no zip file")


def _saved(path: Path, stream: IO[bytes]) -> InvalidModel:
    """What `torch.save` wrote, judged by the names that its pickles import."""
    imported = list(dict.fromkeys(_imports(stream)))
    if not imported:
        return _foreign(path, "a pickle without tensors")
    needed = [name for name in imported if not _PLAIN.fullmatch(name)]
    if needed:
        return InvalidModel(
            "this is a pickled module or checkpoint: reading it would run code",
            where=str(path),
            got=", ".join(needed[:3]) + (" ..." if len(needed) > 3 else ""),
            expected="an exported program (.pt2)",
            next_step="If you trust it, load it in the project that wrote it and export it there: "
            f"`module = torch.load({path.name!r}, weights_only=False)`, {_export(path)}.",
        )
    return InvalidModel(
        "this is a state_dict: weights without the computation",
        where=str(path),
        expected="an exported program (.pt2)",
        next_step="Build the module, load the weights and export it: "
        f"`module.load_state_dict(torch.load({path.name!r}, weights_only=True))`, {_export(path)}.",
    )


def _imports(stream: IO[bytes]) -> Iterator[str]:
    """What the pickles of a stream import, as `module.name`; ends where there is no pickle."""
    try:
        while True:
            texts: list[str] = []
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    yield str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(texts[-2:])
                elif "UNICODE" in opcode.name:
                    texts.append(str(argument))
    except (ValueError, EOFError, IndexError):
        return  # the end, or the raw tensors of an old file


def _export(path: Path) -> str:
    return _EXPORT.format(program=f"{path.stem}.pt2")


def _damaged(path: Path, got: str) -> InvalidModel:
    return InvalidModel(
        "a damaged or truncated PyTorch file",
        where=str(path),
        got=got,
        next_step="Copy the file again, or export it anew.",
    )


def _foreign(path: Path, got: str) -> InvalidModel:
    return InvalidModel(
        "this is no PyTorch file",
        where=str(path),
        got=got,
        expected="an exported program (.pt2)",
        next_step=f"Export the module: {_export(path)}.",
    )


def _pickled(path: Path, name: str) -> InvalidModel:
    return InvalidModel(
        "the program holds pickled or unknown objects, which could run code",
        where=str(path),
        got=repr(name),
        expected="tensors and operators only",
        next_step="Export the module without custom classes among its weights and constants.",
    )
