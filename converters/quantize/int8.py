"""Full-integer int8: calibrate on real samples, quantise with ai-edge-quantizer, verify what came out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from converters.graph.read import read
from converters.graph.write import write
from converters.quantize.biases import keep_biases
from converters.quantize.quiet import quiet
from converters.quantize.sources import WAYS
from device_agent.errors import CalibrationError, QuantizationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from converters.graph.ir import Graph
    from converters.progress import Progress
    from converters.quantize.calibration import Calibration

SIGNATURE = "serving_default"
CHUNK = 8  # samples between two reports of progress


@frozen
class Quantized:
    """An int8 model, and how many channels were widened for their biases (see `keep_biases`)."""

    data: bytes = field(repr=False)
    widened_channels: int


def quantize(graph: Graph, calibration: Calibration | None, *, io: str, progress: Progress) -> Quantized:
    """The graph in full-integer int8: weights per channel, activations per tensor.

    Activation ranges are the least and greatest values over all samples, so the order of the samples does
    not matter (the quantiser's default, a moving average, forgets all but the last few dozen).

    Args:
        graph: float32; the weights of dead channels may be changed in place.
        calibration: real samples; there is no substitute for them.
        io: `integer` makes the model's own inputs and outputs int8, `float` leaves them float32 with one
            QUANTIZE and DEQUANTIZE at the ends.
        progress: told of every few samples.

    Raises:
        CalibrationError: `calibration` is None.
        QuantizationError: the quantiser fails, or operators are left in floating point.
    """
    if calibration is None:
        raise CalibrationError("int8 needs calibration data, and none was given", next_step=WAYS)
    data = write(graph)
    statistics = calibrate(data, calibration, progress)
    ranges = {
        name: (float(row["min"].min()), float(row["max"].max())) for name, row in statistics.items() if row
    }
    widened = keep_biases(graph, ranges)
    if widened:
        data = write(graph)
    progress("quantising", 0, 1)
    quantized = read(_apply(data, statistics, io), where="the quantised model")
    left = float_operators(quantized, ends_convert=io == "float")
    if left:
        raise QuantizationError(
            f"{len(left)} operators have no int8 form and would stay in floating point",
            got=", ".join(left[:10]) + (" and more" if len(left) > 10 else ""),
            expected="integer operators only",
            next_step="Use `--precision float32`: models of mixed precision cannot be made yet.",
        )
    progress("quantising", 1, 1)
    # written anew: the quantiser leaves the operators the versions they had in float
    return Quantized(write(quantized), widened)


def calibrate(data: bytes, calibration: Calibration, progress: Progress) -> dict[str, Any]:
    """Ranges of every activation tensor: `{tensor: {"min": array, "max": array}}`.

    One sample at a time through LiteRT's profiler, which keeps no activations: memory does not grow with
    the number of samples.
    """
    with quiet():
        from ai_edge_quantizer import calibrator, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        rules = recipe_manager.RecipeManager()
        rules.load_quantization_recipe(_recipe("integer"))
        run = calibrator.Calibrator(
            data,
            num_threads=min(4, os.cpu_count() or 1),
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=qsv_utils.min_max_update,
        )
    done = 0
    progress("calibrating", done, calibration.count)
    for chunk in _chunks(calibration):
        try:
            with quiet():
                run.calibrate({SIGNATURE: chunk}, rules)
        except (ValueError, RuntimeError) as e:
            raise QuantizationError(
                "LiteRT cannot run the float model to calibrate it", got=str(e).strip()[:500]
            ) from e
        done += len(chunk)
        progress("calibrating", done, calibration.count)
    statistics: dict[str, Any] = run.get_model_qsvs()
    return statistics


def _chunks(calibration: Calibration) -> Iterator[list[dict[str, Any]]]:
    chunk = []
    for sample in calibration.samples():
        chunk.append(sample)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _recipe(io: str) -> list[dict[str, Any]]:
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    rules = recipe_manager.RecipeManager()
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    rules.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
    if io == "float":
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            rules.add_quantization_config(
                ".*", end, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE
            )
    recipe: list[dict[str, Any]] = rules.get_quantization_recipe()
    return recipe


def _apply(data: bytes, statistics: dict[str, Any], io: str) -> bytes:
    from ai_edge_quantizer import quantizer

    try:
        with quiet():
            result = quantizer.Quantizer(data, _recipe(io)).quantize(
                statistics, enable_progress_bar=False, enable_progress_report=False
            )
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as e:  # all its refusals
        raise QuantizationError(
            "the quantiser refuses the model",
            got=str(e).strip()[:500],
            next_step="Use `--precision float32`, and please report this with the model.",
        ) from e
    return bytes(result.quantized_model)


def float_operators(graph: Graph, *, ends_convert: bool) -> tuple[str, ...]:
    """Types of the operators that compute in floating point, in execution order.

    With `ends_convert`, the QUANTIZE of a model input and the DEQUANTIZE of a model output do not count.
    """
    ends = {*graph.inputs.values(), *graph.outputs.values()} if ends_convert else set()

    def is_float(name: str | None) -> bool:
        return name is not None and graph.tensors[name].dtype.startswith("float")

    found = []
    for operator in graph.operators:
        floats = [name for name in (*operator.inputs, *operator.outputs) if is_float(name)]
        converts = operator.type in ("QUANTIZE", "DEQUANTIZE") and ends.issuperset(floats)
        if floats and not converts:
            found.append(operator.type)
    return tuple(found)
