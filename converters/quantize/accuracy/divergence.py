"""Where a compiled model leaves its source: the first tensor, in order of execution, that deviates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from converters import registry
from converters.quantize.accuracy.fidelity import REPORT, runner, tolerance_of
from converters.readers.base import Held, Tracing
from device_agent.bundle import TensorSpec
from device_agent.errors import EdgeError, FidelityError

if TYPE_CHECKING:
    import numpy as np

    from converters.artifact import Artifact
    from converters.graph.ir import Graph
    from converters.model import Model
    from converters.quantize.accuracy.recording import Recording
    from converters.quantize.samples.calibration import Calibration
    from converters.readers.base import Trace

    Arrays = Mapping[str, np.ndarray]

_AT_ONCE = 1 << 26  # bytes of intermediate values that are compared in one run: two copies are held


@frozen
class Deviation:
    """How far a tensor is off: the greatest difference, and the range of the source's values."""

    difference: float
    span: float

    def exceeds(self, tolerance: float) -> bool:
        """Whether that is more than this share of the range; NaN or Inf in the wrong place always is."""
        return not self.difference <= tolerance * self.span


def deviation(expected: np.ndarray, got: np.ndarray) -> Deviation:
    """How far `got` is from `expected`, which has the same shape; infinite where one is not finite alone."""
    import numpy as np

    r, c = expected.astype(np.float64), got.astype(np.float64)
    same = (r == c) | (np.isnan(r) & np.isnan(c))
    difference = np.abs(np.subtract(r, c, out=np.zeros_like(r), where=~same))
    finite = r[np.isfinite(r)]
    span = float(finite.max(initial=0.0)) - float(finite.min(initial=0.0))
    worst = float(difference.max(initial=0.0))
    return Deviation(math.inf if math.isnan(worst) else worst, span)


def located(
    error: FidelityError, model: Model, artifact: Artifact, expected: Recording, data: Calibration
) -> FidelityError:
    """The error with the first tensor that deviates, where the model's reader can tell.

    The graph as it was lowered is looked through first; where all of it agrees with the source, what is
    left of it after the rewrites.
    """
    reader = registry.reader(model.format)
    if not isinstance(reader, Tracing) or artifact.execution is not None:
        return error  # what OpenVINO made of it is no graph of ours to look into
    sample = _worst(artifact, expected, data, tolerance_of(model))
    trace = reader.trace(model)
    if sample is None or not trace.values:
        return error
    for rewritten in (False, True):
        try:
            found = _first(model, artifact, trace, sample, rewritten=rewritten)
        except EdgeError:  # a runtime that cannot give one of the values: the error stays as it is
            return error
        if found is not None:
            return _named(error, model, artifact, *found, rewritten=rewritten)
    return error


def _worst(
    artifact: Artifact, expected: Recording, data: Calibration, tolerance: float
) -> dict[str, np.ndarray] | None:
    """The first sample of which an output deviates."""
    run = runner(artifact)
    for sample, wanted in expected.pairs(data):
        got = run(sample)
        for name, value in wanted.items():
            if got[name].shape != value.shape or deviation(value, got[name]).exceeds(tolerance):
                return sample
    return None


def _first(
    model: Model, artifact: Artifact, trace: Trace, sample: Arrays, *, rewritten: bool
) -> tuple[Held, Deviation | None] | None:
    """The first value that deviates, and how far; no deviation is given where its shape differs."""
    from converters.graph import passes

    graph, _ = registry.reader(model.format).lower(model)
    if graph is None:
        return None
    if rewritten:
        passes.run(graph)
    given = set(graph.inputs.values())
    held = [value for value in trace.values if value.tensor in graph.tensors and value.tensor not in given]
    for group in _groups(held, graph):
        expected = trace.run([value.name for value in group])(sample)
        got = _giving(artifact, graph, group)(sample)
        for value in group:
            wanted = expected[value.name].transpose(value.order)
            if wanted.shape != got[value.tensor].shape:
                if rewritten:  # a rewrite may use the name anew
                    continue
                return value, None
            off = deviation(wanted, got[value.tensor])
            if off.exceeds(tolerance_of(model)):
                return value, off
    return None


def _groups(held: Sequence[Held], graph: Graph) -> Iterator[list[Held]]:
    """The values in groups that are small enough to be held at once."""
    group: list[Held] = []
    size = 0
    for value in held:
        needed = 4 * math.prod(graph.tensors[value.tensor].shape)
        if group and size + needed > _AT_ONCE:
            yield group
            group, size = [], 0
        group.append(value)
        size += needed
    if group:
        yield group


def _giving(
    artifact: Artifact, graph: Graph, group: Sequence[Held]
) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """Runs the graph and gives the tensors of these values by their names in it."""
    from converters.graph.write import write

    tensors = dict.fromkeys(value.tensor for value in group)  # several values may lie in one
    outputs = tuple(
        TensorSpec(name, graph.tensors[name].dtype, graph.tensors[name].shape) for name in tensors
    )
    data = write(evolve(graph, outputs={name: name for name in tensors}))
    return runner(evolve(artifact, data=data, outputs=outputs))


def _named(
    error: FidelityError,
    model: Model,
    artifact: Artifact,
    value: Held,
    off: Deviation | None,
    *,
    rewritten: bool,
) -> FidelityError:
    """The error that names the tensor, its operator and what that reads, and what it came to in the end."""
    operator = model.operators[value.operator]
    read = ", ".join(repr(name) for name in value.inputs)
    got = "another shape"
    if off is not None:
        got = f"a difference of {off.difference:.3g} where its values span {off.span:.3g}"
    agree = f"; what it reads ({read}) still agrees" if read else ""
    stage = " after the rewrites, not before them," if rewritten else ""
    tolerance = tolerance_of(model)
    return FidelityError(
        f"{error.what}; the first tensor that deviates{stage} is {value.name!r}",
        where=f"{artifact.title}: {operator.type} {operator.name!r}",
        got=f"{got}{agree}; in the output {error.got}" if error.got else f"{got}{agree}",
        expected=f"at most {tolerance:g} of a tensor's range",
        next_step=REPORT,
    )
