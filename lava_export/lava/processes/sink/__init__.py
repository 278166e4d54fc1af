"""Spikes to shared memory."""
