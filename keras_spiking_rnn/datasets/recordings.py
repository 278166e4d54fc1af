"""What the loaders of recorded datasets share: the files of each class, split, read by index."""

import collections.abc
import numbers
import pathlib
import re

from keras_spiking_rnn import events


class Recordings(collections.abc.Sequence):
    """Recordings of a DVS128 in AEDAT files, a sequence of `(events, label)`.

    Within each folder files are in the order of the number that their name ends in, and the first
    of them are for training.

    Args:
        folders: List of `(folder, label)`, label by label.
        pattern: Pattern of the names of the files in a folder.
        expected: Where the files are expected, for an error.
        train: Whether to take the part for training, that for testing, or, if `None`, both.
        split: Fraction of the files of each folder that is for training.
        **options: Arguments of `events.read_aedat`.

    Raises:
        FileNotFoundError: If a folder does not exist, or has no files of this name.
        ValueError: If an argument is out of range.
    """

    # Width, height and polarities, in the order of tonic.
    sensor_size = (128, 128, 2)
    synthetic = False

    def __init__(self, folders, pattern, expected, train=True, split=0.8, **options):
        if not (isinstance(split, numbers.Real) and 0 <= split <= 1):
            raise ValueError(
                "`split` must be at least 0 and at most 1, it is the fraction of the recordings "
                f"for training. Received: split={split!r}"
            )
        events.check_reading(**options)
        self.files, self.targets, self.options = [], [], options
        for folder, label in folders:
            if not folder.is_dir():
                raise FileNotFoundError(f"There is no directory {folder}. {expected}")
            files = sorted(folder.glob(pattern), key=_number)
            if not files:
                raise FileNotFoundError(f"No file in {folder} is named {pattern}. {expected}")
            # Rounding must not take one away: 0.29 * 100 is 28.999999999999996.
            first = int(split * len(files) + 1e-9)
            if train is not None:
                files = files[:first] if train else files[first:]
            self.files.extend(files)
            self.targets.extend([label] * len(files))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        """Reads one recording: `(events, label)`."""
        return events.read_aedat(self.files[index], **self.options), self.targets[index]


def _number(path):
    """The number that the name of a file ends in, to sort by; and its name."""
    found = re.search(r"(\d+)\.aedat$", path.name)
    return (int(found[1]) if found else -1, path.name)


def directory_of(directory):
    """`directory` as a path, with a `~` at its beginning replaced."""
    return pathlib.Path(directory).expanduser()
