"""Constants of the same value."""

import numpy as np

from converters.graph.passes.links import Links
from converters.graph.passes.manager import optimize
from converters.graph.passes.share_constants import share_constants
from device_agent.bundle import Quantization


def two(build, first, second):
    """A graph that reads two constants."""
    b = build((4,))
    names = [b.constant(value=value, dtype=np.asarray(value).dtype.name) for value in (first, second)]
    return b, names, b.outputs(b.binary("ADD", b.binary("MUL", "x", names[0]), names[1]))


def test_equal(build, run_graph):
    """They become one tensor, and the account says how many bytes that was."""
    value = np.array([1, 2, 3, 4], np.float32)
    _, names, graph = two(build, value, value.copy())
    before = run_graph(graph)
    account = optimize(graph)
    (applied,) = account.applied
    assert ("share_constants", 1, 0, -16) == (
        applied.rewrite,
        applied.times,
        applied.operators,
        applied.constant_bytes,
    )
    assert names[1] not in graph.tensors
    assert np.array_equal(before["y0"], run_graph(graph)["y0"])


def test_what_stays(build):
    """One bit apart, -0.0 beside 0.0, another shape, another quantisation."""
    value = np.array([0, 2, 3, 4], np.float32)
    for other in (np.array([-0.0, 2, 3, 4], np.float32), np.nextafter(value, 5), value[None]):
        assert 0 == share_constants(Links(two(build, value, other.astype(np.float32))[2]))
    b, names, graph = two(build, value, value.copy())
    b.graph.tensors[names[0]].quantization = Quantization((0.5,), (0,))
    assert 0 == share_constants(Links(graph))
