"""Operators of attention, recurrent nets and their states."""

from __future__ import annotations

import math
from typing import Any

import flambeau as fb
from importer import row

NONE = -math.inf


# -- attention -----------------------------------------------------------------------------------


def _heads(x: Any, count: int) -> Any:
    """(b, l, h e) as (b, h, l, e)."""
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def _with_past(x: Any, past: Any) -> Any:
    return x if past is None else fb.concatenate([past, x], 2)


def _mask(q: Any, k: Any, given: Any, past: int, lengths: Any, causal: bool, left: int, right: int
          ) -> Any:
    """All that limits attention as one tensor that is added to the scores, float32 or wider."""
    queries, keys = q.shape[2], k.shape[2]
    mask: Any = fb.zeros(1, 1, queries, keys)
    if given is not None:
        if given.shape[-1] < keys:
            ends = [(0, 0)] * (given.ndim - 1) + [(0, keys - given.shape[-1])]
            full = given.dtype.name == "bool"
            given = fb.pad(given, ends, value=0 if full else NONE)
        added = fb.where(given, 0.0, NONE) if given.dtype.name == "bool" else given
        mask = mask + added.float()
    row_, column = fb.arange(queries).reshape(-1, 1), fb.arange(keys)
    start: Any = past
    if lengths is not None:
        length = lengths.reshape(-1, 1, 1, 1)
        mask = fb.where(column < length, mask, NONE)
        start = length - queries
    if causal:
        mask = fb.where(column <= row_ + start, mask, NONE)
    if left >= 0:
        mask = fb.where(column >= row_ + start - left, mask, NONE)
    if right >= 0:
        mask = fb.where(column <= row_ + start + right, mask, NONE)
    return mask


@row("Attention")
def _attention(q: Any, k: Any, v: Any, attn_mask: Any = None, past_key: Any = None,
               past_value: Any = None, nonpad_kv_seqlen: Any = None, is_causal: int = 0,
               kv_num_heads: int = 0, q_num_heads: int = 0, qk_matmul_output_mode: int = 0,
               scale: float | None = None, softcap: float = 0.0, softmax_precision: int = 1,
               left_window_size: int = -1, right_window_size: int = -1, results: int = 1,
               **_: Any) -> Any:
    flat = q.ndim == 3
    if flat:
        q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    k, v = _with_past(k, past_key), _with_past(v, past_value)
    past = 0 if past_key is None else past_key.shape[2]
    mask = _mask(q, k, attn_mask, past, nonpad_kv_seqlen, bool(is_causal), left_window_size,
                 right_window_size)
    made = fb.scaled_dot_product_attention(q, k, v, mask.to(q.dtype), False, scale, softcap)
    seen = _scores(q, k, mask, scale, softcap, qk_matmul_output_mode) if results > 3 else None
    if flat:
        made = made.transpose(1, 2).reshape(made.shape[0], made.shape[2], -1)
    return (made, k, v, seen)[:results]


def _scores(q: Any, k: Any, mask: Any, scale: float | None, softcap: float, mode: int) -> Any:
    """What the fourth output shows: 0 products, 1 with the mask or 2 capped, 3 the weights."""
    if k.shape[1] != q.shape[1]:
        k = fb.repeat_interleave(k, q.shape[1] // k.shape[1], 1)
    scores = q @ k.transpose(2, 3) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mode == 0:
        return scores
    capped = fb.tanh(scores / softcap) * softcap if softcap else scores
    if mode == 1:
        return capped
    masked = capped + mask.to(q.dtype)
    if mode == 2:
        return masked
    alive = masked.amax(-1, True) > NONE
    return fb.where(alive, fb.softmax(fb.where(alive, masked, 0), -1), 0)


@row("RotaryEmbedding")
def _rotary_embedding(x: Any, cos: Any, sin: Any, positions: Any = None, interleaved: int = 0,
                      num_heads: int = 0, rotary_embedding_dim: int = 0) -> Any:
    flat = x.ndim == 3
    if flat:
        x = _heads(x, num_heads)
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    made = fb.rotary_embedding(x, cos, sin, bool(interleaved))
    return made.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1) if flat else made


@row("FlexAttention")
def _flex_attention(q: Any, k: Any, v: Any, scale: float | None = None, score_mod: Any = None,
                    prob_mod: Any = None, softmax_precision: int = 0) -> Any:
    """Scores and weights go through graphs of the caller's."""
    wide = q.dtype if q.dtype.itemsize > 2 else fb.float32
    if k.shape[1] != q.shape[1]:
        k, v = (fb.repeat_interleave(t, q.shape[1] // t.shape[1], 1) for t in (k, v))
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = ((q * root) @ (k * root).transpose(2, 3)).to(wide)
    scores = scores if score_mod is None else score_mod(scores)[0]
    weights = fb.softmax(scores, -1)
    weights = weights if prob_mod is None else prob_mod(weights)[0]
    return (weights @ v.to(wide)).to(v.dtype)


@row("LinearAttention")
def _linear_attention(q: Any, k: Any, v: Any, past: Any = None, decay: Any = None, beta: Any = None,
                      q_num_heads: int = 1, kv_num_heads: int = 1, scale: float = 0.0,
                      update_rule: str = "gated_delta", chunk_size: int = 0) -> Any:
    """A state (b, h, d_k, d_v) that fades, is corrected by what it says of k, and takes k v' up."""
    out, kept = q.dtype, (q if past is None else past).dtype
    q, k, v = (_heads(t.float(), n) for t, n in zip(
        (q, k, v), (q_num_heads, kv_num_heads, kv_num_heads)))
    state = fb.zeros(*k.shape[:2], k.shape[3], v.shape[3]) if past is None else past.float()
    rows = [t.moveaxis(2, 0) for t in (q, k, v)]
    rows += [_heads(t.float(), kv_num_heads if t.shape[2] > 1 else 1).moveaxis(2, 0)
             for t in (decay, beta) if t is not None]
    factor = scale or 1 / math.sqrt(q.shape[3])

    def step(state: Any, row: Any) -> Any:
        now_q, now_k, now_v, *more = row
        if decay is not None:
            state = state * fb.exp(more.pop(0)).unsqueeze(-1)
        if beta is not None:
            now_v = more.pop(0) * (now_v - (state * now_k.unsqueeze(-1)).sum(2))
        state = state + now_k.unsqueeze(-1) * now_v.unsqueeze(2)
        read = fb.repeat_interleave(state, q_num_heads // kv_num_heads, 1)
        return state, (read * now_q.unsqueeze(-1)).sum(2) * factor

    last, ys = fb.scan(step, state, tuple(rows))
    made = ys.permute(1, 0, 2, 3).reshape(ys.shape[1], ys.shape[0], -1)
    return made.to(out), last.to(kept)
