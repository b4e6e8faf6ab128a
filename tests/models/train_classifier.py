"""Train `outlier.onnx`: a classifier of shapes with an activation channel that is a hundred times the others.

    python -m tests.models.train_classifier

Needs PyTorch; about a minute on one core. After training, the widest channel of each activation between
convolutions is scaled by 100 and the weights that read it by 1/100. ReLU keeps a positive factor, so the
network computes what it did before, but one scale for the whole tensor leaves the other channels next to
nothing.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everywhere
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.models.data import CLASSES, TRAINING, patch

PATCHES, EPOCHS, BATCH = 4000, 12, 64
FACTOR = 100.0


def block(into: int, out: int, stride: int) -> list[nn.Module]:
    """A convolution of 3x3 with what follows it."""
    return [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def network() -> nn.Sequential:
    """float32[N, 3, 32, 32] -> logits float32[N, classes]."""
    convolutions = block(3, 16, 2) + block(16, 24, 1) + block(24, 32, 2) + block(32, 40, 2)
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, len(CLASSES)))


def train() -> nn.Sequential:
    """The network after all epochs."""
    torch.manual_seed(0)
    made = [patch(TRAINING, index) for index in range(PATCHES)]
    images = torch.from_numpy(np.stack([image for image, _ in made]))
    labels = torch.tensor([label for _, label in made])
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    steps = PATCHES // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(PATCHES)[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            value = F.cross_entropy(model(images[rows]), labels[rows])
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / steps:.3f}", flush=True)
    return model.eval()


def stretch(model: nn.Sequential, at: int, images: torch.Tensor) -> None:
    """Scale the widest channel between two convolutions, with ReLU between them, and scale it back after."""
    before, after = model[at], model[at + 2]
    with torch.no_grad():
        channel = int(model[: at + 2](images).amax(dim=(0, 2, 3)).argmax())
        before.weight[channel] *= FACTOR
        before.bias[channel] *= FACTOR
        after.weight[:, channel] /= FACTOR


def fused(model: nn.Sequential) -> nn.Sequential:
    """The network with each batch normalisation in its convolution."""
    layers = [layer for layer in model if not isinstance(layer, nn.BatchNorm2d)]
    norms = [layer for layer in model if isinstance(layer, nn.BatchNorm2d)]
    for index, norm in zip((0, 2, 4, 6), norms, strict=True):
        layers[index] = fuse_conv_bn_eval(layers[index], norm)
    return nn.Sequential(*layers)


def main() -> None:
    model = fused(train())
    images = torch.from_numpy(np.stack([patch(TRAINING, index)[0] for index in range(100)]))
    for at in (0, 2, 4):
        stretch(model, at, images)
    file = Path(__file__).parent / "outlier.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the exporter that most published files come from
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 32, 32),),
            str(file),
            input_names=["image"],
            output_names=["logits"],
            opset_version=17,
            dynamo=False,
        )
    print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
