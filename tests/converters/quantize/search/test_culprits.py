"""Layers are grouped, told apart by their own effect, and ordered by accuracy per nanosecond."""

import itertools

import pytest

from converters.quantize.engine import Layer, LayerError
from converters.quantize.search.choices import DOUBTFUL, Choice, Refinement
from converters.quantize.search.culprits import Option, culprits, look, options, ordered
from converters.quantize.search.groups import Group, extra_ns, grouped, joined, suspected
from converters.quantize.search.trials import Look

BOTH = ("int8", "int16x8", "float32")


def _layer(name: str, macs: int = 100, precisions=BOTH, inputs=()) -> Layer:
    return Layer(name, "CONV_2D" if macs else "ADD", name.upper(), macs, precisions, inputs)


def _group(name: str, **more) -> Group:
    return Group((_layer(name, **more),))


def _error(name: str, snr_db: float | None) -> LayerError:
    return LayerError(name, "CONV_2D", name, "int8", snr_db, 1.0, None, None)


def test_layers_that_compute_nothing_go_with_what_they_read():
    """Additions and data movement are cut out with the layer whose output they read last."""
    layers = [
        _layer("scale", 0),
        _layer("a"),
        _layer("b", inputs=("a",)),
        _layer("c", inputs=("a",)),
        _layer("add", 0, inputs=("b", "a")),
        _layer("reshape", 0, inputs=("add",)),
        _layer("d", inputs=("reshape",)),
    ]
    found = [[layer.name for layer in group.layers] for group in grouped(layers)]
    assert [["scale"], ["a"], ["b", "add", "reshape"], ["c"], ["d"]] == found
    untold = [_layer("a"), _layer("pool", 0), _layer("b"), _layer("add", 0)]
    assert [["a", "pool"], ["b", "add"]] == [[one.name for one in group.layers] for group in grouped(untold)]


def test_a_group_leaves_out_layers_that_lack_a_precision():
    """Of a group those layers change that can."""
    group = Group((_layer("a"), _layer("soft", 0, ("int8", "float32"))))
    assert {"a": "int16x8"} == group.exceptions("int16x8")
    assert {"a": "float32", "soft": "float32"} == group.exceptions("float32")
    assert ("a", 100) == (group.head.name, group.macs)


def test_the_most_suspicious_first():
    """What a layer adds to the error counts, not what came with its input."""
    groups = [_group(name) for name in "abcde"]
    errors = [_error("a", None), _error("b", 20.0), _error("c", 20.5), _error("d", 14.0)]
    assert ["d", "b", "a", "c", "e"] == [group.head.name for group in suspected(groups, errors)]
    told = [_group("a"), _group("b", inputs=("a",)), _group("c", inputs=("a",))]
    errors = [_error("a", 30.0), _error("b", 10.0), _error("c", 12.0)]
    assert ["b", "c", "a"] == [group.head.name for group in suspected(told, errors)]


def test_what_a_group_costs():
    """Its share of the work, where a few runs could not tell it from noise."""
    group, known = _group("a"), {"int8": 1000, "float32": 3000}
    assert 10 + 2000 / 4 == extra_ns(group, "float32", known, 400, None)
    assert 10 + 2000 / 4 == extra_ns(group, "float32", known, 400, 50)
    assert 700 == extra_ns(group, "float32", known, 400, 700)
    assert 10 + 1000 / 4 == extra_ns(group, "int16x8", known, 400, None)  # taken to double the whole
    assert 10 == extra_ns(group, "float32", {"int8": 1000, "float32": 500}, 400, -900)


def test_single_layers_are_looked_at():
    """Each in the most accurate precision, then the foremost in the others, as far as they can be built."""
    groups = [_group(name, inputs=("x",)) for name in "abc"]
    groups.append(_group("d", precisions=("int8", "float32"), inputs=("x",)))
    asked = []

    def probe(group: Group, step: str) -> Look | None:
        asked.append((group.head.name, step))
        return None if group.head.name == "c" else Look(0.25 if group.head.name == "a" else 1.5, 1200)

    gains = look(groups, (), ("int16x8", "float32"), Look(1.0, 1000), probe, lambda: True)
    assert [(name, "float32") for name in "abcd"] == asked[:4]
    assert {("a", "int16x8"), ("b", "int16x8"), ("c", "int16x8")} == set(asked[4:])
    assert 0.75 == gains.of(groups[0], "float32")
    assert -0.5 == gains.of(groups[1], "float32")
    assert None is gains.of(groups[2], "float32")
    assert {200} == set(gains.extra_ns.values())
    assert [("a", 0.75)] == [(one.layer, one.gain) for one in culprits(groups, gains)]
    assert "" == gains.note


