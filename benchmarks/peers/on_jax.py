"""JAX: one jitted step that donates the old parameters."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from .nets import Batches, Net, Weights

threads_wanted = os.environ.get("NPROC", "1")
multi = "true" if threads_wanted != "1" else "false"
os.environ["XLA_FLAGS"] = (f"--xla_cpu_multi_thread_eigen={multi} "
                           f"intra_op_parallelism_threads={threads_wanted}")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402  XLA reads its flags when it is loaded
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402


def version() -> str:
    """What was measured."""
    return str(jax.__version__)


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i."""
    parameters = [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights]
    data = [(jax.device_put(x), jax.device_put(y.astype("int32"))) for x, y in batches]

    @partial(jax.jit, donate_argnums=0)
    def update(parameters: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(partial(_loss, net))(parameters, x, y)
        return loss, jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradient)

    state = [parameters]

    def step(i: int) -> Any:
        loss, state[0] = update(state[0], *data[i])
        return loss

    return step


def _loss(net: Net, parameters: Any, x: Any, y: Any) -> Any:
    layers = iter(parameters)
    for _, _, pool in net.convs:
        w, b = next(layers)
        x = lax.conv_general_dilated(x, w, (1, 1), "VALID",
                                     dimension_numbers=("NCHW", "OIHW", "NCHW"))
        x = jnp.tanh(x + b[:, None, None])
        window = (1, 1, pool, pool)
        x = jnp.tanh(lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID"))
    x = x.reshape(x.shape[0], -1)
    for w, b in list(layers):
        last = w.shape[0] == net.sizes[-1]
        x = x @ w.T + b
        x = x if last else jnp.tanh(x)
    picked = jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1)
    return -picked.mean()
