"""Train `detector.onnx`: shapes in scenes of 96 pixels, one output with boxes in pixels and scores in 0..1.

    python -m tests.models.train_detector

Needs PyTorch; about two minutes on one core. The same seed gives the same network up to the rounding of the
machine's own kernels. Its head is that of YOLOv8 exports: distances to the edges are decoded inside the
graph, and `output` is float32[1, 4 + classes, anchors] with rows centre x, centre y, width, height, then a
score per class.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

from tests.models.data import CLASSES, MOST_SHAPES, SIZE, TRAINING, Scene, scene

STRIDE = 8  # pixels between two anchors
GRID = SIZE // STRIDE
SCENES, EPOCHS, BATCH = 3000, 14, 32


def block(into: int, out: int, stride: int = 1) -> nn.Module:
    """A convolution of 3x3 with what follows it."""
    return nn.Sequential(
        nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU6(inplace=True)
    )


class Detector(nn.Module):
    """A stem of stride 8 and two branches, one for edges and one for classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            block(3, 12, 2), block(12, 20, 2), block(20, 32, 2), block(32, 40), block(40, 40)
        )
        self.edges = nn.Sequential(block(40, 32), nn.Conv2d(32, 4, 1))
        self.classes = nn.Sequential(block(40, 32), nn.Conv2d(32, len(CLASSES), 1))
        nn.init.constant_(self.edges[1].bias, 2.0)
        nn.init.constant_(self.classes[1].bias, -3.0)
        ticks = torch.arange(GRID) + 0.5
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        self.register_buffer("anchors", torch.stack((x, y)).reshape(1, 2, -1), persistent=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances to the edges in strides, float32[N, 4, anchors], and logits [N, classes, anchors]."""
        features = self.stem(images)
        return F.relu(self.edges(features)).flatten(2), self.classes(features).flatten(2)

    def corners(self, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Upper left and lower right corners in strides, [N, 2, anchors] each."""
        before, after = distances.split(2, 1)
        return self.anchors - before, self.anchors + after


class Exported(nn.Module):
    """The detector with its decoding, as it is deployed."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32[1, 4 + classes, anchors]."""
        distances, logits = self.detector(images)
        least, greatest = self.detector.corners(distances)
        boxes = torch.cat(((least + greatest) / 2, greatest - least), 1) * STRIDE
        return torch.cat((boxes, logits.sigmoid()), 1)


def targets(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes float32[N, 3, 4] in strides, and classes int64[N, 3], -1 where there is no shape."""
    boxes = np.zeros((len(scenes), MOST_SHAPES, 4), np.float32)
    classes = np.full((len(scenes), MOST_SHAPES), -1)
    for index, each in enumerate(scenes):
        boxes[index, : len(each.boxes)] = each.boxes / STRIDE
        classes[index, : len(each.classes)] = each.classes
    return torch.from_numpy(boxes), torch.from_numpy(classes)


def flipped(images: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch mirrored from left to right."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return images.flip(3), torch.stack((GRID - x2, y1, GRID - x1, y2), -1)


def loss(
    detector: Detector, images: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Of anchors near a shape's centre: 1 - GIoU of the box; of all: cross entropy of scores against the IoU.

    Scores that say how good the box is are those of VarifocalNet (https://arxiv.org/abs/2008.13367).
    """
    distances, logits = detector(images)
    least, greatest = detector.corners(distances)
    anchors = detector.anchors[0].T  # [anchors, 2]
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]  # [N, shapes, 1, 2]
    centre = (low + high) / 2
    reach = ((high - low) / 2).clamp(max=1.5)
    near = ((anchors - centre).abs() <= reach).all(-1) & (classes >= 0)[..., None]  # [N, shapes, anchors]
    got_low, got_high = least.transpose(1, 2)[:, None], greatest.transpose(1, 2)[:, None]
    shared = (torch.minimum(high, got_high) - torch.maximum(low, got_low)).clamp(min=0).prod(-1)
    areas = (high - low).prod(-1) + (got_high - got_low).prod(-1)
    hull = (torch.maximum(high, got_high) - torch.minimum(low, got_low)).prod(-1)
    union = areas - shared
    iou = shared / union.clamp(min=1e-6)
    giou = iou - (hull - union) / hull.clamp(min=1e-6)
    wanted = torch.zeros_like(logits)
    quality = (iou.detach() * near).clamp(min=0)
    for index in range(MOST_SHAPES):
        known = F.one_hot(classes[:, index].clamp(min=0), len(CLASSES))[:, :, None]
        wanted = torch.maximum(wanted, known * quality[:, index, None])
    certain = logits.sigmoid().detach()
    weight = torch.where(wanted > 0, wanted, 0.75 * certain**2)
    count = near.sum().clamp(min=1)
    scores = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).sum() / count
    return 2 * ((1 - giou) * near).sum() / count + scores


def train() -> Detector:
    """The detector after all epochs, in evaluation mode."""
    torch.manual_seed(0)
    scenes = [scene(TRAINING, index) for index in range(SCENES)]
    images = torch.from_numpy(np.stack([each.image for each in scenes]))
    boxes, classes = targets(scenes)
    detector = Detector()
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=1e-2)
    steps = EPOCHS * (SCENES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for number, rows in enumerate(torch.randperm(SCENES)[: SCENES // BATCH * BATCH].split(BATCH)):
            batch, known = images[rows], boxes[rows]
            if number % 2:
                batch, known = flipped(batch, known)
            optimizer.zero_grad()
            value = loss(detector, batch, known, classes[rows])
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / (SCENES // BATCH):.3f}", flush=True)
    return detector.eval()


def main() -> None:
    detector = train()
    file = Path(__file__).parent / "detector.onnx"
    example = torch.zeros(1, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the exporter that most published files come from
        torch.onnx.export(
            Exported(detector),
            (example,),
            str(file),
            input_names=["images"],
            output_names=["output"],
            opset_version=17,
            dynamo=False,
        )
    print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