def test_neighbours_are_looked_at_together():
    """What the tensor between two layers loses is only seen where both have more: they become an option."""
    groups = [_group("a"), _group("b", inputs=("a",)), _group("c", inputs=("b",))]
    errors = {"a": 0.9, "b": 1.0, "c": 0.8, "a b": 0.1, "b c": 0.79}

    def probe(group: Group, step: str) -> Look:
        return Look(errors[group.key], 1000)

    pairs = [joined(group, groups) for group in groups[1:]]
    gains = look(groups, pairs, ("float32",), Look(1.0, 1000), probe, lambda: True)
    assert ["a b"] == [group.key for group in gains.together]
    assert ["A and B", "C", "A"] == [culprit.label for culprit in culprits(groups, gains)]
    found = ordered(options(groups, gains, ("float32",), lambda *_: 1.0))
    assert "a b" == found[0].group.key
    alone = next(one for one in found if one.group.key == "a")
    assert {found[0]} == set(Choice.of([alone, found[0]]).options)  # it is part of the pair


def test_with_what_a_group_is_joined():
    """With every group that it reads, in execution order; the first layers read none."""
    groups = grouped([_layer("a"), _layer("b", inputs=("a",)), _layer("add", 0, inputs=("b", "a"))])
    assert None is joined(groups[0], groups)
    pair = joined(groups[1], groups)
    assert pair is not None
    assert "a b add" == pair.key
    untold = grouped([_layer("a"), _layer("b"), _layer("c")])
    assert ["a b", "b c"] == [joined(group, untold).key for group in untold[1:]]


def test_there_is_no_time_for_all():
    """Those that were not looked at are told, and come last."""
    groups = [_group(name) for name in "abc"]
    left = iter([True, True, False, False])
    gains = look(groups, (), ("float32",), Look(1.0, 1000), lambda *_: Look(0.5, 1000), lambda: next(left))
    assert "for lack of time 2 of 3 layers were looked at, the most suspicious first" == gains.note
    found = options(groups, gains, ("float32",), lambda *_: 1.0)
    assert [("a", 0.5), ("b", 0.5), ("c", 0.0)] == [(one.group.key, one.gain) for one in found]
    assert ["a", "b", "c"] == [one.group.key for one in ordered(found)]


def test_accuracy_per_nanosecond():
    """A cheap step comes before a dear one, an upgrade after what it improves on, a useless one last."""
    groups = {name: _group(name) for name in "abcd"}
    table = {
        ("a", "int16x8"): (0.30, 100.0),
        ("a", "float32"): (0.40, 300.0),
        ("b", "int16x8"): (0.10, 500.0),  # float32 costs less and gains more
        ("b", "float32"): (0.20, 400.0),
        ("c", "int16x8"): (0.01, 100.0),  # less than its share of float32
        ("c", "float32"): (0.50, 250.0),
        ("d", "float32"): (-0.10, 10.0),
    }
    found = [Option(groups[name], step, *values) for (name, step), values in table.items()]
    expected = [("a", "int16x8"), ("c", "float32"), ("a", "float32"), ("b", "float32"), ("d", "float32")]
    assert expected == [(one.group.key, one.precision) for one in ordered(found)]


def test_cheaper_choices_come_in_order():
    """What should gain more than was too little, and cost less than what is kept, cheapest first."""
    found = tuple(
        Option(_group(name), "float32", gain, cost)
        for name, gain, cost in (("a", 0.4, 100.0), ("b", 0.3, 90.0), ("c", 0.35, 50.0), ("d", 0.1, 10.0))
    )
    a, b, c, d = found
    known = Refinement(Choice.of([a, b]), found)
    known.learn(Choice.of([a]), met=False)
    assert Choice.of([c, d]) == known.following()  # 0.45 for 60
    known.learn(Choice.of([c, d]), met=False)
    assert Choice.of([a, d]) == known.following()  # 0.5 for 110
    known.learn(Choice.of([a, d]), met=True)
    assert Choice.of([a, d]) == known.kept
    assert Choice.of([b, d]) == known.following()  # nothing promises enough: the most of what is cheaper
    for _ in range(DOUBTFUL):
        doubtful = known.following()
        if doubtful is not None:
            known.learn(doubtful, met=False)
    assert None is known.following()
    slow = Refinement(Choice.of([a, b]), found)
    slow.learn(Choice.of([a, d]), met=False, slow=True)
    assert 0.0 == slow.short  # it was not asked whether it meets the goal
    assert {"a": "float32", "b": "float32"} == Choice.of([a, b]).exceptions


@pytest.mark.parametrize("size", [1, 2])
def test_of_two_options_for_a_group_the_last_counts(size: int):
    """A choice holds one option for a group."""
    group = _group("a")
    both = [Option(group, "int16x8", 0.1, 1.0), Option(group, "float32", 0.2, 2.0)]
    for order in itertools.permutations(both, size):
        assert {order[-1]} == set(Choice.of(order).options)
