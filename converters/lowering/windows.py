"""Windows of convolutions and pools: attributes, padding, and when padding is TFLite's SAME or VALID."""

from __future__ import annotations

from attrs import frozen

from converters.graph.verify import MAX_ELEMENTS
from converters.lowering.registry import Node, Refused


@frozen
class Window:
    """A sliding window over the two spatial axes, padding explicit."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]  # padding before each axis
    end: tuple[int, int]

    def padding(self) -> str | None:
        """`VALID` or `SAME` where TFLite's is this very padding, else None."""
        if not any((*self.begin, *self.end)):
            return "VALID"
        for axis in (0, 1):
            lying = (self.begin[axis], self.end[axis])
            wanted = same(self.size[axis], self.kernel[axis], self.strides[axis], self.dilations[axis])
            if lying != wanted:
                return None
        return "SAME"


def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding of one axis, before and after; the odd element goes after.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window_of(node: Node, size: tuple[int, ...], kernel: tuple[int, ...], output: tuple[int, ...]) -> Window:
    """The window of a Conv or a pool with its padding made explicit.

    `size` and `output` are the spatial sizes of input and output. The padding after is what the last
    window reaches, whatever the file says: `ceil_mode` may need more, a stride less.

    Raises:
        Refused: it slides over other than two axes, or its padding is negative.
    """
    if len(size) != 2:
        raise Refused("only two-dimensional windows can be lowered", got=f"{len(size)}D", limit="2D")
    strides = node.integers("strides") or (1, 1)
    dilations = node.integers("dilations") or (1, 1)
    pads = node.integers("pads") or (0, 0, 0, 0)
    mode = node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == len(pads) // 2 == 2:
        raise Refused("its attributes are not those of a two-dimensional window", got=f"kernel {kernel}")
    if not all(0 < n <= MAX_ELEMENTS for n in (*strides, *dilations, *kernel)):
        raise Refused(
            "its window is impossible", got=f"kernel {kernel}, strides {strides}, dilations {dilations}"
        )
    if min(pads) < 0:
        raise Refused("its padding is negative", got=list(pads), limit=0)
    begin, end = [0, 0], [0, 0]
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        if mode == "NOTSET":
            begin[axis] = pads[axis]
            needed = (output[axis] - 1) * strides[axis] + reach - size[axis] - begin[axis]
            if needed > pads[axis + 2] and needed >= reach:
                # runtimes drop such a window, shape inference counts it
                raise Refused(
                    "ceil_mode adds a window that holds only padding", help="Export it with ceil_mode=0."
                )
            end[axis] = max(needed, 0)  # padding that no window reaches is left out
        elif mode != "VALID":
            before, after = same(size[axis], kernel[axis], strides[axis], dilations[axis])
            begin[axis], end[axis] = (before, after) if mode == "SAME_UPPER" else (after, before)
    return Window(
        (size[0], size[1]),
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (dilations[0], dilations[1]),
        (begin[0], begin[1]),
        (end[0], end[1]),
    )
