"""Units of a spiking LSTM."""
