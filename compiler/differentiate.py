"""Differentiation as a graph transformation: nodes in, nodes out, so it repeats to any order.

`gradients` walks the graph once from its outputs, and asks one table, RULES, for each op:
rule(node, cotangent) gives the cotangent of every source, or None where there is none. Laws: rules
are linear in the cotangent; a cotangent has its node's dtype and shape; only floats and complex
numbers have one. The cotangent of z = x + iy is dL/dx + i dL/dy for a real loss L, as in PyTorch
(JAX gives its conjugate), so a rule multiplies by the conjugate of the complex derivative.

Where a function has a corner we follow PyTorch: abs at 0 gives 0; maximum and minimum give each of
two equal operands half; pow's exponent gets 0 at base 0. Reductions and running extrema give all
to the first extremum, as Torch7's pooling does. Masks of `where` stay outside later products, so
NaN from an untaken branch stays there.

Stabilise before differentiating (simplify.stabilise): the rules do not look for patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import (
    add,
    compare,
    complex_,
    conj,
    div,
    expand_like,
    flip,
    iota,
    like,
    mul,
    neg,
    over,
    square,
    sub,
    times,
    unary,
    where,
)
from flambeau.compiler.differentiate_indexing import gather, scatter, scatter_node
from flambeau.compiler.loop import pull_back
from flambeau.compiler.node import Node, elementwise, reduce_, toposort
from flambeau.compiler.ops import Conv

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]


class NotDifferentiable(TypeError):
    """An op on the way has no derivative."""


def gradients(outputs: Sequence[Node], cotangents: Sequence[Node], wrt: Sequence[Node]
              ) -> list[Node | None]:
    """The sum over outputs of cotangent * d output / d w, for each w; None where independent.

    A cotangent has its output's dtype and shape. Raises NotDifferentiable.
    """
    for y, g in zip(outputs, cotangents, strict=True):
        if (y.dtype, y.shape) != (g.dtype, g.shape):
            raise TypeError(f"gradients: expected a cotangent like {y!r}, got {g!r}")
    order = toposort(outputs)
    active = _active(order, wrt)
    found: dict[Node, Node] = {}
    of_loops: dict[Node, dict[int, Node]] = {}  # a loop's cotangents, by number of its output
    for y, g in zip(outputs, cotangents):
        if y in active:
            found[y] = add(found[y], g) if y in found else g
    for n in reversed(order):
        if n.op == "output" and n in found and n.src[0] in active:
            of_loops.setdefault(n.src[0], {})[n.arg] = found[n]
        elif n in of_loops:
            _accumulate(n.src, pull_back(n, of_loops[n], gradients), found, active)
        elif n in found and n.src:
            _distribute(n, found, active)
    return [found.get(w) for w in wrt]


def jvp(outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node]
        ) -> list[Node | None]:
    """The directional derivatives of outputs along tangents of wrt; None where independent.

    Transposes the transpose: gradients are linear in their cotangents, whatever those are.
    """
    dummies = [N.node("mark", y.dtype, y.shape, (like(y, 0),), object()) for y in outputs]
    pulled = gradients(outputs, dummies, wrt)
    pairs = [(p, t) for p, t in zip(pulled, tangents, strict=True) if p is not None]
    return gradients([p for p, _ in pairs], [t for _, t in pairs], dummies)


def _active(order: list[Node], wrt: Sequence[Node]) -> set[Node]:
    """The floating and complex nodes through which something depends on wrt."""
    active = {w for w in wrt if w.dtype.is_inexact}
    for n in order:
        if n.op == "mark" and n.arg == 0:  # stops gradients
            continue
        if n.dtype.is_inexact and n.op not in ZERO and any(s in active for s in n.src):
            active.add(n)
    return active


def _distribute(n: Node, found: dict[Node, Node], active: set[Node]) -> None:
    if not any(s in active for s in n.src):
        return
    rule = RULES.get(n.op)
    if rule is None:
        if n.op in ZERO:
            return
        at = f" (made at {n.where[0]}:{n.where[1]})" if n.where else ""
        reason = NONDIFFERENTIABLE.get(n.op, "it has no rule")
        raise NotDifferentiable(f"gradients: {n!r}{at}: {reason}")
    _accumulate(n.src, rule(n, found[n]), found, active)


def _accumulate(src: Sequence[Node], cotangents: Sequence[Node | None], found: dict[Node, Node],
                active: set[Node]) -> None:
    for s, g in zip(src, cotangents):
        if g is not None and s in active:
            found[s] = add(found[s], g) if s in found else g


# -- elementwise -------------------------------------------------------------------------------


def _by(slope: Callable[[Node, Node], Node]) -> Rule:
    """The rule g * slope(x, y) of y = f(x)."""
    return lambda n, g: (times(g, conj(slope(n.src[0], n))),)


def _by_inverse(inverse: Callable[[Node, Node], Node]) -> Rule:
    """The rule g / inverse(x, y) of y = f(x)."""
    return lambda n, g: (over(g, conj(inverse(n.src[0], n))),)


def _acosh_inverse(x: Node, _: Node) -> Node:
    if x.dtype.is_complex:  # one root of the product would lie on the wrong side half the time
        return mul(unary("sqrt", add(x, -1)), unary("sqrt", add(x, 1)))
    return unary("sqrt", mul(add(x, -1), add(x, 1)))


def _gauss(factor: float) -> Callable[[Node, Node], Node]:
    return lambda x, y: mul(unary("exp", neg(square(x))), factor * 2 / math.sqrt(math.pi))


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def _trigamma(x: Node, _: Node) -> Node:
    """Reflection below 1/2, eight steps of the recurrence, then the asymptotic series."""
    low = compare("lt", x, 0.5)
    z = where(low, sub(1, x), x)
    steps = [square(div(1, add(z, k))) for k in range(8)]
    w = add(z, 8)
    u = square(div(1, w))
    series = like(x, 0)
    for b in reversed(_BERNOULLI):
        series = mul(add(series, b), u)
    total = mul(add(add(series, 1), div(0.5, w)), div(1, w))
    for s in steps:
        total = add(total, s)
    mirror = square(div(math.pi, unary("sin", mul(x, math.pi))))
    return where(low, sub(mirror, total), total)


def _cast(n: Node, g: Node) -> Cotangents:
    return (N.cast(g, n.src[0].dtype) if n.src[0].dtype.is_inexact else None,)


def _mul(n: Node, g: Node) -> Cotangents:
    a, b = n.src
    return times(g, conj(b)), times(g, conj(a))


def _div(n: Node, g: Node) -> Cotangents:
    _, b = n.src
    return over(g, conj(b)), neg(times(g, conj(div(n, b))))


def _remainder(quotient: Callable[[Node, Node], Node]) -> Rule:
    return lambda n, g: (g, neg(times(g, quotient(*n.src))))


def _pow(n: Node, g: Node) -> Cotangents:
    base, exponent = n.src
    known = N.const_value(exponent)
    if known is not None:
        return _constant_power(base, known, g), None
    lower = elementwise("pow", base, sub(exponent, like(exponent, 1)))
    by_base = where(compare("eq", exponent, 0), like(g, 0), times(g, conj(mul(exponent, lower))))
    level = unary("real", exponent) if exponent.dtype.is_complex else exponent
    flat = elementwise("and", compare("eq", base, 0), compare("le", like(level, 0), level))
    by_exponent = where(flat, like(g, 0), times(g, conj(mul(n, unary("log", base)))))
    return by_base, by_exponent


def _constant_power(base: Node, exponent: complex, g: Node) -> Node | None:
    if exponent in (0, 1):
        return g if exponent else None
    lower = base if exponent == 2 else elementwise("pow", base, like(base, exponent - 1))
    return times(g, conj(mul(lower, exponent)))


def _modulus(n: Node, g: Node) -> Cotangents:
    """g z / |z|, and 0 at 0."""
    z, size = n.src[0], where(compare("eq", n, 0), like(n, 1), n)
    return (complex_(times(g, div(unary("real", z), size)),
                     times(g, div(unary("imag", z), size))),)


def _atan2(n: Node, g: Node) -> Cotangents:
    a, b = n.src
    norm = add(square(a), square(b))
    return times(g, div(b, norm)), neg(times(g, div(a, norm)))


def _hypot(n: Node, g: Node) -> Cotangents:
    return tuple(times(g, div(s, n)) for s in n.src)


def _logaddexp(n: Node, g: Node) -> Cotangents:
    a, b = n.src
    # two equal infinities share: their difference is NaN
    same = elementwise("and", compare("eq", a, b), unary("isinf", a))
    gap = where(same, like(a, 0), sub(a, b))
    return times(g, unary("sigmoid", gap)), times(g, unary("sigmoid", neg(gap)))


def _extremum(n: Node, g: Node) -> Cotangents:
    small, large = n.src if n.op == "maximum" else reversed(n.src)
    share = where(compare("eq", small, large), mul(g, 0.5), g)
    zero = like(g, 0)
    return (where(compare("lt", small, large), zero, share),
            where(compare("lt", large, small), zero, share))


def _copysign(n: Node, g: Node) -> Cotangents:
    a, b = n.src
    return times(g, mul(unary("sign", a), elementwise("copysign", like(b, 1), b))), None


def _where(n: Node, g: Node) -> Cotangents:
    zero = like(g, 0)
    return None, where(n.src[0], g, zero), where(n.src[0], zero, g)


# -- movement ----------------------------------------------------------------------------------


def _permute(n: Node, g: Node) -> Cotangents:
    inverse = sorted(range(len(n.arg)), key=n.arg.__getitem__)
    return (N.permute(g, tuple(inverse)),)


def _expand(n: Node, g: Node) -> Cotangents:
    x = n.src[0]
    axes = tuple(i for i, (e, f) in enumerate(zip(x.shape, n.shape)) if e != f)
    return (reduce_("sum", g, axes) if axes else g,)


def _slice(n: Node, g: Node) -> Cotangents:
    return (_spread(g, n.arg, n.src[0].shape),)


def _spread(g: Node, spec: tuple[tuple[int, int], ...], shape: N.Shape) -> Node:
    """The transpose of a slice: g's elements where they came from, zero elsewhere."""
    if 0 in g.shape:
        return N.const(g.dtype, 0, shape)
    backward = tuple(i for i, (_, step) in enumerate(spec) if step < 0)
    before = tuple(start + step * (e - 1) if step < 0 else start
                   for (start, step), e in zip(spec, g.shape))
    between = tuple(abs(step) if e > 1 else 1 for (_, step), e in zip(spec, g.shape))
    return N.pad(flip(g, backward), before, shape, 0, between)


