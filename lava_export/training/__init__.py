"""Quantization-aware training: the integers of the chip in the Keras forward pass."""
