# ruff: isort: skip_file
"""Every function of the library in one namespace: what `fb.*` re-exports.

The functions live in files by family: creation, elementwise, complexes, activations, reductions,
movement, joining, indexing, sorting, products, random, conversion, convolution.
"""

from __future__ import annotations

from .activations import (
    addcdiv, addcmul, allclose, array_equal, celu, clamp, clamp_max, clamp_min, deg2rad, elu, equal,
    erfinv, frac, gelu, hard_sigmoid, hard_swish, hard_tanh, hardshrink, heaviside, isclose,
    isfinite, isneginf, isposinf, leaky_relu, lerp, log_sigmoid, logit, mish, nan_to_num,
    nextafter, prelu, rad2deg, reciprocal, relu, relu6, rsqrt, selu, silu, sinc, softshrink,
    softsign, square, tanhshrink, threshold, xlogy
)
from .complexes import (
    adjoint, angle, complex, conj, imag, is_complex, polar, real, view_as_complex, view_as_real
)
from .contracting import (
    einsum, tensordot
)
from .conversion import (
    bitcast
)
from .convolution import (
    Pooled, avg_pool, avg_pool1d, avg_pool2d, avg_pool3d, conv1d, conv2d, conv3d,
    conv_transpose, convnd, lp_pool, max_pool, max_pool1d, max_pool2d, max_pool3d
)
from .correlation import (
    conv2, conv3, convolve, correlate, xcorr2, xcorr3
)
from .creation import (
    arange, asarray, empty, empty_like, eye, from_numpy, full, full_like, indices, iota_like,
    linspace, logspace, ones, ones_like, range_, tensor, tri, zeros, zeros_like
)
from .datatypes import (
    broadcast_shapes, can_cast, finfo, iinfo, isdtype, result_type
)
from .exchange import (
    from_dlpack
)
from .elementwise import (
    abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, bitwise_and, bitwise_or,
    bitwise_xor, cbrt, ceil, copysign, cos, cosh, digamma, div, eq, erf, erfc, exp, exp2, expm1,
    floor, floor_divide, fmod, ge, gt, hypot, invert, isinf, isnan, le, left_shift, lgamma, log,
    log10, log1p, log2, logaddexp, logical_and, logical_not, logical_or, logical_xor, lt,
    maximum, minimum, mul, ne, neg, positive, pow, remainder, right_shift, round, sigmoid, sign,
    signbit, sin, sinh, softplus, sqrt, sub, tan, tanh, trunc, where
)
from .indexing import (
    argwhere, flatnonzero, gather, index_add, index_copy, index_fill, index_select,
    masked_fill, masked_scatter, masked_select, nonzero, scatter, scatter_add,
    take, take_along_axis
)
from .joining import (
    concatenate, dstack, hstack, pad, repeat, repeat_interleave, roll, stack, tile, unfold,
    vstack
)
from .movement import (
    array_split, atleast_1d, atleast_2d, broadcast_tensors, broadcast_to,
    chunk, clone, diagonal, expand, expand_dims, flatten, flip, fliplr, flipud,
    matrix_transpose, meshgrid, moveaxis, narrow, permute, ravel, reshape, rot90, select, split,
    squeeze, swapaxes, t, transpose, unbind, unflatten, unsqueeze
)
from .products import (
    addbmm, addmm, addmv, addr, baddbmm, bmm, cdist, cross, diag, diag_embed, dot, ger,
    inner, kron, match, matmul, mm, mv, outer, renorm, trace, tril, triu, vdot,
    vecdot
)
from .putting import (
    choose, compress, diag_indices, gather_nd, index_reduce, ix_, one_hot, put, put_along_axis,
    scatter_nd, scatter_reduce, tril_indices, triu_indices
)
from .random import (
    Draw, Generator, Seed, default_generator, get_rng_state, initial_seed, manual_seed, seed,
    set_rng_state
)
from .reductions import (
    Extreme, all, amax, amin, aminmax, any, argmax, argmin, count_nonzero, cummax, cummin,
    cumprod, cumsum, dist, log_softmax, logsumexp, max, mean, min, nanmax, nanmean, nanmin,
    nanprod, nansum, norm, prod, ptp, softmax, softmin, std, sum, var, var_mean
)
from .scanning import (
    cumulative_prod, cumulative_sum, cumulative_trapezoid, diff, ediff1d, logcumsumexp,
    trapezoid
)
from .sets import (
    bhistc, bincount, bucketize, histc, histogram, histogram_bin_edges, isin, searchsorted,
    unique, unique_all, unique_consecutive, unique_counts, unique_inverse, unique_values
)
from .sharing import (
    as_strided, map_storage
)
from .sorting import (
    Sorted, argpartition, argsort, kthvalue, median, mode, msort, nanmedian, nanquantile,
    partition, percentile, quantile, sort, topk
)

