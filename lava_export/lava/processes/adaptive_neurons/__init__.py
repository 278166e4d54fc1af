"""Adaptive spiking neurons."""
