"""The whole road from Python: the digits CNN, int8, on this machine, then an inference on the device."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import edge_sdk

DIGITS = Path(__file__).parent / "digits"

model = edge_sdk.load(DIGITS / "digits.onnx")
plan = edge_sdk.plan(model, "local", precision="int8", io="float")
conversion = edge_sdk.convert(model, plan, calibration=DIGITS / "calibration.npz")
print(f"{model.size_bytes:,} -> {len(conversion.artifact.data):,} bytes; {conversion.fidelity}")

with TemporaryDirectory() as folder, edge_sdk.device("local") as device:
    bundle = edge_sdk.pack(conversion, folder, name="digits")
    deployment = edge_sdk.deploy(bundle, device)
    print(f"generation {deployment.generation} computes what the host computed: {deployment.parity.passed}")

    result = edge_sdk.benchmark(device, "digits", edge_sdk.BenchmarkRequest(min_seconds=0.2))
    print(f"median {np.median(result.latencies_ns) / 1e3:.1f} us over {len(result.latencies_ns)} runs")

    test = np.load(DIGITS / "test.npz")
    guesses = [
        device.infer("digits", {"image": image[None]})["probabilities"].argmax() for image in test["image"]
    ]
    print(f"accuracy on the device {np.mean(guesses == test['label']):.1%}")
    device.remove("digits")
