"""Stabilisation: spellings that overflow or cancel become forms that do not.

Every rule here is a pattern a user would write and the stable way to compute it. They look through
several readers (a shared exp is no reason to overflow) and through commuted operands. Run before
differentiating: the derivative of a stable form is stable.

The shifted forms, log(sum(exp(x - max))) and softmax, contain the pattern they came from;
`_shifted` knows them, so they are left alone. Not done: log(1 - exp(x)), which has no primitive.
"""

from __future__ import annotations

import math

from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, div, like, mul, neg, sub, unary, where
from flambeau.compiler.fold import constant
from flambeau.compiler.node import Node, elementwise, reduce_
from flambeau.compiler.rewrite import Rule

_VIEWS = frozenset(("reshape", "permute", "expand", "mark"))


# -- matching ------------------------------------------------------------------------------------


def other_than(n: Node, value: float) -> Node | None:
    """For a two-operand node with that constant on one side, the other side."""
    a, b = n.src
    if constant(b) == value:
        return a
    return b if constant(a) == value else None


def _plus_one(n: Node) -> Node | None:
    """x where n is 1 + x in some spelling."""
    if n.op == "add":
        return other_than(n, 1)
    if n.op == "sub":
        a, b = n.src
        if constant(b) == -1:
            return a
        if constant(a) == 1:
            return neg(b)
    return None


def _one_plus_exp(n: Node) -> Node | None:
    """x where n is 1 + exp(x)."""
    x = other_than(n, 1) if n.op == "add" else None
    return x.src[0] if x is not None and x.op == "exp" else None


def _negative(x: Node) -> Node:
    return x.src[0] if x.op == "neg" else neg(x)


def _is_negative(a: Node, b: Node) -> bool:
    """Is a spelled as minus b?"""
    return (a.op == "neg" and a.src[0] is b) or (b.op == "neg" and b.src[0] is a)


# -- log and exp -----------------------------------------------------------------------------------


def log_of_exp(n: Node) -> Node | None:
    """log(exp x) -> x, and the same with bases 2 and log1p(expm1 x)."""
    inner = {"log": "exp", "log2": "exp2", "log1p": "expm1"}[n.op]
    return n.src[0].src[0] if n.src[0].op == inner else None


def log_of_one_plus(n: Node) -> Node | None:
    """log(1 + x) -> log1p(x)."""
    x = _plus_one(n.src[0])
    return None if x is None else unary("log1p", x)


def log1p_of_exp(n: Node) -> Node | None:
    """log1p(exp x) -> softplus(x)."""
    return unary("softplus", n.src[0].src[0]) if n.src[0].op == "exp" else None


def log1p_of_minus_sigmoid(n: Node) -> Node | None:
    """log1p(-sigmoid x) -> -softplus(x)."""
    x = n.src[0]
    if x.op == "neg" and x.src[0].op == "sigmoid":
        return neg(unary("softplus", x.src[0].src[0]))
    return None


def log_of_sigmoid(n: Node) -> Node | None:
    """log(sigmoid x) -> -softplus(-x)."""
    x = n.src[0]
    return neg(unary("softplus", _negative(x.src[0]))) if x.op == "sigmoid" else None


def log_of_ratio(n: Node) -> Node | None:
    """log(exp(a) / t) -> a - log t: log-softmax, whatever t is."""
    ratio = n.src[0]
    if ratio.op != "div" or ratio.src[0].op != "exp":
        return None
    t = ratio.src[1]
    log_t = N.expand(unary("log", t.src[0]), t.shape) if t.op == "expand" else unary("log", t)
    return sub(ratio.src[0].src[0], log_t)


def log_of_selection(n: Node) -> Node | None:
    """log(selected softmax) -> selected log-softmax: through gather, slice, reshape, permute."""
    view = n.src[0]
    if view.op not in ("gather", "slice", "reshape", "permute"):
        return None
    x = view.src[0]
    if x.op in ("sigmoid", "exp") or (x.op == "div" and x.src[0].op == "exp"):
        return N.node(view.op, n.dtype, n.shape, (unary("log", x), *view.src[1:]), view.arg)
    return None


