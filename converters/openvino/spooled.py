"""Calibration samples on disk, an array file for each input: the child reads them as often as NNCF asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from device_agent.errors import CalibrationError

if TYPE_CHECKING:
    from converters.quantize.samples.calibration import Calibration


def write(calibration: Calibration, folder: Path, most: int) -> None:
    """Write samples from all over the calibration samples; one is held at a time.

    Args:
        calibration: checked.
        folder: is made; gets `names.txt`, the inputs' names, and `<number>.npy` for each, `[N, ...]`.
        most: of them, evenly spaced where there are more.

    Raises:
        CalibrationError: there are fewer samples than were checked, or the disk is full.
    """
    chosen = set(np.linspace(0, calibration.count - 1, min(most, calibration.count)).astype(int).tolist())
    arrays: dict[str, np.memmap] = {}
    written = 0
    try:
        folder.mkdir()
        for index, sample in enumerate(calibration.samples()):
            if index not in chosen:
                continue
            if not arrays:
                (folder / "names.txt").write_text("\n".join(sample))
                arrays = {
                    name: np.lib.format.open_memmap(
                        folder / f"{number}.npy",
                        mode="w+",
                        dtype=array.dtype,
                        shape=(len(chosen), *array.shape),
                    )
                    for number, (name, array) in enumerate(sample.items())
                }
            for name, array in sample.items():
                arrays[name][written] = array
            written += 1
        for held in arrays.values():
            held.flush()
    except OSError as e:
        raise CalibrationError(
            "the calibration samples cannot be written to disk, where OpenVINO's process reads them",
            where=str(folder),
            got=str(e),
            next_step="Free some space there, or set TMPDIR.",
        ) from e
    if written < len(chosen):
        raise CalibrationError(
            "there are fewer calibration samples than when they were checked",
            where=calibration.source,
            got=str(written),
            expected=str(len(chosen)),
        )
