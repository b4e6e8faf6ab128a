"""Broken TFLite files: bytes flipped, files cut, 32-bit fields set, offsets swapped; the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WORDS = (0, 1, 2, 4, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutants(sources: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` broken versions of the files in turn; most edits go where the structure is."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        data = bytearray(sources[number % len(sources)])
        for _ in range(int(generator.integers(1, 6))):
            _edit(data, generator)
        yield bytes(data)


def _edit(data: bytearray, generator: np.random.Generator) -> None:
    kind = generator.choice(["flip", "word", "swap", "cut", "move"], p=[0.35, 0.35, 0.15, 0.05, 0.1])
    # of a file most bytes are weights, which break nothing: edit its two ends more often than its middle
    span = len(data) if generator.random() < 0.3 else min(len(data), 4096)
    start = 8 if generator.random() < 0.5 else max(8, len(data) - span)
    place = int(generator.integers(start, max(start + 1, min(len(data) - 4, start + span))))
    if kind == "flip":
        data[place : place + 1] = bytes([int(generator.integers(256))])
    elif kind == "word":
        small = generator.random() < 0.4
        value = int(generator.integers(0, 64)) if small else int(generator.choice(WORDS))
        data[place & ~3 : (place & ~3) + 4] = value.to_bytes(4, "little")
    elif kind == "cut":
        del data[int(generator.integers(8, max(9, len(data)))) :]
    else:
        other = int(generator.integers(8, max(9, len(data) - 4))) & ~3
        here, there = data[place & ~3 : (place & ~3) + 4], data[other : other + 4]
        data[place & ~3 : (place & ~3) + 4] = there
        if kind == "swap":
            data[other : other + 4] = here