def _region(g: Node, spec: tuple[tuple[int, int], ...], lengths: N.Shape) -> Node:
    return N.slice_(g, tuple(s for s, _ in spec), lengths, tuple(t for _, t in spec))


def _pad(n: Node, g: Node) -> Cotangents:
    return (_region(g, n.arg[0], n.src[0].shape),)


def _concat(n: Node, g: Node) -> Cotangents:
    pieces, start = [], 0
    for s in n.src:
        starts = tuple(start if i == n.arg else 0 for i in range(len(n.shape)))
        pieces.append(N.slice_(g, starts, s.shape, (1,) * len(n.shape)))
        start += s.shape[n.arg]
    return tuple(pieces)


# -- indexing ----------------------------------------------------------------------------------


def _put(n: Node, g: Node) -> Cotangents:
    value = n.src[1]
    kept = N.node("put", g.dtype, g.shape, (g, like(value, 0)), n.arg)
    return kept, _region(g, n.arg, value.shape)


# -- reductions and scans --------------------------------------------------------------------------


def _as_one_axis(x: Node, axes: tuple[int, ...]) -> Node:
    """x with its reduced axes last, run together in C order."""
    kept = tuple(i for i in range(len(x.shape)) if i not in axes)
    length = math.prod(x.shape[i] for i in axes)
    return N.reshape(N.permute(x, kept + axes), (*(x.shape[i] for i in kept), length))


