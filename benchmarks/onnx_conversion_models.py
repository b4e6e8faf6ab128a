"""Networks with seeded random weights as ONNX files, for `onnx_conversion.py`.

    python benchmarks/onnx_conversion_models.py {keras,torch} FOLDER

`keras` needs TensorFlow and tf2onnx: the networks of `keras.applications`, as Keras exports them, their
batch open. `torch` needs PyTorch and onnxscript: an encoder of a transformer, a U-Net and a detector, small,
as `torch.onnx.export` writes them. Batch norm gets statistics that are not those of a fresh layer, so that
folding it changes the weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

KERAS = {  # name -> constructor in keras.applications, and its size of images
    "mobilenet_v2": ("MobileNetV2", 224),
    "mobilenet_v3_small": ("MobileNetV3Small", 224),
    "efficientnet_b0": ("EfficientNetB0", 224),
    "resnet50": ("ResNet50", 224),
}
TORCH = ("transformer", "unet", "detector")
SEED = 0


def keras(folder: Path) -> None:
    """Write the networks of `keras.applications` that are not there yet."""
    import keras
    import tensorflow as tf
    import tf2onnx

    for name, (constructor, size) in KERAS.items():
        target = folder / f"{name}.onnx"
        if target.is_file():
            continue
        model = getattr(keras.applications, constructor)(weights=None, input_shape=(size, size, 3))
        generator = np.random.default_rng(SEED)
        for weight in model.weights:
            weight.assign(drawn(generator, weight.path.rsplit("/", 1)[-1], weight.shape))
        head = model.layers[-1]
        if isinstance(head, keras.layers.Dense):  # scores of about 1: a sure class would hide all others
            features = keras.Model(model.input, head.input)(generator.uniform(0, 1, (1, size, size, 3)))
            spread = float(np.sqrt(np.mean(np.square(features))))
            head.kernel.assign(head.kernel / spread)
        signature = (tf.TensorSpec((None, size, size, 3), tf.float32, name="input"),)
        called = tf.function(lambda x, model=model: model(x, training=False), input_signature=signature)
        part = target.with_suffix(".part")
        tf2onnx.convert.from_function(called, signature, opset=17, output_path=str(part))
        part.rename(target)


def drawn(generator: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random values for a Keras weight, by its role."""
    if kind in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    if kind in ("beta", "bias", "moving_mean"):
        return generator.normal(0, 0.1, shape)
    if kind not in ("kernel", "depthwise_kernel"):
        return np.ones(shape)  # the scale and the counters of a Normalization layer
    fan_in = np.prod(shape[:2]) if kind == "depthwise_kernel" else np.prod(shape[:-1])
    # keeps the spread of the activations about where it was (He et al. 2015, https://arxiv.org/abs/1502.01852)
    return generator.normal(0, np.sqrt(2 / fan_in), shape)


def torch(folder: Path) -> None:
    """Write the PyTorch networks that are not there yet."""
    import torch as t
    from torch import nn

    class Block(nn.Sequential):
        """Convolution, batch norm, activation."""

        def __init__(self, before: int, after: int, size: int = 3, stride: int = 1, act: Any = nn.SiLU):
            conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
            super().__init__(conv, nn.BatchNorm2d(after), act())

    class Encoder(nn.Module):
        """Embedded tokens to four classes through pre-norm layers of a transformer."""

        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(
                128, 4, 512, activation="gelu", batch_first=True, norm_first=True, dropout=0.0
            )
            self.place = nn.Parameter(t.randn(1, 64, 128) * 0.02)
            self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.head = nn.Linear(128, 4)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(x + self.place).mean(1))

    class UNet(nn.Module):
        """Three scales, transposed convolutions upwards, skips by concatenation."""

        def __init__(self) -> None:
            super().__init__()
            sizes = (16, 32, 64, 128)

            def pair(before: int, after: int) -> nn.Module:
                return nn.Sequential(Block(before, after, act=nn.ReLU), Block(after, after, act=nn.ReLU))

            self.down = nn.ModuleList(pair(a, b) for a, b in zip((3, *sizes), sizes, strict=False))
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, 2) for a in sizes[-2::-1])
            self.merge = nn.ModuleList(pair(2 * a, a) for a in sizes[-2::-1])
            self.head = nn.Conv2d(sizes[0], 2, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for index, down in enumerate(self.down):
                x = down(x if index == 0 else t.max_pool2d(x, 2))
                skips.append(x)
            for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
                x = merge(t.cat([up(x), skip], 1))
            return self.head(x)

    class Cross(nn.Module):
        """A cross-stage block: half the channels go through residual convolutions."""

        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.enter = Block(before, after, 1)
            self.inner = nn.ModuleList(
                [nn.Sequential(Block(after // 2, after // 2), Block(after // 2, after // 2))]
            )
            self.leave = Block(after + after // 2, after, 1)

        def forward(self, x: Any) -> Any:
            parts = list(self.enter(x).chunk(2, 1))
            for inner in self.inner:
                parts.append(parts[-1] + inner(parts[-1]))
            return self.leave(t.cat(parts, 1))

    class Detector(nn.Module):
        """A backbone of three scales, pooled at the end, a neck that upsamples, boxes and scores."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(Block(3, 16, 3, 2), Block(16, 32, 3, 2), Cross(32, 32))
            self.p3 = nn.Sequential(Block(32, 64, 3, 2), Cross(64, 64))
            self.p4 = nn.Sequential(Block(64, 128, 3, 2), Cross(128, 128))
            self.reduce, self.spread = Block(128, 64, 1), Block(256, 128, 1)
            self.pool = nn.MaxPool2d(5, 1, 2)
            self.neck = Cross(192, 64)
            self.heads = nn.ModuleList(nn.Conv2d(channels, 64 + 8, 1) for channels in (64, 128))

        def forward(self, x: Any) -> Any:
            p3 = self.p3(self.stem(x))
            pools = [self.reduce(self.p4(p3))]
            for _ in range(3):
                pools.append(self.pool(pools[-1]))
            p4 = self.spread(t.cat(pools, 1))
            up = nn.functional.interpolate(p4, scale_factor=2.0, mode="nearest")
            p3 = self.neck(t.cat([up, p3], 1))
            found = t.cat([h(p).flatten(2) for h, p in zip(self.heads, (p3, p4), strict=True)], 2)
            boxes, scores = found.split((64, 8), 1)
            bins = boxes.view(1, 4, 16, -1).transpose(1, 2).softmax(1)
            sides = (bins * t.arange(16.0).view(1, 16, 1, 1)).sum(1)
            return t.cat([sides, scores.sigmoid()], 1)

    made = {
        "transformer": (Encoder, (1, 64, 128)),
        "unet": (UNet, (1, 3, 128, 128)),
        "detector": (Detector, (1, 3, 256, 256)),
    }
    for name, (build, shape) in made.items():
        target = folder / f"{name}.onnx"
        if target.is_file():
            continue
        t.manual_seed(SEED)
        model = build().eval()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.1)
                nn.init.normal_(part.running_mean, 0, 0.1)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
        unfinished = target.with_suffix(".part")
        t.onnx.export(
            model, (t.rand(shape),), str(unfinished), input_names=["input"], output_names=["output"],
            dynamo=True, external_data=False,
        )  # fmt: skip
        unfinished.rename(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("keras", "torch"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    {"keras": keras, "torch": torch}[arguments.kind](arguments.folder)
