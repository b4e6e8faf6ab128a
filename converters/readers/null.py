"""The null format: a JSON file that only names inputs and outputs, for the road without a real model.

{"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}], "outputs": [...]}
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters.model import Model, Operator
from converters.readers.files import content
from converters.verdict import Verdict
from device_agent import codec, runtimes
from device_agent.bundle import TensorSpec
from device_agent.errors import InvalidModel, InvalidRequest
from device_agent.runtimes.null import null_model
from device_agent.tensors import DTYPES, Tensor

if TYPE_CHECKING:
    import numpy as np

    from converters.graph.ir import Graph
    from converters.readers.base import Arrays
    from converters.shaping import Shaping


@frozen
class _File:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class NullReader:
    """Reads null models; see `Reader`."""

    name = "null"
    suffixes = (".null.json",)
    folders: tuple[str, ...] = ()

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in that file; open first dimensions become the batch.

        Raises:
            InvalidModel: the file does not hold a null model.
            InvalidRequest: more than the batch is to be fixed.
        """
        if shaping.input_shapes or shaping.bind or shaping.dynamic or shaping.layout != "keep":
            raise InvalidRequest(
                "of a null model only the batch can be chosen",
                where=str(path),
                next_step="Write the shapes it is to have into the file.",
            )
        data = content(path)
        try:
            file = codec.from_json(data, _File, where=str(path), exact=True)
            specs = [_checked(spec, shaping.batch) for spec in (*file.inputs, *file.outputs)]
        except InvalidRequest as e:
            raise InvalidModel(
                e.what,
                where=str(path),
                got=e.got,
                expected=e.expected or '{"inputs": [{"name", "dtype", "shape"}], "outputs": [...]}',
            ) from e
        return Model(
            path=path,
            format=self.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            inputs=tuple(specs[: len(file.inputs)]),
            outputs=tuple(specs[len(file.inputs) :]),
            operators=(Operator(0, "Null", "null"),),
            parameters=0,
            payload=None,
        )

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """Always a refusal: a null model has no graph, only the null backend takes it."""
        refusal = Verdict.no(
            "a null model computes nothing that could be compiled",
            operator="Null",
            place="null",
            help="Deploy it to a board of the null backend: `--target null`.",
        )
        return None, (refusal,) * len(model.operators)

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """The null runtime itself: what it answers is all a null model means."""
        import numpy as np

        runtime = runtimes.get("null")
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            file = Path(folder) / "reference.null.json"
            file.write_bytes(null_model(model.inputs, model.outputs))
            session = runtime.load(file)

        def run(feed: Arrays) -> dict[str, np.ndarray]:
            session.set_inputs(
                {
                    spec.name: Tensor(spec.dtype, spec.shape, feed[spec.name].astype(spec.dtype).tobytes())
                    for spec in model.inputs
                }
            )
            session.invoke()
            return {
                name: np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
                for name, tensor in session.get_outputs().items()
            }

        return f"null {runtime.version()}", run


def _checked(spec: TensorSpec, batch: int) -> TensorSpec:
    if spec.dtype not in DTYPES:
        raise InvalidRequest(f"{spec.name!r} has no dtype", got=spec.dtype, expected=", ".join(DTYPES))
    shape = (batch, *spec.shape[1:]) if spec.shape and spec.shape[0] == -1 else spec.shape
    if any(size < 1 for size in shape):
        raise InvalidRequest(
            f"{spec.name!r} has an open dimension",
            got=str(list(spec.shape)),
            expected="only the first may be -1",
        )
    return evolve(spec, shape=shape)


reader = NullReader()
