"""Synapses for many samples at once."""
