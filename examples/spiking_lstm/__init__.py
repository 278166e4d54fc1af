"""Paper 003: spiking LSTMs that classify, speak and write."""
