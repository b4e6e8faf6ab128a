"""Accuracy of our full-integer int8 on the zoo's networks, in pairs with float, beside the published int8.

    python benchmarks/zoo_accuracy.py [--json FILE] [--only REGEX] [--precision int8] [--runtime litert]

Each network is quantised from its ONNX file and from its Keras file or SavedModel, on calibration samples
that are not among those it is judged on (the wakeword has only one set). Float runs in the source's own
runtime, int8 and the published int8 TFLite in LiteRT. The zoo is in EDGE_ZOO (default ../shared/zoo).

With `--runtime openvino` the ONNX files alone are quantised, by NNCF, and int8 runs in OpenVINO; operators
that NNCF leaves in float are no miss there.

Goals: at most 0.5 points of top-1 below float, on the same samples; at least as many right as the published
int8; every operator integer. The autoencoder has no labels: its reconstruction is compared instead, by the
ratio of signal to noise and by the mean relative deviation of the anomaly score (a frame's mean squared error
of reconstruction), ours with its float source and the published int8 with the published float.
A goal that is missed is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attrs import asdict, evolve, frozen

import edge_sdk
from converters import registry
from converters.model import Model
from converters.quantize.accuracy.fidelity import array_of, runner, tensor_of
from device_agent import runtimes

ROOT = Path(__file__).resolve().parent.parent
ONNX, KERAS = "models/onnx", "models/mlperf-tiny"
POINTS = 0.5


@frozen
class Network:
    """A network of the zoo: its data, its sources and the published TFLite files."""

    data: str
    sources: tuple[str, ...]
    published: str
    published_float: str = ""


NETWORKS = {
    "ResNet-8": Network(
        "cifar10",
        (f"{ONNX}/resnet8.onnx", f"{KERAS}/pretrainedResnet.h5"),
        f"{KERAS}/pretrainedResnet_quant.tflite",
    ),
    "DS-CNN": Network(
        "kws", (f"{ONNX}/kws_dscnn.onnx", f"{KERAS}/kws_ref_model"), f"{KERAS}/kws_ref_model.tflite"
    ),
    "MobileNetV1": Network(
        "vww", (f"{ONNX}/vww_mobilenetv1_025.onnx", f"{KERAS}/vww_96.h5"), f"{KERAS}/vww_96_int8.tflite"
    ),
    "wakeword": Network(
        "sww",
        (f"{ONNX}/streaming_wakeword.onnx", f"{KERAS}/str_ww_ref_model.h5"),
        f"{KERAS}/str_ww_ref_model.tflite",
    ),
    "autoencoder": Network(
        "ad01",
        (f"{ONNX}/ad01_autoencoder.onnx", f"{KERAS}/ad01.h5"),
        f"{KERAS}/ad01_int8.tflite",
        f"{KERAS}/ad01_fp32.tflite",
    ),
}


@frozen
class Row:
    """One source of one network. Counts are of samples that are right; of the autoencoder, see the module."""

    network: str
    source: str
    samples: int
    operators: int
    float_operators: int
    float_right: int = 0
    int8_right: int = 0
    published_right: int = 0
    only_float: int = 0
    only_int8: int = 0
    snr_db: float | None = None
    published_snr_db: float | None = None
    score_deviation: float | None = None
    published_score_deviation: float | None = None

    @property
    def drop(self) -> float:
        """In points."""
        return 100 * (self.float_right - self.int8_right) / self.samples


def data_of(zoo: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels of one of the zoo's sets; five frames of 128 bands make a sample of ad01."""
    if name == "ad01":
        frames = np.fromfile(next((zoo / "data/ad01").glob("*.bin")), np.float32).reshape(-1, 640)
        part = frames[::2] if split == "train" else frames[1::2]
        return part, np.zeros(len(part), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        command = [sys.executable, zoo / "load.py", name, "--split", split, "--out", file]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with np.load(file) as data:
            return data["x"], data["y"]


def published(file: Path, samples: np.ndarray) -> np.ndarray:
    """What a published TFLite file computes of the samples, dequantised."""
    session = runtimes.get("litert").load(file)
    (given,), (made,) = session.inputs, session.outputs
    outputs = []
    for sample in samples:
        session.set_inputs({given.name: tensor_of(sample.reshape(given.shape), given)})
        session.invoke()
        outputs.append(array_of(session.get_outputs()[made.name], made).reshape(-1))
    return np.stack(outputs)


def outputs_of(model: Model, run: object, samples: np.ndarray) -> np.ndarray:
    """What a function of named arrays computes of the samples."""
    (given,), (made,) = model.inputs, model.outputs

    def each() -> Iterator[np.ndarray]:
        for sample in samples:
            yield run({given.name: sample.reshape(given.shape)})[made.name].reshape(-1)  # type: ignore[operator]

    return np.stack(list(each()))


def snr_db(signal: np.ndarray, other: np.ndarray) -> float:
    """10 log10 of the signal's power by the difference's."""
    signal = signal.astype(np.float64)
    return float(10 * np.log10(np.square(signal).sum() / np.square(signal - other).sum()))


def score_deviation(samples: np.ndarray, signal: np.ndarray, other: np.ndarray) -> float:
    """How far the anomaly scores are off, as a mean share of themselves."""
    score, got = (np.square(samples - made).mean(axis=1) for made in (signal, other))
    return float((np.abs(score - got) / score).mean())


def measure(zoo: Path, name: str, precision: str, runtime: str) -> Iterator[Row]:
    """A row for each source of a network."""
    network = NETWORKS[name]
    calibration, _ = data_of(zoo, network.data, "train")
    samples, labels = data_of(zoo, network.data, "test")
    theirs = published(zoo / network.published, samples)
    for source in network.sources if runtime == "litert" else network.sources[:1]:
        model = edge_sdk.load(zoo / source)
        made = edge_sdk.quantize(model, calibration=calibration[:500], precision=precision, runtime=runtime)
        _, reference = registry.reader(model.format).reference(model)
        floats = outputs_of(model, reference, samples)
        integers = outputs_of(model, runner(made.artifact), samples)
        row = Row(
            network=name,
            source=Path(source).name,
            samples=len(samples),
            operators=len(made.artifact.operators),
            float_operators=len(made.artifact.float_operators),
        )
        if network.published_float:
            own = published(zoo / network.published_float, samples)
            yield evolve(
                row,
                snr_db=snr_db(floats, integers),
                published_snr_db=snr_db(own, theirs),
                score_deviation=score_deviation(samples, floats, integers),
                published_score_deviation=score_deviation(samples, own, theirs),
            )
            continue
        right, right8 = (made.argmax(axis=1) == labels for made in (floats, integers))
        yield evolve(
            row,
            float_right=int(right.sum()),
            int8_right=int(right8.sum()),
            published_right=int((theirs.argmax(axis=1) == labels).sum()),
            only_float=int((right & ~right8).sum()),
            only_int8=int((~right & right8).sum()),
        )


def line(row: Row) -> str:
    """The row as text."""
    head = f"{row.network:<12}{row.source:<27}{row.samples:>5}{row.operators:>4} /{row.float_operators:>2} "
    if row.snr_db is not None:
        return (
            f"{head}  {row.snr_db:.1f} dB (published {row.published_snr_db:.1f}), score off by "
            f"{row.score_deviation:.2%} (published {row.published_score_deviation:.2%})"
        )
    return (
        f"{head}{row.float_right:>6}{row.int8_right:>6}{row.published_right:>6}"
        f"{row.only_float:>6}{row.only_int8:>6}{row.drop:>7.2f}"
    )


def missed(row: Row, runtime: str) -> str:
    """What a row falls short of, empty if of nothing."""
    if row.float_operators and runtime == "litert":
        return f"{row.float_operators} operators are not integer"
    if row.snr_db is not None and row.published_snr_db is not None:
        return "further from float than the published" if row.snr_db < row.published_snr_db else ""
    if row.drop > POINTS:
        return f"{row.drop:.2f} points below float"
    return "fewer right than the published" if row.int8_right < row.published_right else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--only", default="", help="networks whose name matches")
    parser.add_argument("--runtime", default="litert", choices=("litert", "openvino"))
    parser.add_argument("--precision", default="int8", help="what `edge_sdk.quantize` is asked for")
    options = parser.parse_args()
    zoo = Path(os.environ.get("EDGE_ZOO", ROOT.parent / "shared/zoo"))
    print("network     source                         n  ops/fl  float  int8  publ.  -int8 +int8   drop")
    rows = []
    for name in NETWORKS:
        if re.search(options.only, name):
            for row in measure(zoo, name, options.precision, options.runtime):
                rows.append(row)
                print(line(row), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    misses = ((row, missed(row, options.runtime)) for row in rows)
    short = [f"{row.network} from {row.source}: {miss}" for row, miss in misses if miss]
    print("\n".join(short) or "every goal is met")
    raise SystemExit(bool(short))


if __name__ == "__main__":
    main()
