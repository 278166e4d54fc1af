"""Units of an LSTM of adaptive spiking neurons."""