def _from_one_axis(flat: Node, like_: Node, axes: tuple[int, ...]) -> Node:
    """Undoes `_as_one_axis` for a tensor of like_'s shape."""
    order = tuple(i for i in range(len(like_.shape)) if i not in axes) + axes
    wide = N.reshape(flat, tuple(like_.shape[i] for i in order))
    return N.permute(wide, tuple(sorted(range(len(order)), key=order.__getitem__)))


def _prod(n: Node, g: Node) -> Cotangents:
    """Each element gets the product of all others: those before it times those after it."""
    x, axes = n.src[0], tuple(sorted(n.arg))
    flat = _as_one_axis(x, axes) if len(axes) != 1 else x
    axis = axes[0] if len(axes) == 1 else len(flat.shape) - 1
    others = mul(_exclusive(flat, axis), flip(_exclusive(flip(flat, (axis,)), axis), (axis,)))
    if len(axes) != 1:
        others = _from_one_axis(others, x, axes)
    return (times(expand_like(g, x), conj(others)),)


def _exclusive(x: Node, axis: int) -> Node:
    """The products of the elements before each along an axis."""
    if x.shape[axis] == 0:
        return x
    shorter = tuple(e - (i == axis) for i, e in enumerate(x.shape))
    head = N.slice_(x, (0,) * len(x.shape), shorter, (1,) * len(x.shape))
    shifted = N.pad(head, tuple(int(i == axis) for i in range(len(x.shape))), x.shape, 1)
    return _scan("cumprod", shifted, axis)


