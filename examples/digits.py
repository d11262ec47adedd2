"""Handwritten digits in twenty lines: a net, a compiled training step, an honest score.

Run: python examples/digits.py
"""

import flambeau as fb
from flambeau import nn, optim

fb.manual_seed(0)
x, y, x_test, y_test = fb.data.digits()

net = nn.Sequential(
    nn.Reshape(64),
    nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.3),
    nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.3),
    nn.Linear(128, 10), nn.LogSoftMax())

optimizer = optim.SGD(net, lr=0.05, momentum=0.9)
step = net.compile(nn.ClassNLLCriterion(), optimizer)
step.fit(x, y, epochs=20, batch_size=32, validation=(x_test, y_test), progress=True)
print(step.evaluate(x_test, y_test))
