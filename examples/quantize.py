"""Quantise the digits CNN so that it keeps its accuracy, and read what was tried and why."""

from pathlib import Path
from tempfile import TemporaryDirectory

import edge_sdk

DIGITS = Path(__file__).parent / "digits"

found = edge_sdk.quantize(
    DIGITS / "digits.onnx",
    calibration=DIGITS / "calibration.npz",
    validation=DIGITS / "test.npz",  # 500 images, and their labels under the name `label`
    metric="top1",
    max_drop=0.5,  # points; more than that is an edge_sdk.EdgeError, with the best in its `best`
)
search = found.search
print(f"float {search.reference:.2f} {search.unit}; {search.stopped} after {search.seconds:.1f} s")
for candidate in search.candidates:
    judged = candidate.judgement
    print(
        f"{candidate.number}. {candidate.step}: {candidate.value:.2f}, a drop of {judged.drop:.2f} "
        f"({judged.lower:.2f} to {judged.upper:.2f} by {judged.method}): {candidate.reason}"
    )
worst = min((e for e in search.errors if e.snr_db is not None), key=lambda error: error.snr_db)
print(f"farthest from float: {worst.label} ({worst.type}), {worst.snr_db:.1f} dB")

with TemporaryDirectory() as folder:
    saved = found.save(folder, name="digits")  # the .tflite file, bundle/, quantization.json and .txt
    print(saved.file.name, saved.file.stat().st_size, "bytes;", saved.report.name)
