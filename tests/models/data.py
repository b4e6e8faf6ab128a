"""The data of the models in this folder, made from seeds: scenes with shapes, single shapes, numbers."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

CLASSES = ("disc", "box", "triangle")
SIZE = 96  # pixels, width and height of a scene
TRAINING, CALIBRATION, VALIDATION = 1, 2, 3  # the first part of a scene's seed: sets that share no scene
MOST_SHAPES = 3
_LEAST, _GREATEST = 18, 46  # pixels, a shape's width and height
# of a shape against what it covers, and of the noise: what a camera sees is worse than what it was trained on
_CONTRAST = {True: (0.12, 0.4), False: (0.06, 0.25)}
_NOISE = {True: (0.02, 0.12), False: (0.05, 0.2)}


@frozen
class Scene:
    """An image float32[3, SIZE, SIZE] in 0..1, and its shapes.

    `classes` is int64[N], `boxes` float32[N, 4] with the edges x1, y1, x2, y2 in pixels.
    """

    image: np.ndarray = field(repr=False)
    classes: np.ndarray
    boxes: np.ndarray


def scene(part: int, index: int) -> Scene:
    """The scene of that number of a set (`TRAINING`, `CALIBRATION`, `VALIDATION`)."""
    random = np.random.default_rng((part, index))
    image = _background(random)
    boxes: list[tuple[float, ...]] = []
    classes: list[int] = []
    wanted = int(random.integers(1, MOST_SHAPES + 1))
    for _ in range(30):
        if len(boxes) == wanted:
            break
        width, height = random.uniform(_LEAST, _GREATEST, 2)
        x, y = random.uniform(1, SIZE - 1 - width), random.uniform(1, SIZE - 1 - height)
        box = (x, y, x + width, y + height)
        if any(_overlap(box, other) for other in boxes):
            continue
        kind = int(random.integers(len(CLASSES)))
        _draw(image, kind, box, _CONTRAST[part == TRAINING], random)
        boxes.append(box)
        classes.append(kind)
    noise = random.normal(0, random.uniform(*_NOISE[part == TRAINING]), image.shape)
    image = np.clip(image + noise, 0, 1).astype(np.float32)
    return Scene(image, np.array(classes, np.int64), np.array(boxes, np.float32).reshape(-1, 4))


def scenes(part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first scenes of a set for `detector.onnx`, input `images`, and their labels.

    Returns:
        The images, float32[N, 3, SIZE, SIZE]; the shapes, float32[N, MOST_SHAPES, 5] with rows x1, y1, x2, y2
        in pixels and the class, -1 where there is no shape.
    """
    made = [scene(part, index) for index in range(count)]
    labels = np.full((count, MOST_SHAPES, 5), -1, np.float32)
    for label, each in zip(labels, made, strict=True):
        label[: len(each.boxes), :4] = each.boxes
        label[: len(each.classes), 4] = each.classes
    return np.stack([each.image for each in made]), labels


def patches(part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images float32[N, 3, 32, 32] for `outlier.onnx`, input `image`, and their classes, int64[N]."""
    made = [patch(part, index) for index in range(count)]
    return np.stack([image for image, _ in made]), np.array([kind for _, kind in made])


def readings(part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values float32[N, 8] for `regressor.onnx`, input `values`, and quantities float32[N, 1]."""
    made = [reading(part, index) for index in range(count)]
    return np.stack([values for values, _ in made]), np.array(
        [[quantity] for _, quantity in made], np.float32
    )


def _background(random: np.random.Generator) -> np.ndarray:
    """A tilted gradient with stripes, float64[3, SIZE, SIZE]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    tilt = random.uniform(-0.4, 0.4, (3, 2))
    base = random.uniform(0.2, 0.8, 3)
    flat = base[:, None, None] + tilt[:, 0, None, None] * x + tilt[:, 1, None, None] * y
    along = np.cos(random.uniform(0, np.pi) + random.uniform(8, 60) * (x * tilt[0, 0] + y * tilt[1, 1]))
    return np.asarray(flat + random.uniform(0, 0.12) * along)


def _draw(
    image: np.ndarray,
    kind: int,
    box: tuple[float, ...],
    contrast: tuple[float, float],
    random: np.random.Generator,
) -> None:
    """A shape that fills its box, in a colour away from what it covers."""
    x1, y1, x2, y2 = box
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    u, v = (x - x1) / (x2 - x1), (y - y1) / (y2 - y1)  # 0..1 inside the box
    inside = (0 <= u) & (u <= 1) & (0 <= v) & (v <= 1)
    if kind == 0:
        inside &= (u - 0.5) ** 2 + (v - 0.5) ** 2 <= 0.25
    elif kind == 2:
        inside &= np.abs(u - 0.5) <= v / 2
    covered = image[:, inside].mean(axis=1)
    away = random.uniform(*contrast, 3) * random.choice((-1, 1), 3)
    image[:, inside] = np.clip(covered + away, 0, 1)[:, None]


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether the boxes share more than a tenth of the smaller one."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min((each[2] - each[0]) * (each[3] - each[1]) for each in (box, other))
    return width > 0 and height > 0 and width * height > 0.1 * smaller


def patch(part: int, index: int) -> tuple[np.ndarray, int]:
    """A shape and its class: an image float32[3, 32, 32] in 0..1, drawn at three times that size."""
    random = np.random.default_rng((part, index, 1))
    image = _background(random)
    width, height = random.uniform(40, 84, 2)
    x, y = random.uniform(1, SIZE - 1 - width), random.uniform(1, SIZE - 1 - height)
    kind = int(random.integers(len(CLASSES)))
    _draw(image, kind, (x, y, x + width, y + height), _CONTRAST[True], random)
    small = image.reshape(3, 32, 3, 32, 3).mean(axis=(2, 4))
    noise = random.normal(0, random.uniform(0.02, 0.1), small.shape)
    return np.clip(small + noise, 0, 1).astype(np.float32), kind


def reading(part: int, index: int) -> tuple[np.ndarray, float]:
    """Eight numbers of a sensor, float32[8] in -1..1, and a quantity that follows from them."""
    values = np.random.default_rng((part, index, 2)).uniform(-1, 1, 8)
    quantity = np.sin(3 * values[0]) * values[1] + np.abs(values[2] - values[3]) + values[4:].sum() / 4
    return values.astype(np.float32), float(quantity)
