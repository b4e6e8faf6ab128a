"""How a model's inputs are fixed: sizes, symbols, bindings, and what stays open."""

import numpy as np
import pytest

from converters.shaping import Declared, DynamicAxis, Shaping, resolve
from device_agent.errors import EdgeError, InvalidModel, InvalidRequest

IMAGE = Declared("x", "float32", ("n", 3, "h", "w"))
STATE = Declared("state", "float32", (2, "n", 128))
RATE = Declared("sr", "int64", ())
UNNAMED = [Declared("a", "float32", (None, 4)), Declared("b", "float32", (None, 5, None))]


def sizes(inputs, **asked):
    return resolve(inputs, Shaping(**asked), "net.onnx").shapes


def test_the_batch_is_one_unless_asked_otherwise():
    """An open first axis becomes the batch, and so does its symbol in other inputs."""
    inputs = [STATE, Declared("x", "float32", ("n", 3))]
    assert {"state": (2, 1, 128), "x": (1, 3)} == sizes(inputs)
    assert {"state": (2, 4, 128), "x": (4, 3)} == sizes(inputs, batch=4)


def test_whole_shapes():
    """A shape goes before the batch, and its sizes hold for the same symbols elsewhere."""
    found = sizes([IMAGE, STATE], batch=2, input_shapes={"x": (5, 3, 64, 32)})
    assert {"x": (5, 3, 64, 32), "state": (2, 5, 128)} == found


def test_a_bound_input_is_gone():
    """What is bound has no shape left to choose, and its sizes hold for its symbols."""
    found = resolve(
        [IMAGE, STATE, RATE],
        Shaping(bind={"state": np.zeros((2, 3, 128)), "sr": np.array(8)}, input_shapes={"x": (3, 3, 8, 8)}),
        "net.onnx",
    )
    assert {"x": (3, 3, 8, 8)} == found.shapes
    assert ("float32", "int64") == (found.bound["state"].dtype, found.bound["sr"].dtype)


def test_an_open_dimension_says_what_fixes_it():
    """The error names input, axes and symbols, and the option that fixes them, ready to be pasted."""
    with pytest.raises(InvalidModel) as caught:
        sizes([IMAGE], batch=2)
    assert "input 'x', axis 2 and 3" in str(caught.value)
    assert "'h' and 'w'" == caught.value.got
    assert "`--input-shape x=2,3,224,224`" in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"input_shapes": {"y": (1,)}}, ("`--input-shape` names an input", "'y'", "'x' or 'state'")),
        ({"bind": {"y": np.array(1)}}, ("`--bind` names an input", "'y'", "'x' or 'state'")),
        ({"dynamic": {"y": (0,)}}, ("`--dynamic` names an input", "'y'", "'x' or 'state'")),
        ({"input_shapes": {"x": (1, 4, 8, 8)}}, ("axis 1 of input 'x'", "4 from", "3, as the file says")),
        ({"input_shapes": {"x": (1, 3, 8)}}, ("another number of axes", "[1, 3, 8]", "[n, 3, h, w]")),
        ({"input_shapes": {"x": (1, 3, 0, 8)}}, ("at least 1",)),
        (
            {"input_shapes": {"x": (1, 3, 8, 8), "state": (2, 4, 128)}},
            ("'n'", "1 for axis 0 of input 'x'", "4 for axis 1 of input 'state'"),
        ),
        ({"input_shapes": {"state": (2, 1, 128)}, "bind": {"state": np.array(1)}}, ("the same input",)),
        ({"layout": "nchw"}, ("unknown layout", "keep or nhwc")),
    ],
)
def test_contradictions(asked, words):
    """What does not fit the file, or itself, is named with both sides."""
    with pytest.raises(InvalidRequest) as caught:
        sizes([IMAGE, STATE], **asked)
    for word in words:
        assert word in str(caught.value)


def test_a_symbol_stays_open_everywhere():
    """An axis that stays open does so in every input that has its symbol."""
    asked = Shaping(input_shapes={"x": (1, 3, 8, 8)}, dynamic={"state": (1,), "x": (0, 3)})
    found = resolve([IMAGE, STATE], asked, "net.onnx").dynamic
    assert (DynamicAxis("n", (("x", 0), ("state", 1))), DynamicAxis("w", (("x", 3),))) == found


def test_first_axes_without_a_symbol_are_the_batch():
    """Unknown first axes stay open together; another unknown axis is alone; different sizes are no batch."""
    asked = Shaping(input_shapes={"b": (1, 5, 7)}, dynamic={"a": (0,), "b": (2,)})
    found = resolve(UNNAMED, asked, "net.onnx").dynamic
    assert (DynamicAxis("", (("a", 0), ("b", 0))), DynamicAxis("", (("b", 2),))) == found
    asked = Shaping(input_shapes={"b": (2, 5, 7)}, dynamic={"a": (0,)})
    assert (DynamicAxis("", (("a", 0),)),) == resolve(UNNAMED, asked, "net.onnx").dynamic


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"dynamic": {"x": (1,)}}, "that the file fixes"),
        ({"dynamic": {"x": (4,)}}, "has not"),
        ({"dynamic": {"x": (0,)}, "bind": {"state": np.zeros((2, 1, 128))}}, "that a bound input fixes"),
    ],
)
def test_what_cannot_stay_open(asked, words):
    """A fixed axis, one that is not there, and a size that a bound input has."""
    with pytest.raises(EdgeError, match=words):
        sizes([IMAGE, STATE], input_shapes={"x": (1, 3, 8, 8)}, **asked)
