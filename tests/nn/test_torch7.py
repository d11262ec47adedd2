"""Layers, criteria and whole nets against Torch7's recorded numbers."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import flambeau.nn as nn
import flambeau.nn.activation
import flambeau.optim as optim
import numpy as np
import pytest
import torch7 as t7

LATER = {  # options of LookupTable that are not here
    "nn_linear.LookupTable.4": "max_norm", "nn_linear.LookupTable.5": "max_norm",
    "nn_linear.LookupTable.6": "scale_grad_by_freq", "nn_spatial.SpatialAveragePooling.6": "divide"}


def by_id(case: dict[str, Any]) -> str:
    return str(case["id"])


def close(ours: Any, theirs: Any, case: dict[str, Any], what: str = "") -> None:
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            close(a, b, case, what)
        return
    np.testing.assert_allclose(np.asarray(ours.numpy()).reshape(np.shape(theirs)), theirs,
                               case["rtol"], case["atol"], err_msg=f"{case['id']} {what}")


def torch7_dim(module: Any, ndim: int) -> None:
    """Torch7's softmax chose its dimension by rank."""
    for m in module.list_modules():
        if isinstance(m, nn.SoftMax | nn.LogSoftMax):
            m.dim = {1: 0, 2: 1, 3: 0, 4: 1}[ndim]


