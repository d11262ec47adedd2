"""Nests of tuples, lists and dicts with tensors at the ends."""

from __future__ import annotations

from typing import Any

from .tensor import Tensor


def flatten(tree: Any, leaves: list[Tensor]) -> Any:
    """The shape of a nest, its tensors appended to `leaves`. Other ends are kept as they are."""
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return len(leaves) - 1
    if isinstance(tree, tuple | list):
        return type(tree), [flatten(t, leaves) for t in tree]
    if isinstance(tree, dict):
        return dict, {k: flatten(v, leaves) for k, v in tree.items()}
    return None, tree


def unflatten(spec: Any, leaves: list[Tensor]) -> Any:
    """`flatten` undone, with other tensors."""
    if isinstance(spec, int):
        return leaves[spec]
    kind, parts = spec
    if kind is None:
        return parts
    if kind is dict:
        return {k: unflatten(v, leaves) for k, v in parts.items()}
    items = [unflatten(p, leaves) for p in parts]
    return kind(*items) if hasattr(kind, "_fields") else kind(items)