def log_of_sum_of_two_exps(n: Node) -> Node | None:
    """log(exp a + exp b) -> logaddexp(a, b)."""
    x = n.src[0]
    if x.op == "add" and x.src[0].op == "exp" and x.src[1].op == "exp":
        return elementwise("logaddexp", x.src[0].src[0], x.src[1].src[0])
    return None


def logaddexp_of_zero(n: Node) -> Node | None:
    """logaddexp(x, 0) -> softplus(x)."""
    x = other_than(n, 0)
    return None if x is None else unary("softplus", x)


def exp_minus_one(n: Node) -> Node | None:
    """exp(x) - 1 -> expm1(x) and 1 - exp(x) -> -expm1(x)."""
    a, b = n.src
    if n.op == "add":
        x = other_than(n, -1)
        return unary("expm1", x.src[0]) if x is not None and x.op == "exp" else None
    if a.op == "exp" and constant(b) == 1:
        return unary("expm1", a.src[0])
    if b.op == "exp" and constant(a) == 1:
        return neg(unary("expm1", b.src[0]))
    return None


# -- sums of exponentials --------------------------------------------------------------------------


def _shifted(x: Node) -> bool:
    """Has a maximum been taken off x already?"""
    x = _bare(x)
    if x.op != "sub":
        return False
    m = _bare(x.src[1])
    if m.op == "where":
        m = _bare(m.src[2])
    return m.op == "max"


def _bare(n: Node) -> Node:
    while n.op in _VIEWS:
        n = n.src[0]
    return n


def _finite_max(x: Node, axes: tuple[int, ...]) -> Node:
    """max(x), but 0 where that is infinite: inf - inf would be NaN.

    Behind a mark that stops gradients: a shift changes nothing, so nothing depends on it.
    """
    m = reduce_("max", x, axes)
    shift = where(unary("isinf", m), like(m, 0), m)
    return N.node("mark", m.dtype, m.shape, (shift,), 0)


def _sum_of_exp(n: Node) -> Node | None:
    """n if it is a sum over some length of exp(x), x not yet shifted."""
    if n.op != "sum" or n.src[0].op != "exp" or n.size == n.src[0].size:
        return None
    return None if _shifted(n.src[0].src[0]) or 0 in n.src[0].shape else n


def _unshaped(n: Node) -> Node:
    while n.op == "reshape":
        n = n.src[0]
    return n


def _unscaled(n: Node) -> tuple[Node, float | None]:
    """n as a sum and a positive constant factor, for the log of a mean."""
    if n.op in ("mul", "div"):
        for total, c in (n.src, n.src[::-1])[: 1 if n.op == "div" else 2]:
            scale = constant(c)
            if scale is not None and 0 < scale < math.inf:
                return _unshaped(total), scale if n.op == "mul" else 1 / scale
    return n, None


def log_of_sum_of_exps(n: Node) -> Node | None:
    """log(sum(exp x)) -> m + log(sum(exp(x - m))), m the finite maximum."""
    total, scale = _unscaled(_unshaped(n.src[0]))
    if _sum_of_exp(total) is None:
        return None
    x, axes = total.src[0].src[0], total.arg
    m = _finite_max(x, axes)
    inner = reduce_("sum", unary("exp", sub(x, N.expand(m, x.shape))), axes)
    result = add(m, unary("log", inner))
    if scale is not None:
        result = add(result, math.log(scale))
    return N.reshape(result, n.shape)


def softmax(n: Node) -> Node | None:
    """exp(x) / sum(exp x) -> the same of x - max(x)."""
    e, t = n.src
    if e.op != "exp" or t.op != "expand":
        return None
    total = t.src[0]
    if total.op != "sum" or total.src[0] is not e or _sum_of_exp(total) is None:
        return None
    x = e.src[0]
    shifted = unary("exp", sub(x, N.expand(_finite_max(x, total.arg), x.shape)))
    return div(shifted, N.expand(reduce_("sum", shifted, total.arg), x.shape))


