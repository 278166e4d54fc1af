"""Leaky integrate-and-fire units for many samples at once."""