def _scan(op: str, x: Node, axis: int) -> Node:
    return N.node(op, x.dtype, x.shape, (x,), axis)


def _reduced_extremum(n: Node, g: Node) -> Cotangents:
    """All to the first extremum in C order, found by a second reduction over the same axes.

    Its number is small and is all that the way back must keep of the operand.
    """
    x, axes = n.src[0], tuple(sorted(n.arg))
    count = math.prod(x.shape[i] for i in axes)
    if not axes or count == 0:
        return (g if not axes else like(x, 0),)
    dtype = dt.uint8 if count < 255 else dt.int32 if count < 2**31 - 1 else dt.int64
    place = N.const(dtype, 0, x.shape)
    step = 1
    for axis in reversed(axes):
        along = N.node("iota", dtype, x.shape, (), axis)
        place = elementwise("add", place, elementwise("mul", along, N.const(dtype, step, x.shape)))
        step *= x.shape[axis]
    there = elementwise("or", compare("eq", x, expand_like(n, x)), unary("isnan", x))
    candidates = elementwise("where", there, place, N.const(dtype, count, x.shape))
    first = reduce_("min", candidates, axes)
    return (where(elementwise("eq", place, expand_like(first, x)), expand_like(g, x), like(x, 0)),)


def _reversed_cumsum(g: Node, axis: int) -> Node:
    return flip(_scan("cumsum", flip(g, (axis,)), axis), (axis,))


def _cumprod(n: Node, g: Node) -> Cotangents:
    """Before the first zero by division; at it with a 1 in its place; after it nothing."""
    x, axis = n.src[0], n.arg
    is_zero = compare("eq", x, 0)
    seen = _scan("cumsum", N.cast(is_zero, dt.int64), axis)
    first = elementwise("and", is_zero, compare("eq", seen, 1))
    before = compare("eq", seen, 0)
    divided = div(_reversed_cumsum(times(g, conj(n)), axis), conj(where(is_zero, like(x, 1), x)))
    without = _scan("cumprod", where(first, like(x, 1), x), axis)
    at_first = _reversed_cumsum(times(g, conj(without)), axis)
    return (where(before, divided, where(first, at_first, like(x, 0))),)


def _running_extremum(n: Node, g: Node) -> Cotangents:
    """Every result is one element of x: the first that reached it."""
    x, axis = n.src[0], n.arg
    if 0 in x.shape or not x.shape:
        return (g,)
    position = iota(x.shape, axis)
    shorter = tuple(e - (i == axis) for i, e in enumerate(x.shape))
    head = N.slice_(n, (0,) * len(x.shape), shorter, (1,) * len(x.shape))
    previous = N.pad(head, tuple(int(i == axis) for i in range(len(x.shape))), x.shape, 0)
    risen = compare("lt", *((previous, x) if n.op == "cummax" else (x, previous)))
    now_nan = elementwise("and", unary("isnan", x), unary("not", unary("isnan", previous)))
    fresh = where(elementwise("or", risen, now_nan), position, like(position, 0))
    source = _scan("cummax", fresh, axis)
    indices = tuple(source if i == axis else iota(x.shape, i) for i in range(len(x.shape)))
    return (scatter_node(like(x, 0), g, indices, "add"),)


# -- contractions ------------------------------------------------------------------------------


def _dot(n: Node, g: Node) -> Cotangents:
    a, b = n.src
    return dot(g, N.permute(conj(b), (0, 2, 1))), dot(N.permute(conj(a), (0, 2, 1)), g)


