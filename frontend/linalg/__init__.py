"""Linear algebra on LAPACK: batched over leading axes, differentiable, and lazy."""

from __future__ import annotations