def ratio_of_exps(n: Node) -> Node | None:
    """exp(a) / exp(b) -> exp(a - b), and exp(a) / (exp(a) + exp(b)) -> sigmoid(a - b)."""
    e, t = n.src
    if e.op != "exp":
        return None
    if t.op == "exp":
        return unary("exp", sub(e.src[0], t.src[0]))
    if t.op == "add" and e in t.src:
        other = t.src[1] if t.src[0] is e else t.src[0]
        if other.op == "exp":
            return unary("sigmoid", sub(e.src[0], other.src[0]))
    return None


# -- sigmoid and its kin ---------------------------------------------------------------------------


def ratio_over_one_plus_exp(n: Node) -> Node | None:
    """exp(x)/(1 + exp x) -> sigmoid(x), and a/(1 + exp x) -> a * sigmoid(-x)."""
    a, b = n.src
    x = _one_plus_exp(b)
    if x is None:
        return None
    if a.op == "exp" and a.src[0] is x:
        return unary("sigmoid", x)
    s = unary("sigmoid", _negative(x))
    return s if constant(a) == 1 else mul(a, s)


def power_of_one_plus_exp(n: Node) -> Node | None:
    """(1 + exp x) ** -1 -> sigmoid(-x)."""
    x = _one_plus_exp(n.src[0])
    if x is None or constant(n.src[1]) != -1:
        return None
    return unary("sigmoid", _negative(x))


def exp_times_sigmoid(n: Node) -> Node | None:
    """exp(x) * sigmoid(-x) -> sigmoid(x)."""
    a, b = n.src
    if b.op == "exp":
        a, b = b, a
    if a.op == "exp" and b.op == "sigmoid" and _is_negative(a.src[0], b.src[0]):
        return unary("sigmoid", a.src[0])
    return None


def one_minus(n: Node) -> Node | None:
    """1 - sigmoid(x) -> sigmoid(-x), 1 - erf(x) -> erfc(x), 1 - erfc(x) -> erf(x)."""
    a, b = n.src
    if b.op not in ("sigmoid", "erf", "erfc") or constant(a) != 1:
        return None
    if b.op == "sigmoid":
        return unary("sigmoid", _negative(b.src[0]))
    return unary("erfc" if b.op == "erf" else "erf", b.src[0])


def tanh_of_exps(n: Node) -> Node | None:
    """(exp x - exp -x) / (exp x + exp -x) -> tanh(x)."""
    a, b = n.src
    if a.op != "sub" or b.op != "add" or {s.op for s in a.src + b.src} != {"exp"}:
        return None
    if set(a.src) != set(b.src) or not _is_negative(a.src[0].src[0], a.src[1].src[0]):
        return None
    return unary("tanh", a.src[0].src[0])


def sqrt_of_square(n: Node) -> Node | None:
    """sqrt(x * x) -> abs(x)."""
    x = n.src[0]
    return unary("abs", x.src[0]) if x.op == "mul" and x.src[0] is x.src[1] else None


def double_negative(n: Node) -> Node | None:
    """-(-x) -> x."""
    return n.src[0].src[0] if n.src[0].op == "neg" else None


STABLE: dict[str, tuple[Rule, ...]] = {
    "neg": (double_negative,),
    "log": (log_of_exp, log_of_one_plus, log_of_sigmoid, log_of_ratio, log_of_sum_of_two_exps,
            log_of_sum_of_exps, log_of_selection),
    "log2": (log_of_exp,),
    "log1p": (log_of_exp, log1p_of_exp, log1p_of_minus_sigmoid),
    "logaddexp": (logaddexp_of_zero,),
    "add": (exp_minus_one,),
    "sub": (exp_minus_one, one_minus),
    "mul": (exp_times_sigmoid,),
    "div": (softmax, ratio_of_exps, ratio_over_one_plus_exp, tanh_of_exps),
    "pow": (power_of_one_plus_exp,),
    "sqrt": (sqrt_of_square,),
}
