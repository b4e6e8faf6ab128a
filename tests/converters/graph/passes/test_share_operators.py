"""Common subexpressions."""

from converters.graph.ir import GraphOperator, GraphTensor


def test_twice_the_same(build, rewrite):
    """What is computed twice is computed once, and what follows from it too."""
    b = build((2, 5))
    first, second = (b.unary("SIN", b.scaled("ADD", b.unary("COS", "x"), 2)) for _ in range(2))
    graph = b.outputs(b.binary("MUL", first, second))
    counts, types = rewrite(graph)
    assert (3, ["COS", "ADD", "SIN", "MUL"]) == (counts["share_operators"], types)
    assert [(0, 3), (1, 4), (2, 5), (6,)] == [operator.sources for operator in graph.operators]


def test_what_stays(build, rewrite):
    """Other constants, other options, other operands."""
    b = build((2, 5))
    left = b.binary("SUB", "x", b.unary("COS", "x"))
    right = b.binary("SUB", b.unary("SIN", "x"), "x")
    added = b.binary("MUL", b.scaled("ADD", "x", 2), b.scaled("ADD", "x", 3))
    leaks = [b.add("LEAKY_RELU", ["x"], (2, 5), alpha=alpha) for alpha in (0.1, 0.2)]
    graph = b.outputs(b.binary("MUL", left, right), added, b.binary("MUL", *leaks))
    assert {} == rewrite(graph)[0]


def test_outputs_stay(build, rewrite):
    """Two outputs of the graph have a tensor each."""
    b = build((2, 5))
    assert {} == rewrite(b.outputs(b.unary("COS", "x"), b.unary("COS", "x")))[0]


def test_state_and_chance_stay(build):
    """What keeps a state, or gives something else each time, is not the same twice."""
    from converters.graph.passes.links import Links
    from converters.graph.passes.share_operators import share_operators

    b = build((2, 5))
    b.graph.tensors["state"] = GraphTensor("state", (2, 3), "float32", variable=True)
    weights, memory = b.constant(3, 5), b.constant(3, 1)
    cells = [b.add("SVDF", ["x", weights, memory, None, "state"], (2, 3), rank=1) for _ in range(2)]
    shape = b.constant(value=[2, 3], dtype="int32")
    for number in range(2):
        name = f"noise{number}"
        b.graph.tensors[name] = GraphTensor(name, (2, 3), "float32")
        b.graph.operators.append(GraphOperator("RANDOM_UNIFORM", [shape], [name]))
    graph = b.outputs(b.binary("ADD", *cells), b.binary("ADD", "noise0", "noise1"))
    assert 0 == share_operators(Links(graph))
