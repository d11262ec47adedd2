"""Products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ALL, Row, numbers

TITLE = "Matrix products"
ABOUT = ("Square ones from 16 to 2048, the shapes of the dense nets' three products, and "
         "transposed operands. NumPy's is OpenBLAS. Seconds a call.")
SQUARES = (16, 32, 64, 128, 256, 512, 1024, 2048)
LAYERS = ((784, 10), (784, 500), (500, 10), (1000, 1000))
FORMS: dict[str, Callable[..., Any]] = {
    "nn": lambda x, a, b: x.matmul(a, b), "nt": lambda x, a, b: x.matmul(a, x.transpose(b)),
    "tn": lambda x, a, b: x.matmul(x.transpose(a), b),
}
QUICK = ("64x64x64 nn, float32", "512x512x512 nn, float32", "60x784x500 nt, float32")


def row(m: int, k: int, n: int, form: str, dtype: str = "float32", threads: int = 1,
        group: str = "") -> Row:
    """(m, k) by (k, n); form says which operand lies transposed in memory."""
    size = 4 if dtype == "float32" else 8
    nbytes = float(size * (m * k + k * n + m * n))
    name = f"{m}x{k}x{n} {form}, {dtype}"
    return Row(name + (f", {threads} threads" if threads > 1 else ""), FORMS[form],
               numbers(dtype, (k, m) if form[0] == "t" else (m, k),
                       (n, k) if form[1] == "t" else (k, n)),
               threads=threads, dtype=dtype, flops=2.0 * m * k * n, nbytes=nbytes, held=nbytes,
               group=group, n=n, quick=name in QUICK and threads == 1,
               frameworks=(*ALL, "mkl"),
               tolerance=1e-5 if dtype == "float32" else 1e-13)


def rows() -> list[Row]:
    """Squares in both precisions, then the nets' layers at batch 1 and 60."""
    made = [row(n, n, n, "nn", dtype, threads, f"square, {dtype}, threads {threads}")
            for dtype, threads in (("float32", 1), ("float64", 1), ("float32", 2)) for n in SQUARES]
    made += [row(512, 512, 512, form) for form in ("nt", "tn")]
    for batch in (1, 60):
        for i, o in LAYERS:
            made += [row(batch, i, o, "nt"), row(batch, o, i, "nn"), row(o, batch, i, "tn")]
    return made
