"""The peer's side of accuracy_control.py, run by a Python that has nncf, openvino and numpy.

    python accuracy_control_nncf.py MODEL.onnx DATA.npz MAX_DROP

DATA holds `calibration`, `samples` (float32[N, ...]) and `labels` (int64[N]). Writes one JSON object when the
model is quantised; then answers each line on standard input with the nanoseconds of that many inferences.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import nncf
import numpy as np
import openvino as ov

OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}


def accuracy(model: ov.CompiledModel, samples: Iterable[tuple[np.ndarray, int]]) -> float:
    """The share of samples whose greatest class is their label."""
    right = [int(np.argmax(model(array)[0]) == label) for array, label in samples]
    return float(np.mean(right))


def main() -> None:
    path, data, max_drop = sys.argv[1:]
    archive = np.load(data)
    pairs = [
        (array[None], int(label)) for array, label in zip(archive["samples"], archive["labels"], strict=True)
    ]

    core = ov.Core()
    # what is imported late is imported by now
    core.compile_model(quantized_on(path, archive["calibration"][:20]), "CPU")
    started, cpu = time.perf_counter(), time.process_time()
    model = opened(path, archive["samples"].shape[1:])
    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset([array[None] for array in archive["calibration"]]),
        validation_dataset=nncf.Dataset(pairs, lambda pair: pair[0]),
        validation_fn=lambda compiled, _: validated(compiled, pairs),
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
            "float": accuracy(reference, pairs),
            "quantized": accuracy(compiled, pairs),
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


def validated(compiled: ov.CompiledModel, pairs: list[tuple[np.ndarray, int]]) -> tuple[float, list[float]]:
    """The metric, and its value of every sample, as nncf wants them."""
    right = [float(np.argmax(compiled(array)[0]) == label) for array, label in pairs]
    return float(np.mean(right)), right


def answer(value: Any) -> None:
    """One line for the benchmark; what nncf prints stands on other lines."""
    print("\x1e" + json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
