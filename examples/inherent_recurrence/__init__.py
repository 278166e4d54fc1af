"""Paper 002: improved inherent recurrence on speech, beside LSTM, GRU and plain LIF networks."""
