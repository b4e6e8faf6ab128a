"""Random operators of networks: convolutions, pools, normalisations, resizes, recurrent layers."""

from __future__ import annotations

import math

import numpy as np

from tests.converters.fuzzing.builder import Builder, Drawn


def _windows(b: Builder, value: Drawn, *, dilated: bool = True) -> dict[str, object] | None:
    """Kernel, strides, dilations and padding that fit the value."""
    space = value.shape[2:]
    kernel = [b.between(1, min(3, size)) for size in space]
    found: dict[str, object] = {"kernel_shape": kernel}
    if b.chance(0.5):
        found["strides"] = [b.between(1, 2) for _ in space]
    if dilated and b.chance(0.25):
        found["dilations"] = [b.between(1, 2) for _ in space]
    way = b.choice(("none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if way == "pads":
        found["pads"] = [b.below(k) for k in kernel] + [b.below(k) for k in kernel]
    elif way != "none":
        found["auto_pad"] = way
        if way.startswith("SAME"):
            found.pop("dilations", None)
    return found


def conv(b: Builder) -> None:
    value = b.pick(ranks=(3, 4, 4, 5))
    options = _windows(b, value) if value else None
    if value is None or options is None:
        return
    channels = value.shape[1]
    group = b.choice([g for g in range(1, channels + 1) if channels % g == 0])
    group = b.choice((1, group, channels))
    out = group * b.between(1, 3)
    weights = b.normal(out, channels // group, *options["kernel_shape"]) * np.float32(0.5)  # type: ignore[misc]
    operands = [value.name, b.constant(weights)]
    if b.chance(0.5):
        operands.append(b.constant(b.normal(out)))
    made = b.add("Conv", operands, group=group, **options)
    if made and b.chance(0.4):
        b.add(b.choice(("Relu", "Relu", "HardSwish", "Sigmoid", "LeakyRelu")), [made.name])


def conv_transpose(b: Builder) -> None:
    value = b.pick(ranks=(3, 4, 4))
    if value is None:
        return
    channels, kernel = value.shape[1], [b.between(1, 3) for _ in value.shape[2:]]
    group = b.choice((1, 1, channels))
    options: dict[str, object] = {}
    if b.chance(0.6):
        options["strides"] = [b.between(1, 3) for _ in kernel]
    if b.chance(0.4):
        options["pads"] = [b.below(k) for k in kernel] + [b.below(k) for k in kernel]
    if "strides" in options and b.chance(0.3):
        options["output_padding"] = [b.below(s) for s in options["strides"]]  # type: ignore[attr-defined]
    operands = [value.name, b.constant(b.normal(channels, b.between(1, 3), *kernel))]
    b.add("ConvTranspose", operands, group=group, **options)


def pool(b: Builder) -> None:
    value = b.pick(ranks=(3, 4, 4, 5))
    if value is None:
        return
    if b.chance(0.25):
        b.add(b.choice(("GlobalAveragePool", "GlobalMaxPool")), [value.name])
        return
    operator = b.choice(("MaxPool", "AveragePool"))
    options = _windows(b, value, dilated=operator == "MaxPool") or {}
    if b.chance(0.3) and "auto_pad" not in options:
        options["ceil_mode"] = 1
    if operator == "AveragePool" and b.chance(0.4):
        options["count_include_pad"] = 1
    b.add(operator, [value.name], **options)


def normalize(b: Builder) -> None:
    value = b.pick(ranks=(2, 3, 4))
    if value is None:
        return
    channels = value.shape[1]
    scale, bias = b.constant(b.positive(channels)), b.constant(b.normal(channels))
    kind = b.below(5)
    if kind == 0:
        rest = [scale, bias, b.constant(b.normal(channels)), b.constant(b.positive(channels))]
        b.add("BatchNormalization", [value.name, *rest], epsilon=1e-3)
    elif kind == 1 and value.rank > 2 and math.prod(value.shape[2:]) > 2:
        b.add("InstanceNormalization", [value.name, scale, bias], epsilon=1e-2)
    elif kind == 2:
        axis = b.between(1, value.rank - 1)
        sizes = value.shape[axis:]
        operands = [value.name, b.constant(b.positive(*sizes)), b.constant(b.normal(*sizes))]
        b.add("LayerNormalization", operands[: b.between(2, 3)], axis=axis, epsilon=1e-2)
    elif kind == 3:
        b.add(b.choice(("Softmax", "LogSoftmax")), [value.name], axis=b.axis(value.rank))
    elif value.rank == 4:
        b.add("LRN", [value.name], size=b.choice((1, 3)), alpha=0.1)


def rearrange(b: Builder) -> None:
    value = b.pick(ranks=(4,))
    if value is None:
        return
    if b.chance(0.5):
        b.add("DepthToSpace", [value.name], blocksize=2, mode=b.choice(("DCR", "CRD")))
    else:
        b.add("SpaceToDepth", [value.name], blocksize=2)


def resize(b: Builder) -> None:
    value = b.pick(ranks=(3, 4, 4))
    if value is None:
        return
    mode = b.choice(("nearest", "linear", "linear", "cubic"))
    space = value.rank - 2
    ways = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    options: dict[str, object] = {"mode": mode, "coordinate_transformation_mode": b.choice(ways)}
    if mode == "nearest":
        options["nearest_mode"] = b.choice(("floor", "round_prefer_floor", "ceil", "round_prefer_ceil"))
    # with align_corners ONNX divides by a length that is no integer where the scale is none, ONNX Runtime not
    if b.chance(0.5) and options["coordinate_transformation_mode"] != "align_corners":
        scales = [1.0, 1.0, *(float(b.choice((2.0, 0.5, 1.5, 3.0, 1.0))) for _ in range(space))]
        b.add("Resize", [value.name, "", b.constant(np.array(scales, np.float32))], **options)
    else:
        sizes = [*value.shape[:2], *(b.between(1, 9) for _ in range(space))]
        b.add("Resize", [value.name, "", "", b.constant(np.array(sizes, np.int64))], **options)


def recurrent(b: Builder) -> None:
    value = b.pick(ranks=(3,))
    if value is None:
        return
    steps, batch, size = value.shape
    operator, gates = b.choice((("LSTM", 4), ("GRU", 3), ("RNN", 1)))
    hidden, ways = b.between(1, 3), b.choice((1, 1, 2))
    direction = "bidirectional" if ways == 2 else b.choice(("forward", "reverse"))
    operands = [
        value.name,
        b.constant(b.normal(ways, gates * hidden, size) * np.float32(0.5)),
        b.constant(b.normal(ways, gates * hidden, hidden) * np.float32(0.5)),
        b.constant(b.normal(ways, 2 * gates * hidden)) if b.chance(0.7) else "",
    ]
    options = {"linear_before_reset": b.below(2)} if operator == "GRU" else {}
    if steps * batch < 64:
        b.add(operator, operands, 2, hidden_size=hidden, direction=direction, **options)
