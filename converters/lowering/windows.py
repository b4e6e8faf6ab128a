"""Windows of convolutions and pools: attributes, padding, and when padding is TFLite's SAME or VALID."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from converters.graph.verify import MAX_ELEMENTS
from converters.lowering.registry import Node, Refused

Sizes = tuple[int, ...]


@frozen
class Window:
    """A sliding window over the spatial axes, padding explicit; every field has an element per axis."""

    size: Sizes  # of the input
    output: Sizes
    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    begin: Sizes  # padding before each axis
    end: Sizes

    def padding(self) -> str | None:
        """`VALID` or `SAME` where TFLite's is this very padding, else None."""
        if not any((*self.begin, *self.end)):
            return "VALID"
        for axis in range(len(self.size)):
            lying = (self.begin[axis], self.end[axis])
            wanted = same(self.size[axis], self.kernel[axis], self.strides[axis], self.dilations[axis])
            if lying != wanted:
                return None
        return "SAME"

    def taken(self, axes: Sequence[int]) -> Window:
        """The window over these of its axes only."""
        fields = (self.size, self.output, self.kernel, self.strides, self.dilations, self.begin, self.end)
        return Window(*(tuple(values[axis] for axis in axes) for values in fields))

    def over(self, size: Sizes) -> Window:
        """The window over an input of other sizes: where they are the output's, nothing is left to do."""
        fields = (self.output, self.kernel, self.strides, self.dilations, self.begin, self.end)
        return Window(size, *fields)

    def planar(self) -> Window:
        """A window over one axis as one over two, of which the first has size 1."""
        if len(self.size) != 1:
            return self
        return Window(
            (1, *self.size),
            (1, *self.output),
            (1, *self.kernel),
            (1, *self.strides),
            (1, *self.dilations),
            (0, *self.begin),
            (0, *self.end),
        )

    def reached(self, axis: int) -> list[list[int]]:
        """Per place of the output the places of the input that the window has, padding included."""
        stride, dilation, begin = self.strides[axis], self.dilations[axis], self.begin[axis]
        return [
            [place * stride + step * dilation - begin for step in range(self.kernel[axis])]
            for place in range(self.output[axis])
        ]


def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding of one axis, before and after; the odd element goes after.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window_of(node: Node, size: Sizes, kernel: Sizes, output: Sizes) -> Window:
    """The window of a Conv or a pool with its padding made explicit.

    `size` and `output` are the spatial sizes of input and output. The padding after is what the last
    window reaches, whatever the file says: `ceil_mode` may need more, a stride less.

    Raises:
        Refused: it slides over other than one to three axes, or its padding is negative.
    """
    axes = len(size)
    if not 1 <= axes <= 3:
        raise Refused("it slides over too many axes", got=f"{axes}D", limit="1D, 2D, 3D")
    strides = node.integers("strides") or (1,) * axes
    dilations = node.integers("dilations") or (1,) * axes
    pads = node.integers("pads") or (0,) * (2 * axes)
    mode = node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == axes:
        raise Refused(f"its attributes are not those of a window over {axes} axes", got=f"kernel {kernel}")
    if not all(0 < n <= MAX_ELEMENTS for n in (*strides, *dilations, *kernel)):
        raise Refused(
            "its window is impossible", got=f"kernel {kernel}, strides {strides}, dilations {dilations}"
        )
    if mode not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise Refused("its auto_pad is none that ONNX has", got=repr(mode))
    if min(pads) < 0:
        raise Refused("its padding is negative", got=list(pads), limit=0)
    begin, end = [0] * axes, [0] * axes
    for axis in range(axes):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        if mode == "NOTSET":
            begin[axis] = pads[axis]
            needed = (output[axis] - 1) * strides[axis] + reach - size[axis] - begin[axis]
            if needed > pads[axis + axes] and needed >= reach:
                # runtimes drop such a window, shape inference counts it
                raise Refused(
                    "ceil_mode adds a window that holds only padding", help="Export it with ceil_mode=0."
                )
            end[axis] = max(needed, 0)  # padding that no window reaches is left out
        elif mode != "VALID":
            before, after = same(size[axis], kernel[axis], strides[axis], dilations[axis])
            begin[axis], end[axis] = (before, after) if mode == "SAME_UPPER" else (after, before)
    return Window(size, output, kernel, strides, dilations, tuple(begin), tuple(end))
