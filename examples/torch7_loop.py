"""The loop that Torch7 users know: forward, backward, update_parameters, with no compile step.

Run: python examples/torch7_loop.py
"""

import flambeau as fb
from flambeau import nn

fb.manual_seed(0)
x, y, x_test, y_test = fb.data.digits()

net = nn.Sequential()
net.add(nn.Reshape(64))
net.add(nn.Linear(64, 100))
net.add(nn.Tanh())
net.add(nn.Linear(100, 10))
net.add(nn.LogSoftMax())
criterion = nn.ClassNLLCriterion()

for epoch in range(10):
    total = 0.0
    for xb, yb in fb.data.batches(x, y, size=25, shuffle=True, seed=epoch):
        xb, yb = fb.from_numpy(xb), fb.from_numpy(yb)
        loss = criterion.forward(net.forward(xb), yb)
        net.zero_grad_parameters()
        net.backward(xb, criterion.backward(net.output, yb))
        net.update_parameters(0.2)
        total += loss.item() * len(yb)
    right = net.forward(fb.from_numpy(x_test)).argmax(axis=1).numpy() == y_test
    print(f"epoch {epoch + 1}: loss {total / len(y):.4f}, test accuracy {right.mean():.1%}")
