"""What benchmarks/gpu.py asks of each library: work on a GPU, ready to be called, and waiting."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .nets import Batches, Net, Weights

Work = Callable[[], Any]
Step = Callable[[int], Any]


def _data(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


class Flambeau:
    """Flambeau's compiled functions and steps."""

    def __init__(self) -> None:
        self.fb = importlib.import_module("flambeau")

    @staticmethod
    def usable() -> bool:
        """Is there a GPU for it?"""
        return bool(importlib.import_module("flambeau").cuda.is_available())

    def version(self) -> str:
        """What is measured."""
        return str(self.fb.__version__)

    def wait(self) -> None:
        """Until all work is done."""
        self.fb.cuda.synchronize()

    def tensor(self, *shape: int) -> Any:
        """Numbers on the GPU."""
        return self.fb.tensor(_data(*shape), device="cuda")

    def copier(self, nbytes: int) -> Work:
        """A copy on the device, by the driver."""
        gpu = importlib.import_module("flambeau.runtime.devices").find("cuda:0")
        to, source = gpu.allocate(nbytes), gpu.allocate(nbytes)
        return lambda: gpu.copy(to, source)

    def _work(self, f: Any, *tensors: Any) -> Work:
        f = self.fb.compile(f)
        return lambda: f(*tensors)

    def elementwise(self, n: int) -> Work:
        """a * b + tanh(a)."""
        return self._work(lambda a, b: a * b + a.tanh(), self.tensor(n), self.tensor(n))

    def total(self, n: int) -> Work:
        """The sum of all."""
        return self._work(lambda a: a.sum(), self.tensor(n))

    def softmax(self, m: int, n: int) -> Work:
        """Of each row."""
        return self._work(lambda a: a.softmax(1), self.tensor(m, n))

    def product(self, m: int, k: int, n: int) -> Work:
        """Of two float32 matrices."""
        return self._work(lambda a, b: a @ b, self.tensor(m, k), self.tensor(k, n))

    def convolution(self, b: int, c: int, side: int, maps: int, kernel: int) -> Work:
        """Without padding."""
        return self._work(lambda x, w: self.fb.conv2d(x, w), self.tensor(b, c, side, side),
                          self.tensor(maps, c, kernel, kernel))

    def steps(self, net: Net, weights: Weights, batches: Batches) -> Iterator[tuple[str, Step]]:
        """The compiled step."""
        peer = importlib.import_module("peers.on_flambeau")
        nn, optim = (importlib.import_module(f"flambeau.{m}") for m in ("nn", "optim"))
        model = peer.model(net, weights).cuda()
        step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.01))
        data = [(self.fb.tensor(x, device="cuda"), self.fb.tensor(y, device="cuda"))
                for x, y in batches]
        yield "compiled", lambda i: step(*data[i])


