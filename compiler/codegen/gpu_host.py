"""What runs on the host in a GPU's program: the one list of fallbacks, each a declared step."""

from __future__ import annotations

# by the routine's name in runtime/externs.py; tests compare the two, and docs/cuda.md has the table
HOST: dict[str, str] = {
    "argsort": "all that sorts, from 2^30 elements on",
    "searchsorted": "searchsorted, bucketize, from 2^30 elements on",
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


# routines that frontend/sets.py makes for tensors of the host alone
NEVER = ("isin", "bincount")


def markdown() -> str:
    """The table of docs/cuda.md."""
    return "\n".join(["| routine | what it serves |", "|---|---|",
                      *(f"| `{name}` | {what} |" for name, what in HOST.items())])
