"""The four memory tasks of *Gating out sensory noise in a spike-based LSTM network* (2018)."""
