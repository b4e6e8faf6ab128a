"""Small networks to repair, and what repairing them does to their quantised outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from attrs import define, evolve

from converters.graph.ir import Graph
from converters.graph.write import write
from converters.progress import silent
from converters.quantize.engine import Effect
from converters.quantize.integer.prepared import Prepared, copied
from converters.quantize.integer.quantizer import apply
from converters.quantize.integer.ranges import choose
from converters.quantize.integer.repairs import REPAIRS
from converters.quantize.integer.repairs.base import Context
from converters.quantize.integer.statistics import collect
from converters.quantize.integer.tracing import Tracing
from converters.quantize.samples.calibration import Calibration
from converters.quantize.scheme import Scheme
from tests.converters.graph.passes.conftest import Builder


def outputs(graph: Graph, calibration: Calibration) -> np.ndarray:
    """The first output of every sample: [samples, ...]."""
    tracing = Tracing(graph, write(graph))
    name = next(iter(graph.outputs.values()))
    found = []
    for sample in calibration.samples():
        tracing.run(sample)
        found.append(tracing.value(name).copy())
    return np.array(found)


@define
class Case:
    """A float network with its calibration samples, on its way to integers."""

    source: Graph
    calibration: Calibration
    scheme: Scheme
    prepared: Prepared
    context: Context

    @classmethod
    def of(cls, graph: Graph, calibration: Calibration, precision: str = "int8") -> "Case":
        """As the engine makes it: on a copy of the graph."""
        scheme = Scheme(precision, io="float")
        statistics = collect(graph, calibration, silent)
        prepared = copied(Prepared(graph, choose(statistics, "minmax")))

        def recalibrate() -> None:
            context.statistics = collect(prepared.graph, calibration, silent)
            prepared.ranges = choose(context.statistics, "minmax")

        context = Context(calibration, statistics, scheme, recalibrate)
        return cls(graph, calibration, scheme, prepared, context)

    def repair(self, name: str) -> Effect:
        """Apply a repair."""
        return REPAIRS[name](self.prepared, self.context)

    def snr_db(self, data: Calibration | None = None) -> float:
        """The quantised network's first output against the source's, on calibration samples or others."""
        data = data or self.calibration
        made, fallbacks = apply(self.prepared, self.scheme)
        assert () == fallbacks
        expected = outputs(self.source, data).astype(np.float64)
        noise = ((expected - outputs(made, data)) ** 2).sum()
        return float(10 * np.log10((expected**2).sum() / noise))

    def state(self) -> list[Any]:
        """What a repair may change, to be compared."""
        made = self.prepared
        graph = evolve(made.graph, tensors={name: evolve(one) for name, one in made.graph.tensors.items()})
        rounded = {name: one.integers.tolist() for name, one in made.rounded.items()}
        biases = {name: one.tolist() for name, one in made.corrections.items()}
        return [graph.tensors, [evolve(one) for one in graph.operators], dict(made.ranges), rounded, biases]


def _seeded(graph: Graph, count: int = 32, seed: int = 0, scale: float = 1.0) -> Calibration:
    shape = graph.tensors["x"].shape
    x = np.random.default_rng(seed).normal(scale=scale, size=(count, *shape)).astype(np.float32)
    return Calibration("seeded", count, lambda: ({"x": sample} for sample in x))


def _depthwise(b: Builder, tensor: str, multiplier: int = 1, **options: Any) -> str:
    batch, height, width, channels = b.graph.tensors[tensor].shape
    made = channels * multiplier
    inputs = [tensor, b.constant(1, 3, 3, made), b.constant(made)]
    given = {"padding": "SAME", "strideH": 1, "strideW": 1, "depthMultiplier": multiplier, **options}
    return b.add("DEPTHWISE_CONV_2D", list(inputs), (batch, height, width, made), **given)


def _tower() -> Graph:
    """x: float32[1, 8, 8, 4] -> convolution, depthwise, pointwise, mean, dense: what small networks hold."""
    b = Builder((1, 8, 8, 4))
    made = b.conv("x", 16, "SAME", fusedActivationFunction="RELU")
    made = _depthwise(b, made, fusedActivationFunction="RELU")
    made = b.conv(made, 12, "VALID", stride=2, fusedActivationFunction="RELU")
    axes = b.constant(value=[1, 2], dtype="int32")
    made = b.add("MEAN", [made, axes], (1, 12), keepDims=False)
    return b.outputs(b.dense(made, 10))


@pytest.fixture(scope="session")
def case() -> Callable[..., Case]:
    """`case(graph, calibration, precision)`."""
    return Case.of


@pytest.fixture(scope="session")
def seeded() -> Callable[..., Calibration]:
    """Normal inputs for a graph: `seeded(graph, count, seed, scale)`."""
    return _seeded


@pytest.fixture(scope="session")
def depthwise() -> Callable[..., str]:
    """Adds a 3x3 DEPTHWISE_CONV_2D: `depthwise(builder, tensor, multiplier, **options)`."""
    return _depthwise


@pytest.fixture
def tower() -> Graph:
    """A small network; see `_tower`."""
    return _tower()


@pytest.fixture(scope="session")
def zoo_case(zoo) -> Callable[[str, str], tuple[Case, Calibration]]:
    """A network of the zoo up to its class scores, calibrated on one half of its data; the other half."""
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    from converters import registry
    from converters.backends.litert import rewrite
    from converters.shaping import Shaping

    def made(name: str, data: str) -> tuple[Case, Calibration]:
        path = zoo / "models/onnx" / f"{name}.onnx"
        model = registry.reader_for(path).read(path, Shaping())
        graph, _ = registry.reader("onnx").lower(model)
        assert graph is not None
        rewrite(graph, model)
        if graph.operators[-1].type == "SOFTMAX":
            last = graph.operators.pop()
            del graph.tensors[last.outputs[0]]
            graph.outputs = {"scores": last.inputs[0] or ""}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.npz"
            command = [sys.executable, str(zoo / "load.py"), data, "--split", "train", "--out", str(file)]
            subprocess.run(command, check=True, capture_output=True)
            with np.load(file) as loaded:
                x = loaded["x"]
        spec = model.inputs[0]
        rows = x.reshape(len(x), *spec.shape).astype(np.float32)

        def part(start: int) -> Calibration:
            chosen = rows[start:100:2]
            return Calibration("zoo", len(chosen), lambda: ({spec.name: row} for row in chosen))

        return Case.of(graph, part(0)), part(1)

    return made