class PyTorch:
    """PyTorch: eager, torch.compile, and CUDA graphs of the eager step."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.torch.backends.cuda.matmul.allow_tf32 = False  # all in float32, as Flambeau is
        self.torch.backends.cudnn.allow_tf32 = False

    @staticmethod
    def usable() -> bool:
        """Is there a GPU for it?"""
        return bool(importlib.import_module("torch").cuda.is_available())

    def version(self) -> str:
        """What is measured."""
        return str(self.torch.__version__)

    def wait(self) -> None:
        """Until all work is done."""
        self.torch.cuda.synchronize()

    def tensor(self, *shape: int) -> Any:
        """Numbers on the GPU."""
        return self.torch.from_numpy(_data(*shape)).cuda()

    def elementwise(self, n: int) -> Work:
        """a * b + tanh(a), compiled."""
        a, b = self.tensor(n), self.tensor(n)
        f = self.torch.compile(lambda a, b: a * b + a.tanh())
        return lambda: f(a, b)

    def total(self, n: int) -> Work:
        """The sum of all."""
        a = self.tensor(n)
        return lambda: a.sum()

    def softmax(self, m: int, n: int) -> Work:
        """Of each row."""
        a = self.tensor(m, n)
        return lambda: a.softmax(1)

    def product(self, m: int, k: int, n: int) -> Work:
        """Of two float32 matrices."""
        a, b = self.tensor(m, k), self.tensor(k, n)
        return lambda: a @ b

    def convolution(self, b: int, c: int, side: int, maps: int, kernel: int) -> Work:
        """Without padding."""
        x, w = self.tensor(b, c, side, side), self.tensor(maps, c, kernel, kernel)
        return lambda: self.torch.nn.functional.conv2d(x, w)

    def steps(self, net: Net, weights: Weights, batches: Batches) -> Iterator[tuple[str, Step]]:
        """Three ways."""
        peer = importlib.import_module("peers.on_pytorch")
        data = [(self.torch.from_numpy(x).cuda(), self.torch.from_numpy(y).cuda())
                for x, y in batches]
        yield "eager", self._step(peer._model(net, weights).cuda(), data)
        model = self.torch.compile(peer._model(net, weights).cuda())
        yield "torch.compile", self._step(model, data)
        yield "CUDA graphs", self._graph(peer._model(net, weights).cuda(), data)

    def _step(self, model: Any, data: Any) -> Step:
        optimizer = self.torch.optim.SGD(model.parameters(), lr=0.01, foreach=True)
        loss_of = self.torch.nn.functional.cross_entropy

        def step(i: int) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model(data[i][0]), data[i][1])
            loss.backward()
            optimizer.step()
            return loss.detach()
        return step

    def _graph(self, model: Any, data: Any) -> Step:
        x, y = data[0][0].clone(), data[0][1].clone()
        step = self._step(model, [(x, y)])
        before = [p.detach().clone() for p in model.parameters()]
        side = self.torch.cuda.Stream()
        side.wait_stream(self.torch.cuda.current_stream())
        with self.torch.cuda.stream(side):
            for _ in range(3):
                step(0)
        self.torch.cuda.current_stream().wait_stream(side)
        with self.torch.no_grad():  # back to the start, which the others share
            for p, old in zip(model.parameters(), before):
                p.copy_(old)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            loss = step(0)

        def replay(i: int) -> Any:
            x.copy_(data[i][0])
            y.copy_(data[i][1])
            graph.replay()
            return loss
        return replay


class Jax:
    """JAX, jitted."""

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        self.jnp = importlib.import_module("jax.numpy")
        self.jax.config.update("jax_default_matmul_precision", "highest")  # no tf32 here either
        self.last: Any = None

    @staticmethod
    def usable() -> bool:
        """Is there a GPU for it?"""
        return any(d.platform == "gpu" for d in importlib.import_module("jax").devices())

    def version(self) -> str:
        """What is measured."""
        return str(self.jax.__version__)

    def wait(self) -> None:
        """Until the latest result is there."""
        self.jax.block_until_ready(self.last)

    def _work(self, f: Any, *arrays: np.ndarray) -> Work:
        f, given = self.jax.jit(f), [self.jnp.asarray(a) for a in arrays]

        def work() -> None:
            self.last = f(*given)
        return work

    def elementwise(self, n: int) -> Work:
        """a * b + tanh(a)."""
        return self._work(lambda a, b: a * b + self.jnp.tanh(a), _data(n), _data(n))

    def total(self, n: int) -> Work:
        """The sum of all."""
        return self._work(lambda a: a.sum(), _data(n))

    def softmax(self, m: int, n: int) -> Work:
        """Of each row."""
        return self._work(lambda a: self.jax.nn.softmax(a, 1), _data(m, n))

    def product(self, m: int, k: int, n: int) -> Work:
        """Of two float32 matrices, in full precision."""
        return self._work(lambda a, b: self.jnp.matmul(a, b, precision="highest"), _data(m, k),
                          _data(k, n))

    def convolution(self, b: int, c: int, side: int, maps: int, kernel: int) -> Work:
        """Without padding."""
        return self._work(lambda x, w: self.jax.lax.conv(x, w, (1, 1), "VALID"),
                          _data(b, c, side, side), _data(maps, c, kernel, kernel))

    def steps(self, net: Net, weights: Weights, batches: Batches) -> Iterator[tuple[str, Step]]:
        """The jitted step of peers/on_jax.py, which runs where JAX's default device is."""
        step = importlib.import_module("peers.on_jax").make(net, weights, batches, 1)

        def noted(i: int) -> Any:
            self.last = step(i)
            return self.last
        yield "jit", noted


class CuPy:
    """CuPy's kernels; it trains no nets."""

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    @staticmethod
    def usable() -> bool:
        """Is there a GPU for it?"""
        return bool(importlib.import_module("cupy").cuda.is_available())

    def version(self) -> str:
        """What is measured."""
        return str(self.cupy.__version__)

    def wait(self) -> None:
        """Until all work is done."""
        self.cupy.cuda.Device().synchronize()

    def elementwise(self, n: int) -> Work:
        """a * b + tanh(a), fused."""
        a, b = self.cupy.asarray(_data(n)), self.cupy.asarray(_data(n))
        f = self.cupy.fuse(lambda a, b: a * b + self.cupy.tanh(a))
        return lambda: f(a, b)

    def total(self, n: int) -> Work:
        """The sum of all."""
        a = self.cupy.asarray(_data(n))
        return lambda: a.sum()

    def softmax(self, m: int, n: int) -> Work:
        """Of each row, by its parts."""
        a = self.cupy.asarray(_data(m, n))

        def work() -> Any:
            e = self.cupy.exp(a - a.max(1, keepdims=True))
            return e / e.sum(1, keepdims=True)
        return work

    def product(self, m: int, k: int, n: int) -> Work:
        """Of two float32 matrices."""
        a, b = self.cupy.asarray(_data(m, k)), self.cupy.asarray(_data(k, n))
        return lambda: a @ b

    def steps(self, net: Net, weights: Weights, batches: Batches) -> Iterator[tuple[str, Step]]:
        """None."""
        return iter(())


# by name: the module to look for and what to ask of it
LIBRARIES: dict[str, tuple[str, Any]] = {
    "flambeau": ("flambeau", Flambeau), "pytorch": ("torch", PyTorch), "jax": ("jax", Jax),
    "cupy": ("cupy", CuPy)}
