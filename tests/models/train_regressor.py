"""Train `regressor.onnx`: a quantity from eight numbers, for what no quantised model reaches exactly.

    python -m tests.models.train_regressor

Needs PyTorch; some seconds on one core. The metric of such a model is its mean absolute error: with labels
that the float model itself computes it is 0 for that model alone, so a drop of 0 is out of reach.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.models.data import TRAINING, reading

READINGS, STEPS = 4000, 1500


def train() -> nn.Sequential:
    """float32[N, 8] -> float32[N, 1]."""
    torch.manual_seed(0)
    made = [reading(TRAINING, index) for index in range(READINGS)]
    values = torch.from_numpy(np.stack([value for value, _ in made]))
    wanted = torch.tensor([[quantity] for _, quantity in made])
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        value = (model(values) - wanted).abs().mean()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            print(f"step {step + 1} of {STEPS}: mean absolute error {value.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    model = train()
    file = Path(__file__).parent / "regressor.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the exporter that most published files come from
        torch.onnx.export(
            model,
            (torch.zeros(1, 8),),
            str(file),
            input_names=["values"],
            output_names=["quantity"],
            opset_version=17,
            dynamo=False,
        )
    print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
