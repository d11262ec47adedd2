"""Pickle and copy: out-of-band buffers, and what shared memory or identity before does so after."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np
import pytest
from flambeau import optim
from flambeau.compiler import dtype as dt


def out_of_band(x: Any) -> tuple[Any, list[pickle.PickleBuffer], int]:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers), buffers, len(data)


WAYS = [lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
        lambda x: pickle.loads(pickle.dumps(x, protocol=5)), lambda x: out_of_band(x)[0],
        copy.deepcopy]


@pytest.mark.parametrize("dtype", dt.DTYPES, ids=lambda d: d.name)
def test_values_travel_out_of_band(dtype: Any) -> None:
    x = (fb.arange(5000) % 2).to(dtype)
    found, buffers, size = out_of_band(x)
    assert found.dtype is dtype and bytes(found.buffer()) == bytes(x.buffer())
    assert size < 600 and sum(b.raw().nbytes for b in buffers) == x.nbytes
    found[0] = 1
    assert x[0].item() == 0


@pytest.mark.parametrize("way", WAYS)
def test_views_share_their_storage(way: Any) -> None:
    x = fb.arange(12.0).reshape(3, 4)
    whole, row, turned, again = way([x, x[1], x.t(), x])
    assert again is whole and row.storage() is whole.storage() is turned.storage()
    row.fill_(0)
    assert whole.numpy()[1].sum() == 0 and turned.numpy()[:, 1].sum() == 0
    assert x.numpy()[1].sum() == 22


@pytest.mark.parametrize("way", WAYS)
def test_gradients_and_leaves(way: Any) -> None:
    w = fb.ones(3).requires_grad_()
    (w * 2).sum().backward()
    again, lazy = way([w, fb.ones(2) + 1])
    assert again.requires_grad and again.is_leaf and again.grad.tolist() == [2, 2, 2]
    assert lazy.tolist() == [2, 2]
    (again * again).sum().backward()
    assert again.grad.tolist() == [4, 4, 4] and w.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize("way", WAYS)
def test_modules(way: Any) -> None:
    tied = nn.Linear(3, 3)
    net = nn.Sequential(tied, nn.BatchNormalization(3), nn.Tanh(), tied, nn.Linear(3, 2))
    x = fb.randn(4, 3)
    net(x)
    net.evaluate()
    again, weight = way([net, net[4].weight])
    assert again.output is None and again[0] is again[3] and again[4].weight is weight
    assert np.array_equal(again(x).numpy(), net(x).numpy()) and repr(again) == repr(net)
    again[4].weight.data.fill_(0)
    assert net[4].weight.abs().sum().item() > 0


def test_flat_parameters_stay_flat_in_a_pickle() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    flat, _ = net.get_parameters()
    again, flat_again = pickle.loads(pickle.dumps([net, flat]))
    flat_again.fill_(3)
    assert all((p.numpy() == 3).all() for p in again.params())


def test_whole_training_state() -> None:
    net = nn.Linear(3, 2)
    optimizer, x = optim.Adam(net, lr=0.1), fb.randn(4, 3)

    def step(net: Any, optimizer: Any) -> bytes:
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
        return bytes(net.weight.buffer())

    step(net, optimizer)
    state = pickle.loads(pickle.dumps((net, optimizer.state_dict())))
    again = optim.Adam(state[0], lr=5.0)
    again.load_state_dict(state[1])
    assert step(state[0], again) == step(net, optimizer)
