"""Integers that fit their registers, and the frozen dataclasses that hold them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from lava_export.arithmetic import RANGES


def integers(owner, name, value, ndims):
    """Check a register's value and freeze it: a Python int, or a read-only int32 array."""
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{owner}.{name} must hold integers, got dtype {array.dtype}. "
            "lava_export.export() turns a trained Keras model into integers."
        )
    if array.ndim not in ndims:
        raise ValueError(
            f"{owner}.{name} must have {' or '.join(map(str, ndims))} dimensions, "
            f"got shape {array.shape}."
        )
    if array.size == 0:
        raise ValueError(f"{owner}.{name} is empty (shape {array.shape}).")
    low, high = RANGES[name]
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"{owner}.{name} must be in [{low}, {high}], "
            f"got values from {array.min()} to {array.max()}."
        )
    if array.ndim == 0:
        return int(array)
    array = array.astype(np.int32)
    array.flags.writeable = False
    return array


def same(a, b):
    """Equality of two dataclasses whose fields may be arrays."""
    return type(a) is type(b) and all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a)
    )
