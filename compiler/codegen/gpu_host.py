"""What runs on the host in a GPU's program: the one list of fallbacks, each a declared step."""

from __future__ import annotations

# by the routine's name in runtime/externs.py; tests compare the two, and docs/cuda.md has the table
HOST: dict[str, str] = {
    "sort": "sort", "argsort": "argsort", "kth": "kthvalue, nanmedian and quantiles' order",
    "topk": "topk", "isin": "isin over wide spans", "partition": "partition",
    "argpartition": "argpartition", "median": "median", "mode": "mode",
    "searchsorted": "searchsorted, bucketize",
    "bincount": "bincount, histograms", "placed": "order statistics at given places",
    "packed": "a routine below over complex numbers",
    "fft.c2c": "transforms of complex numbers", "fft.r2c": "transforms of real numbers",
    "fft.c2r": "inverse transforms to real numbers",
    "linalg.cholesky": "LAPACK potrf", "linalg.cofactor": "the determinant's derivative",
    "linalg.det": "LAPACK getrf", "linalg.eig": "LAPACK geev", "linalg.eigh": "LAPACK syevd",
    "linalg.eigvalsh": "LAPACK syevd", "linalg.expm": "the matrix exponential",
    "linalg.geev": "LAPACK geev", "linalg.geevals": "LAPACK geev", "linalg.geqrf": "LAPACK geqrf",
    "linalg.inv": "LAPACK getri", "linalg.lstsq": "LAPACK gelsd", "linalg.lu": "LAPACK getrf",
    "linalg.permutation": "the order that pivots make", "linalg.pinv": "LAPACK gesdd",
    "linalg.potri": "LAPACK potri", "linalg.pstrf": "LAPACK pstrf", "linalg.qr": "LAPACK geqrf",
    "linalg.slogdet": "LAPACK getrf", "linalg.solve": "LAPACK getrs",
    "linalg.solve_triangular": "LAPACK trtrs", "linalg.svd": "LAPACK gesdd",
    "linalg.svdvals": "LAPACK gesdd",
}


def markdown() -> str:
    """The table of docs/cuda.md."""
    return "\n".join(["| routine | what it serves |", "|---|---|",
                      *(f"| `{name}` | {what} |" for name, what in HOST.items())])
