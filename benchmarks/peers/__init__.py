"""One file for each framework: `make(net, weights, batches, threads)` gives a training step."""
