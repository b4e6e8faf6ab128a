"""A `.tflite` file made leaner: read, rewritten, compared with itself on generated inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from converters import trial
from converters.readers.files import content
from device_agent.errors import FidelityError, InvalidModel
from device_agent.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

    from converters.graph.ir import Graph
    from converters.graph.passes.manager import Account

    Samples = list[dict[str, Tensor]]

SAMPLES = 4
RESIZED = 2  # what an open axis becomes in the second comparison
TOLERANCE = 1e-4  # of an output's greatest value: rewrites regroup sums and products of floats


@frozen
class Cost:
    """What a file costs: its size, the least runtime, and an estimate of the activation arena."""

    file_bytes: int
    arena_bytes: int
    least_runtime: str


@frozen
class Comparison:
    """How the outputs of the rewritten file compare with those of the file as it came.

    `max_abs_diff` is in the outputs' own unit; 0 where every bit is the same.
    """

    samples: int
    max_abs_diff: float
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether nothing differed."""
        return self.max_abs_diff == 0


@frozen
class Optimization:
    """A rewritten file, what each rewrite did, and the proof that it computes the same.

    Where no rewrite applied `data` is the file as it came. Golden samples are what both files computed alike,
    by public name; empty where the file holds operators that cannot be run here.
    """

    path: Path
    source: bytes = field(repr=False)
    data: bytes = field(repr=False)
    account: Account
    before: Cost
    after: Cost
    comparison: Comparison
    inputs: Samples = field(repr=False, factory=list)
    outputs: Samples = field(repr=False, factory=list)

    @property
    def changed(self) -> bool:
        """Whether any rewrite applied."""
        return self.data is not self.source


def optimize(path: Path, *, fix_shapes: bool = False) -> Optimization:
    """Rewrite a `.tflite` file as `graph.passes.optimize` does and compare it with itself.

    With `fix_shapes` axes that a run may resize become what the file states, which lets more rewrites apply.

    Raises:
        FileMissing: there is no such file.
        InvalidModel: not TFLite, corrupt, of several subgraphs, with something that would be lost, or one
            that cannot be run.
        FidelityError: the rewritten file computes something else, which is a fault of a rewrite.
    """
    from converters.graph import details, passes
    from converters.graph.read import read, text
    from converters.graph.write import SIGNATURE, write

    source = content(path)
    graph = read(source, where=str(path))
    if fix_shapes:
        for tensor in graph.tensors.values():
            tensor.signature = None
    parsed = details.parse(source)
    lost = details.obstacle(parsed)
    if lost is not None:
        raise InvalidModel("the file holds what a rewrite would lose", where=str(path), got=lost)
    before, outputs = _cost(graph, source), dict(graph.outputs)
    axes = {} if fix_shapes else details.open_axes(parsed)
    fixed = details.fixed_shapes(graph, parsed, fix_open=fix_shapes)
    account = passes.optimize(graph, fixed=fixed, fixed_inside=details.fixed_inside(graph, parsed))
    data = source
    if account.applied or details.open_axes(parsed).keys() - axes.keys():
        data = details.restored(write(graph), parsed, outputs, graph, keep_open=not fix_shapes)
    plain = read(source, where=str(path))
    if parsed.signatureDefs and text(parsed.signatureDefs[0].signatureKey) != SIGNATURE:
        plain.inputs = {name: name for name in plain.inputs.values()}  # what the runtime calls them
    custom = any(operator.type == "CUSTOM" for operator in plain.operators)
    samples = _samples(plain, {})
    if custom:
        comparison, _ = _compare(_without_custom(plain), _without_custom(graph), path)
        golden: Samples = []
        samples = []
    else:
        comparison, golden = _compare_files(source, data, samples, path)
        if axes and account.applied:
            comparison = _compare_resized(source, data, plain, axes, comparison, path)
    return Optimization(path, source, data, account, before, _cost(graph, data), comparison, samples, golden)


def _cost(graph: Graph, data: bytes) -> Cost:
    from converters.graph.cost import arena_bytes
    from converters.graph.runtimes import least_runtime
    from converters.graph.versions import version

    used = {(op.type, version(graph, op)) for op in graph.operators if op.type != "CUSTOM"}
    return Cost(len(data), arena_bytes(graph), least_runtime(used))


def _compare(before: Graph, after: Graph, path: Path) -> tuple[Comparison, Samples]:
    """Two graphs without what cannot be run."""
    from converters.graph.write import write

    comparison, outputs = _compare_files(write(before), write(after), _samples(before, {}), path)
    note = "custom operators were not run: what goes into them and comes out of them was compared"
    return Comparison(comparison.samples, comparison.max_abs_diff, (note,)), outputs


