"""What a reader of a model format must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np

    from converters.graph.ir import Graph
    from converters.model import Model
    from converters.shaping import Shaping
    from converters.verdict import Verdict

    Arrays = Mapping[str, np.ndarray]


class Reader(Protocol):
    """Reads one model format.

    `name` is the format's name, `suffixes` the file endings it takes (`.onnx`), `folders` the names of the
    files that make a folder one of this format (`saved_model.pb`).
    """

    name: str
    suffixes: tuple[str, ...]
    folders: tuple[str, ...]

    def read(self, path: Path, shaping: Shaping) -> Model:
        """The model in that file or folder, its inputs shaped as asked.

        Raises:
            InvalidModel: truncated, corrupt, another format, or a dimension stays open.
            InvalidRequest: `shaping` names an input that is not there, or asks what this format cannot do.
            MissingDependency: the package that reads the format is not installed.
        """
        ...

    def lower(self, model: Model) -> tuple[Graph | None, tuple[Verdict, ...]]:
        """The TFLite-level graph of a model this reader read, and a verdict per source operator.

        The graph is None if and only if a verdict is a no. Not rewritten yet (see `graph.passes`).
        """
        ...

    def reference(self, model: Model) -> tuple[str, Callable[[Arrays], dict[str, np.ndarray]]]:
        """The source model's own runtime: its name and version, and a function that runs one sample.

        The function takes and gives arrays by the names of `model.inputs` and `model.outputs`.
        """
        ...


@frozen
class Held:
    """A value of the source model, and the tensor of its lowered graph (before rewrites) that holds it.

    `operator` is the index of the source operator that computes the value, `inputs` the names of what that
    one reads. `order[p]` is the value's axis at the tensor's axis p.
    """

    name: str
    operator: int
    inputs: tuple[str, ...]
    tensor: str
    order: tuple[int, ...]


@frozen
class Trace:
    """The values of a source model that can be compared one by one, in the order they are computed.

    `run(names)` gives a function that runs one sample in the source's runtime and returns those values.
    """

    values: tuple[Held, ...]
    run: Callable[[Sequence[str]], Callable[[Arrays], dict[str, np.ndarray]]]


@runtime_checkable
class Tracing(Protocol):
    """A reader that can also say what its lowered graph computes on the way to its outputs."""

    def trace(self, model: Model) -> Trace:
        """The values of a model that lowers without a refusal."""
        ...
