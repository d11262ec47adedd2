"""Attention as functions: scaled dot products, and positions as rotations."""

from __future__ import annotations

import math
from typing import Any

from . import reductions as r
from .creation import ones
from .elementwise import tanh, where
from .joining import concatenate, repeat_interleave, stack
from .movement import flatten, matrix_transpose
from .products import matmul, tril
from .recording import as_tensors
from .tensor import Tensor


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 is_causal: bool = False, scale: float | None = None,
                                 softcap: float = 0.0) -> Tensor:
    """softmax(query key' scale + mask) value: query (..., h, l, e), key (..., h, s, e), value
    (..., h, s, v), result (..., h, l, v). The axis h may be missing; key and value may have fewer
    heads, each then serves several of the query's.

    attn_mask broadcasts to (..., h, l, s): bool (true: may be looked at) or added. is_causal: step
    i looks at steps up to i. scale: 1 / sqrt(e) unless given. softcap: c tanh(scores / c) in place
    of the scores. A query that may look at nothing gives 0. PyTorch scaled_dot_product_attention;
    Vaswani et al. 2017. Raises ValueError for shapes that do not fit.
    """
    name = "scaled_dot_product_attention"
    q, k, v = as_tensors(name, query, key, value)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or (
            k.shape[-2] != v.shape[-2]):
        raise ValueError(f"{name}: expected query (..., l, e), key (..., s, e) and value "
                         f"(..., s, v), got {q.shape}, {k.shape} and {v.shape}")
    if q.ndim > 2 and k.ndim == v.ndim == q.ndim:
        k, v = (_for_heads(name, t, q.shape[-3]) for t in (k, v))
    scores = attention_scores(q, k, scale, softcap)
    if is_causal:
        causal = tril(ones(q.shape[-2], k.shape[-2], dtype="bool", device=q.device))
        scores = where(causal, scores, -math.inf)
    if attn_mask is not None:
        mask = as_tensors(name, q, attn_mask)[1]
        scores = where(mask, scores, -math.inf) if mask.dtype.name == "bool" else (
            scores + mask.to(scores.dtype))
    return matmul(attention_weights(scores), v)


def _for_heads(name: str, t: Tensor, heads: int) -> Tensor:
    """Keys or values repeated for as many heads."""
    if t.shape[-3] == heads or t.shape[-3] == 1:
        return t
    if t.shape[-3] == 0 or heads % t.shape[-3]:
        raise ValueError(f"{name}: expected heads that divide {heads}, got {t.shape[-3]}")
    return repeat_interleave(t, heads // t.shape[-3], -3)


def attention_scores(query: Tensor, key: Tensor, scale: float | None, softcap: float) -> Tensor:
    """query key' scale, capped."""
    width = query.shape[-1]
    root = math.sqrt(1 / math.sqrt(max(width, 1)) if scale is None else abs(scale))
    scores = matmul(query * root, matrix_transpose(key) * math.copysign(root, scale or 1))
    return tanh(scores / softcap) * softcap if softcap else scores


def attention_weights(scores: Tensor) -> Tensor:
    """softmax along the last axis; 0 where all is -inf."""
    nothing = r.amax(scores, -1, True) == -math.inf if scores.shape[-1] else None
    if nothing is None:
        return scores
    return where(nothing, 0, r.softmax(where(nothing, 0, scores), -1))


def rotary_embedding(x: Any, cos: Any, sin: Any, interleaved: bool = False) -> Tensor:
    """x (..., e) with pairs of elements turned by angles, whose cos and sin (..., w / 2) broadcast;
    the elements beyond w stay. The pairs are element i and i + w / 2 or, interleaved, 2 i and
    2 i + 1. Su et al. 2021 (RoFormer). Raises ValueError where w is more than e.
    """
    t, c, s = as_tensors("rotary_embedding", x, cos, sin)
    half = c.shape[-1] if c.ndim else 0
    if c.shape != s.shape or not 1 <= half <= (t.shape[-1] if t.ndim else 0) // 2:
        raise ValueError("rotary_embedding: expected cos and sin of one shape (..., w / 2) with w "
                         f"at most x's last axis, got {c.shape}, {s.shape} and x {t.shape}")
    turned, rest = t[..., :2 * half], t[..., 2 * half:]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else (
        turned[..., :half], turned[..., half:])
    first, second = a * c - b * s, a * s + b * c
    joined = flatten(stack([first, second], -1), -2) if interleaved else (
        concatenate([first, second], -1))
    joined = joined.to(t.dtype)
    return joined if not rest.shape[-1] else concatenate([joined, rest], -1)
