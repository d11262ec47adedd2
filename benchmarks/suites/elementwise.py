"""Expressions over arrays, element by element."""

from __future__ import annotations

from idioms.text import names

from . import Row, numbers

TITLE = "Elementwise expressions"
ABOUT = ("The four expressions of Theano's own benchmark and four chains of transcendental "
         "functions, from 10 elements to 100 million; fresh results, operands in memory. Seconds a "
         "call.")
EXPRESSIONS = {
    "a**2+b**2+2ab": ("a**2 + b**2 + 2*a*b", 6), "2a+3b": ("2*a + 3*b", 3), "a+1": ("a + 1", 1),
    "2a+b**10": ("2*a + b**10", 6), "exp": ("exp(-a*a)", 20),
    "tanh, exp, sigmoid": ("tanh(a)*exp(-b*b) + 1/(1 + exp(-a))", 70),
    "sigmoid": ("1/(1 + exp(-a))", 22),
    "gelu": ("0.5*a*(1 + tanh(0.7978845608*(a + 0.044715*a*a*a)))", 32),
}  # and flops of an element, a transcendental function counted as 20
SIZES = (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
MOST64 = 10_000_000  # float64 beyond this needs more memory than most machines have for all peers
QUICK = {"a**2+b**2+2ab": (10, 1000, 1_000_000), "tanh, exp, sigmoid": (1000, 1_000_000)}


def row(label: str, n: int, dtype: str, threads: int) -> Row:
    """The limit: reading each operand once and writing the result."""
    text, flops = EXPRESSIONS[label]
    count = len(names(text))
    nbytes = float((count + 1) * n * (4 if dtype == "float32" else 8))
    return Row(f"{label}, n={n:,}, {dtype}" + (f", {threads} threads" if threads > 1 else ""), text,
               numbers(dtype, *[(n,)] * count), threads=threads, dtype=dtype, flops=flops * n,
               nbytes=nbytes, held=nbytes, group=f"{label}, {dtype}, threads {threads}", n=n,
               quick=n in QUICK.get(label, ()) and dtype == "float32" and threads == 1,
               tolerance=2e-6 if dtype == "float32" else 1e-13)


def rows() -> list[Row]:
    """Every expression at every size, one thread; two threads from a thousand elements on."""
    made = [row(label, n, dtype, 1) for label in EXPRESSIONS for dtype in ("float32", "float64")
            for n in SIZES if dtype == "float32" or n <= MOST64]
    return made + [row(label, n, "float32", 2) for label in ("a**2+b**2+2ab", "tanh, exp, sigmoid")
                   for n in SIZES if n >= 1000]