def dot(a: Node, b: Node) -> Node:
    """The batched matrix product (b, m, k) x (b, k, n)."""
    return N.node("dot", a.dtype, (a.shape[0], a.shape[1], b.shape[2]), (a, b))


def _conv(n: Node, g: Node) -> Cotangents:
    x, w = n.src
    if 0 in n.shape or 0 in x.shape or 0 in w.shape:
        return like(x, 0), like(w, 0)
    return _conv_input(n, g), _conv_weight(n, g)


def _conv_input(n: Node, g: Node) -> Node:
    """The cotangent, dilated by the stride, met by the kernel turned round and transposed.

    `after` makes the result exactly as long as x: elements the stride never reached get zeros, and
    negative padding means more of it here.
    """
    (x, w), c = n.src, n.arg
    groups, spatial = c.groups, w.shape[2:]
    split = N.reshape(conj(w), (groups, w.shape[0] // groups, *w.shape[1:]))
    swapped = N.permute(split, (0, 2, 1, *range(3, len(split.shape))))
    taps = N.reshape(swapped, (groups * w.shape[1], w.shape[0] // groups, *spatial))
    taps = flip(taps, tuple(range(2, len(taps.shape))))
    before, after = [], []
    for i, k in enumerate(spatial):
        reach = (k - 1) * c.dilation[i]
        spread = (g.shape[i + 2] - 1) * c.stride[i] + 1
        before.append(reach - c.before[i])
        after.append((x.shape[i + 2] - 1) * c.input_dilation[i] + 1 - spread + c.before[i])
    geometry = Conv(c.input_dilation, tuple(before), tuple(after), c.dilation, c.stride, groups)
    return N.node("conv", x.dtype, x.shape, (g, taps), geometry)


def _conv_weight(n: Node, g: Node) -> Node:
    """x met by the cotangent: batch and channels exchange roles, so do stride and dilation."""
    (x, w), c = n.src, n.arg
    batch, groups, tail = x.shape[0], c.groups, tuple(range(3, 1 + len(x.shape)))
    split = N.reshape(conj(x), (batch, groups, w.shape[1], *x.shape[2:]))
    swapped = N.permute(split, (2, 1, 0, *tail))
    field = N.reshape(swapped, (w.shape[1], groups * batch, *x.shape[2:]))
    taps = N.permute(g, (1, 0, *range(2, len(g.shape))))
    after = []
    for i, k in enumerate(w.shape[2:]):
        spread = (x.shape[i + 2] - 1) * c.input_dilation[i] + 1
        reach = (k - 1) * c.dilation[i] + 1 + (g.shape[i + 2] - 1) * c.stride[i]
        after.append(reach - spread - c.before[i])
    geometry = Conv(c.dilation, c.before, tuple(after), c.stride, c.input_dilation, groups)
    shape = (w.shape[1], w.shape[0], *w.shape[2:])
    result = N.node("conv", w.dtype, shape, (field, taps), geometry)
    return N.permute(result, (1, 0, *range(2, len(shape))))


# -- the tables --------------------------------------------------------------------------------


def _sorted(n: Node, g: Node) -> Cotangents:
    """To the elements that the values came from. Of `placed` lines, which are in order where
    somebody looks, too."""
    x = n.src[0]
    options = n.arg[1] if n.arg[0] == "sort" else (len(x.shape) - 1, False)
    axis = options[0]
    order = N.node("extern", dt.int64, x.shape, (x,), ("argsort", options))
    places = tuple(order if a == axis else N.node("iota", dt.int64, x.shape, (), a)
                   for a in range(len(x.shape)))
    return (scatter_node(like(x, 0), g, places, "set"),)


# by routine name: others register their own
EXTERN_RULES: dict[str, Rule] = {"sort": _sorted, "placed": _sorted}


def _extern(n: Node, g: Node) -> Cotangents:
    rule = EXTERN_RULES.get(n.arg[0])
    if rule is None:
        raise NotDifferentiable(f"gradients: extern {n.arg[0]!r} has no derivative")
    return rule(n, g)


RULES: dict[str, Rule] = {
    "neg": lambda n, g: (neg(g),),
    "abs": _by(lambda x, y: unary("sign", x)),
    "sqrt": lambda n, g: (over(times(g, 0.5), conj(n)),),
    "exp": _by(lambda x, y: y),
    "exp2": _by(lambda x, y: mul(y, math.log(2))),
    "expm1": _by(lambda x, y: add(y, 1)),
    "log": _by_inverse(lambda x, y: x),
    "log2": _by_inverse(lambda x, y: mul(x, math.log(2))),
    "log10": _by_inverse(lambda x, y: mul(x, math.log(10))),
    "log1p": _by_inverse(lambda x, y: add(x, 1)),
    "sin": _by(lambda x, y: unary("cos", x)),
    "cos": _by(lambda x, y: neg(unary("sin", x))),
    "tan": _by(lambda x, y: add(square(y), 1)),
    "asin": _by_inverse(lambda x, y: unary("sqrt", sub(1, square(x)))),
    "acos": _by_inverse(lambda x, y: neg(unary("sqrt", sub(1, square(x))))),
    "atan": _by_inverse(lambda x, y: add(square(x), 1)),
    "sinh": _by(lambda x, y: unary("cosh", x)),
    "cosh": _by(lambda x, y: unary("sinh", x)),
    "tanh": _by(lambda x, y: sub(1, square(y))),
    "asinh": _by_inverse(lambda x, y: unary("sqrt", add(square(x), 1))),
    "acosh": _by_inverse(_acosh_inverse),
    "atanh": _by_inverse(lambda x, y: mul(sub(1, x), add(x, 1))),
    "erf": _by(_gauss(1.0)),
    "erfc": _by(_gauss(-1.0)),
    "cbrt": _by_inverse(lambda x, y: mul(square(y), 3)),
    "lgamma": _by(lambda x, y: unary("digamma", x)),
    "digamma": _by(_trigamma),
    # y - y*y, not y * (1-y): stabilise would make a second sigmoid of the latter
    "sigmoid": _by(lambda x, y: sub(y, square(y))),
    "softplus": _by(lambda x, y: unary("sigmoid", x)),
    "cast": _cast,
    "real": lambda n, g: (complex_(g, like(g, 0)),),
    "imag": lambda n, g: (complex_(like(g, 0), g),),
    "conj": lambda n, g: (conj(g),),
    "complex": lambda n, g: (unary("real", g), unary("imag", g)),
    "modulus": _modulus,
    "add": lambda n, g: (g, g),
    "sub": lambda n, g: (g, neg(g)),
    "mul": _mul,
    "div": _div,
    "mod": _remainder(lambda a, b: elementwise("floordiv", a, b)),
    "fmod": _remainder(lambda a, b: unary("trunc", div(a, b))),
    "pow": _pow, "atan2": _atan2, "hypot": _hypot, "logaddexp": _logaddexp,
    "maximum": _extremum, "minimum": _extremum, "copysign": _copysign, "where": _where,
    "reshape": lambda n, g: (N.reshape(g, n.src[0].shape),),
    "permute": _permute, "expand": _expand, "slice": _slice, "pad": _pad, "concat": _concat,
    "gather": gather, "scatter": scatter, "put": _put,
    "sum": lambda n, g: (expand_like(g, n.src[0]),),
    "prod": _prod, "max": _reduced_extremum, "min": _reduced_extremum,
    "cumsum": lambda n, g: (_reversed_cumsum(g, n.arg),),
    "cumprod": _cumprod, "cummax": _running_extremum, "cummin": _running_extremum,
    "dot": _dot, "conv": _conv,
    "mark": lambda n, g: (g,), "require": lambda n, g: (g, None),
    "extern": _extern,
}

_LEAF, _STEP, _BITS = "a leaf", "constant between its jumps", "its operands or results are no reals"

ZERO: dict[str, str] = {  # no cotangent flows, and rightly: reason
    **dict.fromkeys(("buffer", "param", "scalar", "const", "iota"), _LEAF),
    **dict.fromkeys(("sign", "floor", "ceil", "round", "trunc", "floordiv"), _STEP),
    **dict.fromkeys(("not", "isnan", "isinf", "signbit", "bitcast", "and", "or", "xor", "shl",
                     "shr", "eq", "ne", "lt", "le", "argmax", "argmin", "philox"), _BITS),
    "sample": "no function of its parameters; the frontend refuses to differentiate it",
}

NONDIFFERENTIABLE: dict[str, str] = {  # no rule of its own: reason
    "loop": "all its outputs at once, in `gradients`, by loop.pull_back",
    "output": "as part of its loop",
    "sparse_conv": "made of gradients, after differentiation",
}
