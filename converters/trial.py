"""A `.tflite` file run in a process of its own: a user's file may crash the loader, and takes nobody along.

`python -m converters.trial MODEL INPUTS OUTPUTS` is that process; inputs and outputs are safetensors files
whose tensors are named `<sample>/<tensor>`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from device_agent import runtimes
from device_agent.errors import EdgeError, InvalidModel
from device_agent.tensors import Tensor, pack, unpack

DEADLINE_S = 120.0


def run(data: bytes, samples: list[dict[str, Tensor]], *, where: str) -> list[dict[str, Tensor]]:
    """The outputs of a TFLite model by public name for each sample of inputs, computed by LiteRT.

    Raises:
        InvalidModel: the file crashes the runtime, is refused by it, or takes longer than `DEADLINE_S`.
    """
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        model, given, made = (Path(folder) / name for name in ("model.tflite", "inputs", "outputs"))
        model.write_bytes(data)
        given.write_bytes(
            pack({f"{n}/{k}": tensor for n, feed in enumerate(samples) for k, tensor in feed.items()})
        )
        command = [sys.executable, "-m", "converters.trial", str(model), str(given), str(made)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)
        except subprocess.TimeoutExpired as e:
            raise _failed(where, f"no result within {DEADLINE_S:g} s") from e
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            how = (
                f"signal {-done.returncode}"
                if done.returncode < 0
                else said[-1]
                if said
                else "no reason given"
            )
            raise _failed(where, how)
        return _by_sample(unpack(made.read_bytes()), len(samples))


def _failed(where: str, got: str) -> InvalidModel:
    return InvalidModel(
        "LiteRT cannot run the model",
        where=where,
        got=got[:500],
        next_step="What cannot be run cannot be compared, and so is not changed.",
    )


def _by_sample(tensors: dict[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    found: list[dict[str, Tensor]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        number, _, public = name.partition("/")
        found[int(number)][public] = tensor
    return found


def main(model: Path, given: Path, made: Path) -> int:
    """Run a model on every sample; the exit code."""
    inputs = unpack(given.read_bytes())
    samples = _by_sample(inputs, 1 + max((int(name.partition("/")[0]) for name in inputs), default=0))
    outputs = {}
    try:
        session = runtimes.get("litert").load(model)
        for number, feed in enumerate(samples):
            session.set_inputs(feed)
            session.invoke()
            outputs.update({f"{number}/{name}": tensor for name, tensor in session.get_outputs().items()})
    except EdgeError as e:
        sys.stderr.write(f"\n{' '.join(str(e).split())}\n")
        return 1
    made.write_bytes(pack(outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main(*(Path(argument) for argument in sys.argv[1:])))
