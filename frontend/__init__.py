"""Flambeau: Torch7 born again on a compiler of its own. `import flambeau as fb`.

Tensors are lazy: operations record a graph, which is compiled to native code when values are asked
for. Submodules (`fb.nn`, `fb.optim`, ...) load when first used.
"""

from __future__ import annotations

import importlib as _importlib
import importlib.util as _util
from typing import Any as _Any

from flambeau.compiler.config import config as config
from flambeau.compiler.dtype import DType as DType
from flambeau.compiler.dtype import bfloat16 as bfloat16
from flambeau.compiler.dtype import bool_ as bool_
from flambeau.compiler.dtype import complex64 as complex64
from flambeau.compiler.dtype import complex128 as complex128
from flambeau.compiler.dtype import float16 as float16
from flambeau.compiler.dtype import float32 as float32
from flambeau.compiler.dtype import float64 as float64
from flambeau.compiler.dtype import int8 as int8
from flambeau.compiler.dtype import int16 as int16
from flambeau.compiler.dtype import int32 as int32
from flambeau.compiler.dtype import int64 as int64
from flambeau.compiler.dtype import promote as promote_types  # noqa: F401
from flambeau.compiler.dtype import uint8 as uint8
from flambeau.compiler.dtype import uint16 as uint16
from flambeau.compiler.dtype import uint32 as uint32
from flambeau.compiler.dtype import uint64 as uint64

from . import guests as _guests
from . import methods as _methods
from .aliases import *  # noqa: F403
from .autograd import *  # noqa: F403
from .autograd import grad as grad
from .autograd import hessian as hessian
from .autograd import jacobian as jacobian
from .autograd import jvp as jvp
from .autograd import value_and_grad as value_and_grad
from .autograd import vjp as vjp
from .choosing import *  # noqa: F403
from .compiled import compile as compile
from .custom import custom_op as custom_op
from .distributions import *  # noqa: F403
from .eagerly import detect_nan as detect_nan
from .eagerly import eager as eager
from .functional import *  # noqa: F403
from .gradcheck import gradcheck as gradcheck
from .gradcheck import gradcheck_module as gradcheck_module
from .kernels import elementwise as elementwise
from .loops import scan as scan
from .loops import while_loop as while_loop
from .realize import compile_report as compile_report
from .realize import no_sync as no_sync
from .realize import sync_report as sync_report
from .storage import Storage as Storage
from .system import *  # noqa: F403
from .tensor import Tensor as Tensor
from .tensor import default_dtype as default_dtype
from .tensor import enable_grad as enable_grad
from .tensor import is_grad_enabled as is_grad_enabled
from .tensor import no_grad as no_grad
from .tensor import set_default_dtype as set_default_dtype
from .tensor import set_grad_enabled as set_grad_enabled

__version__ = "0.1.0"
_methods.install()
_guests.install()


# what few programs need, by the module that has it: loaded when first used
_HELD = {
    "attention": ("rotary_embedding", "scaled_dot_product_attention"),
    "files": ("load", "load_checkpoint", "mat", "save", "save_checkpoint"),
    "flat": ("flat_function", "linear_operator"),
    "linalg": ("cholesky", "cholesky_inverse", "cholesky_solve", "det", "geqrf", "logdet",
        "matrix_exp", "matrix_power", "slogdet", "vecdot"),
    "linalg.torch7": ("btrifact", "btrisolve", "eig", "gels", "gesv", "inverse", "orgqr", "ormqr",
        "potrf", "potri", "potrs", "pstrf", "qr", "svd", "symeig", "trtrs"),
    "losses": ("binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
        "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss"),
    "normalizing": ("batch_norm", "group_norm", "instance_norm", "layer_norm",
        "local_response_norm", "normalize", "rms_norm"),
    "pictures": ("from_pil", "to_pil"),
    "pooling": ("adaptive_avg_pool", "adaptive_max_pool", "max_unpool"),
    "quantizing": ("dequantize", "fake_quantize", "quantize"),
    "recurrent": ("gru", "lstm", "rnn"),
    "regions": ("box_iou", "col2im", "deform_conv2d", "nms", "roi_align"),
    "resampling": ("affine_grid", "grid_sample", "interpolate", "pixel_shuffle",
        "pixel_unshuffle", "resample"),
    "utilities": ("CmdLine", "Timer"),
    "windows": ("bartlett_window", "blackman_window", "hamming_window", "hann_window", "istft",
        "stft"),
}
_LATER = {name: module for module, names in _HELD.items() for name in names}


def __getattr__(name: str) -> _Any:
    """Submodules, and what they give to this one, when first used (PEP 562)."""
    if name in _LATER:
        return getattr(_importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    if name.startswith("_") or _util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"flambeau: no name {name!r}")
    return _importlib.import_module(f"{__name__}.{name}")


def compute(*tensors: _Any) -> None:
    """Computes the values of several tensors together, so that their work is shared."""
    _importlib.import_module(f"{__name__}.realize").realize(
        list(dict.fromkeys(t._storage for t in tensors)))  # views share one


def is_tensor(x: _Any) -> _Any:
    """Is x a Tensor? Torch7 isTensor."""
    return isinstance(x, Tensor)