def _compare_files(source: bytes, data: bytes, samples: Samples, path: Path) -> tuple[Comparison, Samples]:
    expected = trial.run(source, samples, where=str(path))
    got = expected if data is source else trial.run(data, samples, where=f"{path}, rewritten")
    worst = 0.0
    for want, have in zip(expected, got, strict=True):
        for name, tensor in want.items():
            worst = max(worst, _difference(name, tensor, have.get(name), path))
    return Comparison(len(samples), worst), expected


def _compare_resized(
    source: bytes, data: bytes, graph: Graph, axes: dict[str, tuple[int, ...]], found: Comparison, path: Path
) -> Comparison:
    """The comparison once more with the open axes at another size, if the file as it came can do that."""
    shapes = {
        public: tuple(RESIZED if size == -1 else size for size in axes[name])
        for public, name in graph.inputs.items()
        if name in axes
    }
    samples = _samples(graph, shapes)[:1]
    try:
        trial.run(source, samples, where=str(path))
    except InvalidModel:
        return Comparison(
            found.samples, found.max_abs_diff, ("the file cannot be resized, though it says so",)
        )
    resized, _ = _compare_files(source, data, samples, path)
    return Comparison(
        found.samples + 1,
        max(found.max_abs_diff, resized.max_abs_diff),
        (f"open axes compared at {RESIZED} too",),
    )


def _samples(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> Samples:
    """Seeded inputs: normal numbers, every value of quantised integers, 0 to 9 of others."""
    import numpy as np

    generator = np.random.default_rng(0)
    samples: Samples = []
    for _ in range(SAMPLES):
        feed = {}
        for public, name in graph.inputs.items():
            tensor = graph.tensors[name]
            shape = shapes.get(public, tensor.shape)
            array: np.ndarray
            if tensor.dtype.startswith("float"):
                array = generator.normal(size=shape)
            elif tensor.quantization is not None:
                limits = np.iinfo(tensor.dtype)
                array = generator.integers(limits.min, limits.max, shape, endpoint=True)
            else:
                array = generator.integers(0, 2 if tensor.dtype == "bool" else 10, shape)
            feed[public] = Tensor(tensor.dtype, shape, array.astype(tensor.dtype).tobytes())
        samples.append(feed)
    return samples


def _difference(name: str, want: Tensor, have: Tensor | None, path: Path) -> float:
    """By how much an output differs at most; FidelityError where that is too much."""
    import numpy as np

    if have is None or (want.dtype, want.shape) != (have.dtype, have.shape):
        got = None if have is None else f"{have.dtype}{list(have.shape)}"
        raise _differs(name, path, got or "no such output", f"{want.dtype}{list(want.shape)}")
    if want.data == have.data:
        return 0.0
    expected, got_array = (_wide(np.frombuffer(t.data, t.dtype)) for t in (want, have))
    with np.errstate(all="ignore"):  # infinities of the same sign are the same
        apart = np.where(expected == got_array, 0.0, np.abs(expected - got_array))
    apart = np.where(np.isnan(expected) & np.isnan(got_array), 0.0, apart)
    worst = float(apart.max(initial=0.0))
    finite = expected[np.isfinite(expected)]
    limit = TOLERANCE * float(np.abs(finite).max(initial=0.0)) if want.dtype.startswith("float") else 0.0
    if not worst <= limit:
        raise _differs(name, path, f"a difference of {worst:.3g}", f"at most {limit:.3g}")
    return worst


def _wide(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array.astype(np.float64)


def _differs(name: str, path: Path, got: str, expected: str) -> FidelityError:
    return FidelityError(
        f"the rewritten file deviates in output {name!r}",
        where=str(path),
        got=got,
        expected=expected,
        next_step="This is a fault of a rewrite: please report it with the model. Nothing was written.",
    )


def _without_custom(graph: Graph) -> Graph:
    """The graph with its CUSTOM operators taken out: what they read is an output, what they make an input."""
    from converters.graph.ir import Graph

    inputs, outputs = dict(graph.inputs), dict(graph.outputs)
    customs = [operator for operator in graph.operators if operator.type == "CUSTOM"]
    made = {name for operator in customs for name in operator.outputs}
    kept = [operator for operator in graph.operators if operator.type != "CUSTOM"]
    for number, operator in enumerate(customs):
        for place, name in enumerate(operator.inputs):
            if name is not None and graph.constant(name) is None and name not in made:
                outputs[f"custom {number} reads {place}"] = name
        inputs.update({f"custom {number} makes {place}": name for place, name in enumerate(operator.outputs)})
    outputs = {public: name for public, name in outputs.items() if name not in made}
    used = {*inputs.values(), *outputs.values()}
    used |= {name for op in kept for name in (*op.inputs, *op.outputs, *op.intermediates) if name is not None}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in used}
    return Graph(tensors, kept, inputs, outputs)