@pytest.mark.parametrize("case", t7.cases("module"), ids=by_id)
def test_module(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if case["id"] in LATER:
        pytest.skip(f"no option {LATER[case['id']]} yet")
    m = t7.build(case["ctor"], case.get("one_based") or [])
    if len(case["ctor"]["args"]) == 3 and isinstance(m, nn.LookupTable):
        m.padding = case["ctor"]["args"][2] - 1
    (m.training if case.get("mode") == "train" else m.evaluate)()
    t7.set_parameters(m, case.get("params", {}))
    t7.set_parameters(m, case.get("state_before", {}))
    x, g = t7.values(case["input"]), t7.values(case["grad_output"])
    if "input" in (case.get("one_based") or []):
        x = x.astype(np.int64) - 1
    if isinstance(x, np.ndarray):
        torch7_dim(m, x.ndim)
    noise = case.get("state_after", {}).get("noise")
    if noise is not None:
        mask = t7.values(noise) / ((1 - m.p) if m.v1 else 1)
        monkeypatch.setattr(flambeau.nn.activation, "dropout_mask",
                            lambda *_, **__: fb.tensor(mask))
    x, g = t7.tensors(x), t7.tensors(g)
    if "input_after" in case:  # Torch7 worked in place: what it would have recorded otherwise
        assert m.forward(x).shape == x.shape
    close(m.forward(x), t7.values(case["output"]), case, "output")
    if case.get("grad_input") is None:
        return
    m.zero_grad_parameters()
    found = m.backward(x, g, case.get("scale", 1))
    if not isinstance(m, nn.LookupTable):
        close(found, t7.values(case["grad_input"]), case, "grad_input")
    for path, value in t7.values(case.get("grad_params", {})).items():
        close(t7.parameter(m, path).grad, value, case, f"gradient of {path}")
    for path, value in t7.values(case.get("state_after", {})).items():
        if "running" in path:
            close(t7.parameter(m, path), value, case, path)


@pytest.mark.parametrize("case", t7.cases("criterion"), ids=by_id)
def test_criterion(case: dict[str, Any]) -> None:
    c = t7.build(case["ctor"], case.get("one_based") or [])
    if case.get("fields"):
        c.size_average = case["fields"]["sizeAverage"]
    x, t = t7.values(case["input"]), t7.values(case["target"])
    if "target" in (case.get("one_based") or []):
        t = np.asarray(t).astype(np.int64) - 1
    if isinstance(c, nn.ClassNLLCriterion):
        t = t.reshape(np.shape(x)[:-1])
    x, t = fb.tensor(np.asarray(x)), fb.tensor(np.asarray(t))
    close(c.forward(x, t), case["loss"] if not isinstance(case["loss"], dict)
          else t7.values(case["loss"]), case, "loss")
    close(c.backward(x, t), t7.values(case["grad_input"]), case, "grad_input")


def net_of(case: dict[str, Any]) -> Any:
    m = t7.build(case["ctor"])
    for p, value in zip(m.params(), t7.values(case["parameters"])):
        p.data = fb.tensor(value)
    m.get(2).set_num_input_dims(3) if isinstance(m.modules[-1], nn.View) else None
    return m


def batch(case: dict[str, Any]) -> tuple[Any, Any]:
    x = fb.tensor(t7.values(case["input"]))
    return x, fb.tensor(t7.values(case["target"]).astype(np.int64) - 1)


@pytest.mark.parametrize("case", t7.cases("protocol", "train_steps"), ids=by_id)
@pytest.mark.parametrize("style", ["torch7", "pytorch", "compiled"])
def test_train_steps(case: dict[str, Any], style: str) -> None:
    m, c = net_of(case), t7.build(case["criterion"])
    x, y = batch(case)
    rate = case["learning_rate"]
    opt = optim.SGD(m, lr=rate)

    def torch7(x: Any, y: Any) -> Any:
        output = m.forward(x)
        loss = c.forward(output, y)
        g = c.backward(output, y)
        m.zero_grad_parameters()
        m.backward(x, g)
        m.update_parameters(rate)
        return loss

    def pytorch(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = c(m(x), y)
        loss.backward()
        opt.step()
        return loss.detach()

    step = {"torch7": torch7, "pytorch": pytorch, "compiled": fb.compile(pytorch)}[style]
    m.training()
    losses = [step(x, y) for _ in range(case["steps"])]
    close(fb.stack(losses), t7.values(case["losses"]), case, "losses")
    for p, value in zip(m.params(), t7.values(case["parameters_after"])):
        close(p, value, case, "parameter")


@pytest.mark.parametrize("case", t7.cases("protocol", "get_parameters"), ids=by_id)
def test_get_parameters(case: dict[str, Any]) -> None:
    m = net_of(case)
    flat, grads = m.get_parameters()
    close(flat, t7.values(case["flat"]), case, "flat")
    x, g = fb.tensor(t7.values(case["input"])), fb.tensor(t7.values(case["grad_output"]))
    m.forward(x)
    m.zero_grad_parameters()
    m.backward(x, g)
    close(grads, t7.values(case["flat_grad"]), case, "flat gradient")


@pytest.mark.parametrize("case", t7.cases("protocol", "optim_loop"), ids=by_id)
@pytest.mark.parametrize("style", ["function", "class"])
def test_optim_loop(case: dict[str, Any], style: str) -> None:
    m, c = net_of(case), t7.build(case["criterion"])
    x, y = batch(case)
    config = {t7.snake(k): v for k, v in case["config"].items()}
    flat, grads = m.get_parameters()

    def closure(_: Any) -> tuple[Any, Any]:
        m.zero_grad_parameters()
        output = m.forward(x)
        loss = c.forward(output, y)
        m.backward(x, c.backward(output, y))
        return loss, grads

    if "momentum" in config:
        config["dampening"] = config["momentum"]  # Torch7's default
    losses = []
    if style == "function":
        method = getattr(optim, case["algorithm"])
        losses = [method(closure, flat, config)[1][0] for _ in range(case["steps"])]
    else:
        config["lr"] = config.pop("learning_rate")
        opt = (optim.SGD if case["algorithm"] == "sgd" else optim.Adam)(m, **config)
        for _ in range(case["steps"]):
            losses.append(closure(None)[0])
            opt.step()
    close(fb.stack(losses), t7.values(case["losses"]), case, "losses")
    close(flat, t7.values(case["flat_after"]), case, "flat")


@pytest.mark.parametrize("case", t7.cases("protocol", "accumulate"), ids=by_id)
def test_accumulate(case: dict[str, Any]) -> None:
    m = net_of(case)
    m.zero_grad_parameters()
    for x, g, scale in zip(t7.values(case["inputs"]), t7.values(case["grad_outputs"]),
                           case["scales"]):
        x = fb.tensor(x)
        m.forward(x)
        m.backward(x, fb.tensor(g), scale)
    for p, value in zip(m.params(), t7.values(case["grad_parameters"])):
        close(p.grad, value, case)


@pytest.mark.parametrize("case", t7.cases("protocol", "backward_update"), ids=by_id)
def test_backward_update(case: dict[str, Any]) -> None:
    m = net_of(case)
    x = fb.tensor(t7.values(case["input"]))
    m.forward(x)
    found = m.backward_update(x, fb.tensor(t7.values(case["grad_output"])), case["learning_rate"])
    close(found, t7.values(case["grad_input"]), case)
    assert all(p.grad is None for p in m.params())
    for p, value in zip(m.params(), t7.values(case["parameters_after"])):
        close(p, value, case)


@pytest.mark.parametrize("case", t7.cases("optim"), ids=by_id)
def test_optim(case: dict[str, Any]) -> None:
    data = t7.values(case.get("problem_data", {}))

    def problem(x: Any) -> tuple[float, Any]:
        a = x.numpy()
        if case["problem"] == "rosenbrock":
            f = (1 - a[0]) ** 2 + 100 * (a[1] - a[0] ** 2) ** 2
            g = np.array([-2 * (1 - a[0]) - 400 * a[0] * (a[1] - a[0] ** 2),
                          200 * (a[1] - a[0] ** 2)])
        else:
            d, c = data["d"], data["c"]
            f, g = 0.5 * np.sum(d * (a - c) ** 2), d * (a - c)
        return float(f), fb.tensor(g)

    config = {t7.snake(k): fb.tensor(v) if isinstance(v, np.ndarray) else v
              for k, v in (t7.values(case["config"]) or {}).items()}
    if config.get("momentum") and "dampening" not in config:
        config["dampening"] = config["momentum"]
    x = fb.tensor(t7.values(case["x0"]))
    path, f = [x.numpy().copy()], []
    for _ in range(len(t7.values(case["f"]))):
        x, history = getattr(optim, case["class"])(problem, x, config)
        path.append(x.numpy().copy())
        f += history
    np.testing.assert_allclose(path, t7.values(case["x"]), case["rtol"], case["atol"])
    np.testing.assert_allclose(f, t7.values(case["f"]), case["rtol"], case["atol"])
