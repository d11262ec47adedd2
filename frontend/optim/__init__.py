"""Optimisers: classes over parameters (`SGD`, `Adam`), and Torch7's functions (`sgd`, `adam`).

    optimizer = fb.optim.SGD(net.params(), lr=0.1, momentum=0.9)
    loss = criterion(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

from .adam import Adam as Adam
from .adam import AdamW as AdamW
from .adam import adam as adam
from .optimizer import Group as Group
from .optimizer import Optimizer as Optimizer
from .sgd import SGD as SGD
from .sgd import sgd as sgd
