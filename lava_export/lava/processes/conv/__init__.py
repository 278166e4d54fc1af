"""Convolutions for many samples at once."""
