"""Units of a LIF-LSTM."""
