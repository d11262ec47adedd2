"""Printed graphs are stable, complete and free of addresses."""

from __future__ import annotations

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler import show
from flambeau.compiler.algebra import add, like, unary
from flambeau.compiler.node import Node
from graph_helpers import leaf


def sample() -> Node:
    x = leaf(np.ones((2, 3), np.float32))
    rate = N.expand(N.reshape(N.scalar(dt.float32, 0.5), (1, 1)), (2, 3))
    return N.reduce_("sum", N.elementwise("mul", add(unary("exp", x), like(x, 1)), rate), (1,))


def test_text() -> None:
    assert show.text([sample()]) == """\
%0 = buffer f32[2,3]
%1 = exp f32[2,3] %0
%2 = const f32[] 1.0
%3 = reshape f32[1,1] %2
%4 = expand f32[2,3] %3
%5 = add f32[2,3] %1 %4
%6 = scalar f32[] 0.5
%7 = reshape f32[1,1] %6
%8 = expand f32[2,3] %7
%9 = mul f32[2,3] %5 %8
%10 = sum f32[2,1] %9 (1,)
return %10"""
    assert show.text([sample()]) == show.text([sample()])


def test_arguments() -> None:
    x = leaf(np.ones((2, 3)))
    assert show.argument(N.slice_(x, (1, 2), (1, 2), (1, -2))) == "[1::1, 2::-2]"
    assert show.argument(N.pad(x, (1, 0), (4, 5), 7, (1, 2))) == "[1, 0 by 2] fill 7.0"
    assert show.argument(N.node("mark", dt.float64, (2, 3), (x,), object())) == ""
    assert show.kind(N.const(dt.bfloat16, 1, (2,))) == "bfloat16[2]"
    assert show.kind(N.const(dt.uint8, 1, (2,))) == "u8[2]"
    assert show.kind(N.const(dt.bool_, 1)) == "bool[]"


def test_long_graphs_are_cut() -> None:
    x = leaf(np.ones(1))
    for _ in range(50):
        x = unary("sin", x)
    lines = show.text([x], limit=10).splitlines()
    assert lines[10] == "... 41 more" and lines[11] == "return %50"


def test_networkx() -> None:
    graph = show.to_networkx([sample()])
    assert graph.number_of_nodes() == 11 and graph.number_of_edges() == 10
    assert graph.nodes[10]["op"] == "sum" and graph.nodes[10]["shape"] == (2, 1)
    assert graph.edges[8, 9, 0]["operand"] == 1
    square = show.to_networkx([N.elementwise("mul", *[leaf(np.ones(2))] * 2)])
    assert square.number_of_edges() == 2


def test_dot() -> None:
    source = show.to_dot([sample()])
    assert source.startswith("digraph") and source.endswith("}")
    assert source.count("->") == 10 and source.count("peripheries=2") == 1
    assert "sum\\nf32[2,1]" in source