__all__ = [  # noqa: RUF022
    "Draw", "Extreme", "Generator", "Pooled", "Seed", "abs", "acos", "acosh", "add", "addbmm",
    "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint", "all", "allclose", "amax", "amin",
    "aminmax", "angle", "any", "arange", "argmax", "argmin", "argwhere", "array_equal",
    "array_split", "asarray", "asin", "asinh", "atan", "atan2", "atanh", "atleast_1d",
    "atleast_2d", "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm", "bitcast",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bmm", "broadcast_tensors", "broadcast_to",
    "cbrt", "cdist", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clone", "complex",
    "concatenate", "conj", "conv1d", "conv2d", "conv3d", "conv_transpose", "convnd", "copysign",
    "cos", "cosh", "count_nonzero", "cross", "cummax", "cummin", "cumprod", "cumsum",
    "default_generator", "deg2rad", "diag", "diag_embed", "diagonal", "digamma", "dist", "div",
    "dot", "dstack", "einsum", "elu", "empty", "empty_like", "eq", "equal", "erf", "erfc",
    "erfinv", "exp", "exp2", "expand", "expand_dims", "expm1", "eye", "flatnonzero", "flatten",
    "flip", "fliplr", "flipud", "floor", "floor_divide", "fmod", "frac", "from_numpy", "full",
    "full_like", "gather", "ge", "gelu", "ger", "get_rng_state", "gt", "hard_sigmoid",
    "hard_swish", "hard_tanh", "hardshrink", "heaviside", "hstack", "hypot", "imag", "index_add",
    "index_copy", "index_fill", "index_select", "indices", "initial_seed", "inner", "invert",
    "iota_like", "is_complex", "isclose", "isfinite", "isinf", "isnan", "isneginf", "isposinf",
    "ix_", "kron", "le", "leaky_relu", "left_shift", "lerp", "lgamma", "linspace", "log", "log10",
    "log1p", "log2", "log_sigmoid", "log_softmax", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logspace", "logsumexp", "lt", "manual_seed",
    "masked_fill", "masked_scatter", "masked_select", "match", "matmul", "matrix_transpose",
    "max", "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "maximum", "mean", "meshgrid",
    "min", "minimum", "mish", "mm", "moveaxis", "mul", "mv", "nan_to_num", "nanmax", "nanmean",
    "nanmin", "nanprod", "nansum", "narrow", "ne", "neg", "nonzero", "norm", "one_hot", "ones",
    "ones_like", "outer", "pad", "permute", "polar", "positive", "pow", "prod", "ptp", "rad2deg",
    "range_", "ravel", "real", "reciprocal", "relu", "relu6", "remainder", "renorm", "repeat",
    "repeat_interleave", "reshape", "right_shift", "roll", "rot90", "round", "rsqrt", "scatter",
    "scatter_add", "seed", "select", "selu", "set_rng_state", "sigmoid", "sign", "signbit",
    "silu", "sin", "sinc", "sinh", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "split", "sqrt", "square", "squeeze", "stack", "std", "sub", "sum", "swapaxes", "t", "take",
    "take_along_axis", "tan", "tanh", "tanhshrink", "tensor", "tensordot", "threshold", "tile",
    "trace", "transpose", "tri", "tril", "triu", "trunc", "unbind", "unflatten", "unfold",
    "unsqueeze", "var", "var_mean", "vdot", "view_as_complex", "view_as_real", "vstack", "where",
    "xlogy", "zeros", "zeros_like",
]

# the families that Torch7 called by these names, each in a line of its own
__all__ += ["conv2", "conv3", "convolve", "correlate", "xcorr2", "xcorr3"]
__all__ += ["cumulative_trapezoid", "diff", "ediff1d", "logcumsumexp", "trapezoid"]
__all__ += ["bhistc", "bincount", "bucketize", "histc", "histogram", "histogram_bin_edges", "isin",
            "searchsorted", "unique", "unique_all", "unique_consecutive", "unique_counts",
            "unique_inverse", "unique_values"]
__all__ += ["Sorted", "argpartition", "argsort", "kthvalue", "median", "mode", "msort", "nanmedian",
            "nanquantile", "partition", "percentile", "quantile", "sort", "topk"]
__all__ += ["as_strided", "map_storage"]
__all__ += ["choose", "compress", "diag_indices", "gather_nd", "index_reduce", "put",
            "put_along_axis", "scatter_nd", "scatter_reduce", "tril_indices", "triu_indices"]

__all__ += ["broadcast_shapes", "can_cast", "cumulative_prod", "cumulative_sum", "finfo",
            "from_dlpack", "iinfo", "isdtype", "nextafter", "result_type", "vecdot"]
__all__ += ["celu", "lp_pool", "prelu"]
