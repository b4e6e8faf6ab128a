"""The PyTorch reader: an exported program (`.pt2`) becomes ONNX in a process of its own, and goes on as that.

torch is never imported here: `torch_archive` judges the file with the standard library, `torch_child` does
the rest behind `child.Child`.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.readers import child, onnx, torch_archive
from converters.readers.child import Child
from device_agent.errors import InvalidModel

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from converters.graph.ir import Graph
    from converters.model import Model
    from converters.readers.base import Arrays
    from converters.shaping import Shaping
    from converters.verdict import Verdict

EXPORT_SECONDS = 900.0  # a large transformer takes two minutes
OPEN_SECONDS = 300.0
RUN_SECONDS = 300.0
_MODULE = "converters.readers.torch_child"


@frozen
class TorchSource:
    """The payload of a PyTorch model: its ONNX form, and the file that holds the program."""

    onnx: Model
    program: Path


@frozen
class TorchReader:
    """Reads exported programs; see `readers.base.Reader`. The payload of its models is a `TorchSource`."""

    name: str = "torch"
    suffixes: tuple[str, ...] = (".pt2", ".pt", ".pth")
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in a file of `torch.export.save`; inputs and outputs are named as in the program.

        Raises:
            FileMissing: there is no such file.
            InvalidModel: a state_dict, a pickled module, TorchScript; truncated, corrupt, another format; it
                holds pickles; torch cannot make ONNX of it; a dimension stays open.
            InvalidRequest: see `readers.onnx`.
            MissingDependency: torch or onnxscript is not installed.
        """
        sha256, size_bytes = child.digest(path)
        torch_archive.check(path)
        child.require("torch", "onnxscript", extra="torch")
        folder = Path(tempfile.mkdtemp(prefix="edge-"))
        try:
            made = folder / f"{path.stem}.onnx"
            request = {"kind": "export", "path": str(path.absolute()), "to": str(made)}
            with Child(_MODULE, "PyTorch") as torch, child.at(path):
                torch.ask(request, where=str(path), seconds=EXPORT_SECONDS)
            with child.at(path, made):
                through = onnx.reader.read(made, shaping)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        payload = TorchSource(through, path.absolute())
        # large weights are read from the ONNX file when they are needed: it goes with the model
        weakref.finalize(payload, shutil.rmtree, folder, ignore_errors=True)
        return evolve(
            through, path=path, format=self.name, sha256=sha256, size_bytes=size_bytes, payload=payload
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The graph of the model's ONNX form, and a verdict per ONNX node."""
        return onnx.reader.lower(model.payload.onnx)

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """PyTorch itself, in a process that ends with the last reference to the function.

        Raises:
            InvalidModel: torch cannot run the program; or the file is another one than was read.
            MissingDependency: torch is not installed.
        """
        source = model.payload
        if child.digest(source.program)[0] != model.sha256:
            raise InvalidModel(
                "the file has changed since it was read",
                where=str(model.path),
                next_step="Run the command again.",
            )
        child.require("torch", extra="torch")
        torch = Child(_MODULE, "PyTorch")
        where = str(model.path)
        request = {"kind": "open", "path": str(source.program)}
        with child.at(model.path):
            opened = torch.ask(request, where=where, seconds=OPEN_SECONDS)

        bound = source.onnx.shaping.bind
        turned = onnx.images(source.onnx)

        def run(inputs: Arrays) -> dict[str, np.ndarray]:
            feed = {name: x.transpose(0, 3, 1, 2) if name in turned else x for name, x in inputs.items()}
            with child.at(model.path):
                request = child.pack({**bound, **feed})
                answer = torch.ask({"kind": "run"}, request, where=where, seconds=RUN_SECONDS)
            made = child.unpack(answer.payload)
            return {name: y.transpose(0, 2, 3, 1) if name in turned else y for name, y in made.items()}

        return f"torch {opened.head['version']}", run


reader = TorchReader()
