"""Benchmarks: ratios inside one run, against the matrix products, Keras' layers and the peers."""
