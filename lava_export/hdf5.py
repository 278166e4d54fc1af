"""HDF5 files of others, read without trusting them."""

from __future__ import annotations

from contextlib import contextmanager

import h5py
import numpy as np

LARGEST = 1 << 30  # bytes of all data in a file
DEEPEST = 32  # groups within groups
MOST = 1 << 16  # groups and datasets


@contextmanager
def reading(path, error):
    """An open HDF5 file; whatever its content makes h5py raise becomes an `error`.

    Args:
        path: Where it is.
        error: Class of what is raised.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    with open(path, "rb"):  # a missing or forbidden file says so in the system's own words
        pass
    try:
        with h5py.File(path, "r") as file:
            _check(file)
            yield file
    except error as known:
        raise type(known)(f"{path}: {known}") from known.__cause__
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as unknown:
        raise error(
            f"{path} is damaged, or not the HDF5 file it should be ({type(unknown).__name__}: "
            f"{unknown})."
        ) from unknown


def _check(file):
    """Raise ValueError if a file leads outside of itself, or holds more than it should."""
    total, seen = 0, 1
    waiting = [("", file["/"], 0)]  # name, group or dataset, and how deep it is
    while waiting:
        key, item, depth = waiting.pop()
        if h5py.h5o.get_info(item.id).rc > 1:
            raise ValueError(f"{key} stands in two places")
        if isinstance(item, h5py.Group):
            if depth > DEEPEST:
                raise ValueError(f"its groups are more than {DEEPEST} deep")
            for name in item:
                place = f"{key}/{name}" if key else name
                if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{place} is a link")
                if seen == MOST:
                    raise ValueError(f"it has more than {MOST} groups and datasets")
                seen += 1
                waiting.append((place, item[name], depth + 1))
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise ValueError(f"the data of {key} is in another file")
            if item.shape is None:
                raise ValueError(f"{key} is empty")
            total += item.dtype.itemsize * int(np.prod(item.shape, dtype=object))
            if total > LARGEST:
                raise ValueError(f"with {key} it holds more than {LARGEST >> 20} MiB")
