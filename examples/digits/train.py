"""Train the digits CNN and export it: model, calibration and test data, all in this folder.

Data: scikit-learn's digits (UCI ML hand-written digits, CC BY 4.0), 1,797 images of 8x8.
Needs: pip install 'edge-deployment-sdk[torch]' scikit-learn. Takes about half a minute on one core.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent


def separable(channels_in: int, channels_out: int) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class DigitsNet(nn.Module):
    """float32[N, 1, 8, 8] pixels in 0..1 -> float32[N, 10] class probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(separable(16, 32), nn.MaxPool2d(2), separable(32, 32), nn.Flatten())
        self.head = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x))).softmax(dim=-1)


def strip_traces(path: Path) -> None:
    """Drop the exporter's stack traces: they hold this machine's paths and change from run to run."""
    model = onnx.load(path)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=500, random_state=0, stratify=digits.target
    )
    model = DigitsNet()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    x, y = torch.from_numpy(x_train), torch.from_numpy(y_train)
    for _ in range(30):
        for batch in torch.randperm(len(x)).split(64):
            loss = nn.functional.nll_loss(torch.log(model(x[batch]) + 1e-9), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean()
    print(f"test accuracy {accuracy:.1%} on {len(y_test)} images")

    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model,
        (torch.from_numpy(x_test[:2]),),
        HERE / "digits.onnx",
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        dynamo=True,
    )
    strip_traces(HERE / "digits.onnx")
    np.savez_compressed(HERE / "calibration.npz", image=x_train[:200])
    np.savez_compressed(HERE / "test.npz", image=x_test, label=y_test)


if __name__ == "__main__":
    main()
