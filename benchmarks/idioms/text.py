"""Expressions as texts: in Python's syntax over operands and numbers, with exp and tanh."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

FUNCTIONS = ("exp", "tanh")


def names(text: str) -> list[str]:
    """The operands, in the order of the alphabet."""
    found = {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    return sorted(found - set(FUNCTIONS))


class _Constants(ast.NodeTransformer):
    def __init__(self, number: Callable[[Any], Any], operand: str) -> None:
        self.number, self.operand = number, operand
        self.known: dict[str, Any] = {}

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        name = f"c{len(self.known)}"
        self.known[name] = self.number(node.value)
        return ast.Name(name)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in FUNCTIONS:
            return node
        return ast.parse(self.operand.format(node.id), mode="eval").body

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left = self.visit(node.left)
        if not isinstance(node.op, ast.Pow):  # exponents stay: they choose the multiplications
            node.right = self.visit(node.right)
        return node


def constants(text: str, number: Callable[[Any], Any], operand: str = "{}"
              ) -> tuple[str, dict[str, Any]]:
    """(text, {name: number}): numbers become names of numbers of one type, so that no literal
    widens an expression; operands are written as `operand` says."""
    change = _Constants(number, operand)
    body = change.visit(ast.parse(text, mode="eval").body)
    return ast.unparse(body), change.known


def function(text: str) -> Callable[..., Any]:
    """`f(x, *operands)`: the text, with the functions of the namespace x."""
    body = text
    for name in FUNCTIONS:
        body = body.replace(f"{name}(", f"x.{name}(")
    made: Callable[..., Any] = eval(f"lambda x, {', '.join(names(text))}: {body}")
    return made
