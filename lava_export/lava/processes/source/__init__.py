"""Spikes from shared memory."""
