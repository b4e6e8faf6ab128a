"""In-memory PyTorch modules: exported where they live, in the user's own process, then read as files are."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from converters.readers import torch
from device_agent.errors import InvalidModel, InvalidRequest

if TYPE_CHECKING:
    from converters.model import Model
    from converters.shaping import Shaping


def is_torch(source: object) -> bool:
    """Whether `source` is a torch module or an exported program; torch is not imported to find out."""
    package = sys.modules.get("torch")
    if package is None:
        return False
    return isinstance(source, package.nn.Module | package.export.ExportedProgram)


def read(
    source: Any,
    example_inputs: Sequence[Any] | None,
    example_kwargs: Mapping[str, Any] | None,
    shaping: Shaping,
) -> Model:
    """The model of a module or exported program; its path is the class's name, and names no file.

    Args:
        source: what `is_torch` takes. A module is exported by `torch.export.export`, in this process.
        example_inputs: positional arguments of a module's `forward`; their shapes become the model's.
        example_kwargs: keyword arguments of it.
        shaping: as for a file.

    Raises:
        InvalidRequest: a module without example inputs, in training mode, or not on the CPU.
        InvalidModel: torch cannot export it; otherwise as for a file.
        MissingDependency: onnxscript is not installed.
    """
    package = sys.modules["torch"]
    name = type(source).__name__
    if isinstance(source, package.nn.Module):
        program = _export(package, source, example_inputs, example_kwargs)
    elif example_inputs is not None or example_kwargs is not None:
        raise InvalidRequest("an exported program has its inputs already: no examples are taken", where=name)
    else:
        program, name = source, "program"
    folder = tempfile.mkdtemp(prefix="edge-")
    try:
        file = Path(folder) / f"{re.sub('[^A-Za-z0-9_-]', '_', name)}.pt2"
        try:
            package.export.save(program, file)
        except Exception as e:  # torch raises RuntimeError, AssertionError, TypeError, ...
            raise InvalidModel("torch cannot save the exported program", where=name, got=_line(e)) from e
        model = torch.reader.read(file, shaping)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # the reference runs that file: it goes when nobody can ask for it any more
    weakref.finalize(model.payload, shutil.rmtree, folder, ignore_errors=True)
    return evolve(model, path=Path(file.name))


def _export(
    package: Any, module: Any, inputs: Sequence[Any] | None, keywords: Mapping[str, Any] | None
) -> Any:
    name = type(module).__name__
    if inputs is None and keywords is None:
        raise InvalidRequest(
            "a torch module says nothing of its inputs",
            where=name,
            expected="example_inputs",
            next_step="edge_sdk.load(module, example_inputs=(torch.zeros(1, 3, 224, 224),))",
        )
    if isinstance(inputs, package.Tensor) or not isinstance(inputs, Sequence | None):
        raise InvalidRequest(
            "the example inputs are the positional arguments, as a tuple",
            where=name,
            got=type(inputs).__name__,
            expected="example_inputs=(tensor, ...)",
        )
    if any(part.training for part in module.modules()):
        raise InvalidRequest(
            "the module is in training mode",
            where=name,
            next_step="Call module.eval() first: dropout and batch normalisation compute otherwise there.",
        )
    places = {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} - {"cpu"}
    if places:
        raise InvalidRequest(
            "the module is not on the CPU",
            where=name,
            got=" and ".join(sorted(places)),
            next_step="Call module.cpu() first, and give example inputs there.",
        )
    try:
        return package.export.export(module, tuple(inputs or ()), dict(keywords or {}))
    except Exception as e:  # torch's export errors have no common base of their own
        raise InvalidModel(
            "torch.export.export cannot export the module",
            where=name,
            got=_line(e),
            next_step="Python control flow that depends on values must become torch.where or torch.cond.",
        ) from e


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
