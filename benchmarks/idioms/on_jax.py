"""JAX: one jitted call, waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Work, listed

threads_wanted = os.environ.get("NPROC", "1")
multi = "true" if threads_wanted != "1" else "false"
os.environ["XLA_FLAGS"] = (f"--xla_cpu_multi_thread_eigen={multi} "
                           f"intra_op_parallelism_threads={threads_wanted}")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402  XLA reads its flags when it is loaded
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

jax.config.update("jax_enable_x64", True)  # float64 rows stay float64


def start(threads: int) -> None:
    """The environment has said it."""


def version() -> str:
    """What is measured."""
    return str(jax.__version__)


def fetch(value: Any) -> list[np.ndarray]:
    """Results as arrays."""
    return [np.asarray(v) for v in listed(value)]


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One jitted call."""
    return _work(jax.jit(lambda *given: f(X, *given)), arrays)


def lazy(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One operator after the other."""
    return _work(lambda *given: f(X, *given), arrays)


def _work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    operands, block = [jnp.asarray(a) for a in arrays], jax.block_until_ready
    return Work(lambda: block(f(*operands)), fetch)


def layer_norm(a: Any, weight: Any, bias: Any) -> Any:
    """Over the last axis."""
    centred = a - a.mean(1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(1, keepdims=True) + 1e-5) * weight + bias


def loss_and_gradient(a: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the rows' softmax."""
    def loss(a: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(a), labels[:, None], 1).mean()
    return jax.value_and_grad(loss)(a)


def conv(x: Any, w: Any, padding: int) -> Any:
    """Images and kernels with their channels before rows and columns."""
    return lax.conv_general_dilated(x, w, (1, 1), [(padding, padding)] * 2,
                                    dimension_numbers=("NCHW", "OIHW", "NCHW"))


def conv_grad_input(g: Any, w: Any, shape: Any, padding: int) -> Any:
    """The gradient by the image."""
    return jax.vjp(lambda x: conv(x, w, padding), jnp.zeros(shape, g.dtype))[1](g)[0]


def conv_grad_weight(g: Any, x: Any, shape: Any, padding: int) -> Any:
    """The gradient by the kernels."""
    return jax.vjp(lambda w: conv(x, w, padding), jnp.zeros(shape, g.dtype))[1](g)[0]


def elman(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of a tanh net unrolled over x (steps, batch, inputs)."""
    def loss(w: Any, u: Any, b: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            return jnp.tanh(row @ w.T + h @ u.T + b), None
        last, _ = lax.scan(step, jnp.zeros((x.shape[1], u.shape[1]), x.dtype), x)
        return (last * last).mean()
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(w, u, b)
    return value, *gradients


def lstm(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of an LSTM; gates in the order input, forget, cell, output."""
    def loss(w: Any, u: Any, b: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(row @ w.T + h @ u.T + b, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
        zero = jnp.zeros((x.shape[1], u.shape[1]), x.dtype)
        (last, _), _ = lax.scan(step, (zero, zero), x)
        return (last * last).mean()
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(w, u, b)
    return value, *gradients


X = SimpleNamespace(
    exp=jnp.exp, tanh=jnp.tanh, sum=jnp.sum, matmul=jnp.matmul, transpose=jnp.transpose,
    softmax=jax.nn.softmax, argmax=lambda a: jnp.argmax(a, 1), cumsum=lambda a: jnp.cumsum(a, 1),
    layer_norm=layer_norm, loss_and_gradient=loss_and_gradient, conv=conv,
    conv_grad_input=conv_grad_input, conv_grad_weight=conv_grad_weight, elman=elman, lstm=lstm)
