"""The peer's side of accuracy_control.py, run by a Python that has nncf, openvino and numpy.

    python accuracy_control_nncf.py MODEL.onnx DATA.npz METRIC MAX_DROP

DATA holds `calibration`, `samples` (float32[N, ...]) and `labels` ([N, ...]). The metric is the SDK's own, so
that both sides are judged by the same code; PYTHONPATH leads to it. MAX_DROP is in points. Writes one JSON
object when the model is quantised; then answers each line on standard input with the nanoseconds of that many
inferences.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov

from converters.model import Model
from converters.quantize.accuracy.metrics import open_metric
from device_agent.bundle import TensorSpec

OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}


class Judge:
    """The metric on the validation samples.

    Args:
        name: the metric's.
        model: whose outputs are judged, with a batch of one.
        samples: inputs and their labels.
    """

    def __init__(self, name: str, model: ov.Model, samples: list[tuple[np.ndarray, Any]]) -> None:
        self.samples = samples
        self._names = [port.get_any_name() for port in model.outputs]
        inputs, outputs = (
            tuple(TensorSpec(port.get_any_name(), "float32", tuple(port.shape)) for port in ports)
            for ports in (model.inputs, model.outputs)
        )
        opened = Model(Path("model.onnx"), "onnx", "0" * 64, 1, inputs, outputs, (), 0, None)
        self._metric = open_metric(name, opened)

    def __call__(self, compiled: ov.CompiledModel, _: Any = None) -> tuple[float, list[float] | None]:
        """The metric in points, and its value of each sample where it has one, as nncf wants them."""
        kept = []
        for array, label in self.samples:
            outputs = dict(zip(self._names, compiled(array).to_tuple(), strict=True))
            kept.append(self._metric.observe(outputs, outputs, label))
        return self._metric.value(kept), [float(one) for one in kept] if self._metric.binary else None


def main() -> None:
    path, data, metric, max_drop = sys.argv[1:]
    archive = np.load(data)
    pairs = [(array[None], label) for array, label in zip(archive["samples"], archive["labels"], strict=True)]

    core = ov.Core()
    # what is imported late is imported by now
    core.compile_model(quantized_on(path, archive["calibration"][:20]), "CPU")
    started, cpu = time.perf_counter(), time.process_time()
    model = opened(path, archive["samples"].shape[1:])
    judge = Judge(metric, model, pairs)
    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset([array[None] for array in archive["calibration"]]),
        validation_dataset=nncf.Dataset(pairs, lambda pair: pair[0]),
        validation_fn=judge,
        max_drop=float(max_drop),
        drop_type=nncf.DropType.ABSOLUTE,
    )
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu

    reference = core.compile_model(model, "CPU", {**OPTIONS, "INFERENCE_PRECISION_HINT": "f32"})
    compiled = core.compile_model(quantized, "CPU", OPTIONS)
    answer(
        {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "float": judge(reference)[0],
            "quantized": judge(compiled)[0],
            "fake_quantizes": sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops()),
            "versions": {"nncf": nncf.__version__, "openvino": ov.__version__},
        }
    )
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(np.ascontiguousarray(pairs[0][0])))
    for line in sys.stdin:
        begun = time.perf_counter_ns()
        for _ in range(int(line)):
            request.infer()
        answer(time.perf_counter_ns() - begun)


def opened(path: str, shape: tuple[int, ...]) -> ov.Model:
    """The model with a batch of one."""
    model = ov.convert_model(path)
    model.reshape([1, *shape])
    return model


def quantized_on(path: str, samples: np.ndarray) -> ov.Model:
    """Plain int8."""
    dataset = nncf.Dataset([array[None] for array in samples])
    return nncf.quantize(opened(path, samples.shape[1:]), dataset)


def answer(value: Any) -> None:
    """One line for the benchmark; what nncf prints stands on other lines."""
    print("\x1e" + json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
