"""Recordings of event cameras, real ones and synthetic ones, as frames for a network.

A frame has the pixels of a window of a fixed number of events, 1 where there are any: section 4.1
of *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020). That paper does not say
whether events are counted; binary pixels, as in later code of its group, are spikes for a chip.

`mnist` and `fashion` are real images before a simulated camera: their events are synthetic.
"""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np

from examples import data, experiment
from keras_spiking_rnn import datasets, events

# Real images whose events are simulated.
SYNTHETIC = ("mnist", "fashion")
# Files of jAER, read by this library.
FILES = ("mnist-dvs", "cifar10-dvs")
# The class of tonic, and whether it has a part for training and one for the test.
TONIC = {
    "n-mnist": ("NMNIST", True),
    "poker-dvs": ("POKERDVS", True),
    "dvs-gesture": ("DVSGesture", True),
    "cifar10-dvs-aedat4": ("CIFAR10DVS", False),
}
NAMES = (*SYNTHETIC, *FILES, *TONIC)
CLASSES = {name: 10 for name in NAMES} | {"poker-dvs": 4, "dvs-gesture": 11}
TITLES = {
    "mnist": "Synthetic events of MNIST",
    "fashion": "Synthetic events of Fashion-MNIST",
    "mnist-dvs": "MNIST-DVS",
    "cifar10-dvs": "CIFAR10-DVS",
    "n-mnist": "N-MNIST",
    "poker-dvs": "Poker-DVS",
    "dvs-gesture": "DVS Gesture",
    "cifar10-dvs-aedat4": "CIFAR10-DVS (AEDAT 4)",
}
SCALES = (4, 8, 16)
# Side of an image of 28 pixels at a scale, and of the simulated camera, half as wide as a DVS128.
SIDES, CAMERA_OF_SCALES = {4: 14, 8: 28, 16: 56}, (64, 64)
CAMERA = (34, 34)
# Background events of a pixel of the simulated camera, in a second.
BACKGROUND = 1.0
SPLIT = 0.8


def recordings(dataset, protocol, source=None, data_dir=None, scale=None, seed=0):
    """The recordings of a data set: `(training, test)`, in an order by chance.

    Args:
        dataset: One of `NAMES`.
        protocol: Dictionary with `train` and `test`, numbers of recordings or `None` for all.
        source: Of the images of synthetic events, see `examples.data.images`.
        data_dir: Folder of the data. Tonic downloads into it what is not there.
        scale: 4, 8 or 16, for `"mnist-dvs"` and for synthetic events, which without it are of
            images of 28 pixels before a camera of 34 x 34.
        seed: Seed of what is drawn.

    Returns:
        Two sequences of `(events, label)` with the attributes `sensor_size` and `targets`.

    Raises:
        ValueError: If there is no such data set, or it has no scales or sources.
        FileNotFoundError: If files are not there.
        ImportError: If a package is missing.
    """
    if dataset not in NAMES:
        raise ValueError(f"`dataset` must be one of {', '.join(NAMES)}. Received: {dataset!r}")
    if scale is not None and dataset not in (*SYNTHETIC, "mnist-dvs"):
        raise ValueError(f"{dataset} has no scales: leave out scale={scale!r}.")
    if source is not None and dataset not in SYNTHETIC:
        raise ValueError(f"{dataset} has no sources: leave out source={source!r}.")
    counts = protocol["train"], protocol["test"]
    if dataset in SYNTHETIC:
        return [
            simulated(data.subset(part, count, seed), scale, seed)
            for part, count in zip(
                data.images(dataset, source, data_dir, seed), counts, strict=True
            )
        ]
    if data_dir is None:
        raise FileNotFoundError(
            f"{TITLES[dataset]} needs a data folder that has its recordings. Name one, or take "
            f"one of the data sets whose events are simulated: {', '.join(SYNTHETIC)}."
        )
    if dataset == "mnist-dvs":
        both = [datasets.MNISTDVS(data_dir, scale or 8, train=train) for train in (True, False)]
    elif dataset == "cifar10-dvs":
        both = [datasets.CIFAR10DVS(data_dir, train=train) for train in (True, False)]
    else:
        both = of_tonic(dataset, data_dir)
    return [
        Some(part, np.random.default_rng([seed, len(part)]).permutation(len(part))[:count])
        for part, count in zip(both, counts, strict=True)
    ]


class Some:
    """Some recordings of a sequence of them, in the order of `indices`."""

    def __init__(self, recorded, indices):
        self.recorded, self.indices = recorded, [int(index) for index in indices]
        self.sensor_size = recorded.sensor_size
        self.targets = [recorded.targets[index] for index in self.indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.recorded[self.indices[index]]


class Held:
    """Recordings in memory, read once: a sequence of `(events, label)`."""

    def __init__(self, recorded):
        self.sensor_size = recorded.sensor_size
        self.recorded = [recorded[index] for index in range(len(recorded))]

    def __len__(self):
        return len(self.recorded)

    def __getitem__(self, index):
        return self.recorded[index]


def simulated(part, scale, seed):
    """Images `(n, 28, 28)` with labels that move before a simulated camera: synthetic."""
    x, y = part
    if scale is not None:
        side = SIDES[scale]
        resized = keras.ops.image.resize(x[..., None], (side, side), antialias=True)
        x = np.clip(keras.ops.convert_to_numpy(resized)[..., 0], 0, 1)
    return datasets.Saccades(
        x,
        y,
        size=CAMERA if scale is None else CAMERA_OF_SCALES,
        seed=seed,
        pixels_per_frame=0.5,
        noise_rate=BACKGROUND,
    )


def of_tonic(dataset, data_dir):
    """Both parts of a data set of tonic. Without parts of its own: the first 80 % of each class."""
    try:
        import tonic.datasets
    except ImportError as error:
        raise ImportError(
            f"{TITLES[dataset]} needs tonic: pip install 'keras-spiking-rnn[datasets]'. Or take "
            f"one of {', '.join((*SYNTHETIC, *FILES))}."
        ) from error
    if dataset == "cifar10-dvs-aedat4" and importlib.util.find_spec("aedat") is None:
        raise ImportError(
            f"{TITLES[dataset]} needs aedat, with which tonic reads it: pip install aedat. Or take "
            "cifar10-dvs, the files in which it was published."
        )
    name, has_parts = TONIC[dataset]
    load = getattr(tonic.datasets, name)
    try:
        if has_parts:
            return [load(str(data_dir), train=train) for train in (True, False)]
        every = load(str(data_dir))
    except Exception as error:  # whatever a download without a network ends in
        raise FileNotFoundError(
            f"tonic could not load {TITLES[dataset]} from {data_dir} ({type(error).__name__}: "
            f"{error}). It needs a network for the first time."
        ) from error
    # tonic has the files as the file system lists them, which is not everywhere the same.
    order = sorted(range(len(every)), key=lambda index: numbered(every.data[index]))
    targets = np.array(every.targets)[order]
    places = [np.array(order)[targets == label] for label in np.unique(targets)]
    kept = [int(SPLIT * len(each)) for each in places]
    return [
        Some(every, np.concatenate([each[:n] for each, n in zip(places, kept, strict=True)])),
        Some(every, np.concatenate([each[n:] for each, n in zip(places, kept, strict=True)])),
    ]


def numbered(path):
    """What to sort the files of a class by: the number in their name, and their name."""
    name = Path(path).stem
    return int(re.search(r"\d*$", name)[0] or -1), name


def framed(recorded, count, steps, path=None, change=None):
    """The frames of recordings, kept in a file where there is a path.

    Args:
        recorded: Sequence of `(events, label)` with `sensor_size`.
        count: Events in a window. Those at the end that do not fill one have a frame too.
        steps: Frames of a recording; zeros stand for those that are missing.
        path: File of the frames, such as `train.npy`, which is read if it is there. The labels are
            beside it. It is mapped into memory, not loaded: frames of a DVS128 are large.
        change: What to do with the events of a recording first: `change(events, size, index)`.

    Returns:
        `(x, y)`: uint8 0 or 1 of shape (n, steps, height, width, 2), and int32 labels.

    Raises:
        ValueError: If the file has frames of other recordings.
    """
    width, height = recorded.sensor_size[:2]
    shape = (len(recorded), steps, height, width, 2)
    if path is not None:
        path = Path(path)
        labels, beside = path.with_suffix(".labels.npy"), path.with_suffix(".part.npy")
        if path.exists():
            x, y = np.load(path, mmap_mode="r"), np.load(labels)
            if x.shape != shape or y.tolist() != [int(label) for label in recorded.targets]:
                raise ValueError(
                    f"{path} has the frames of other recordings, {len(x)} of them, where there "
                    f"are {len(recorded)} now. Delete {path.parent}, or choose another --output."
                )
            return x, y
        x = np.lib.format.open_memmap(beside, "w+", "uint8", shape)
    else:
        x = np.zeros(shape, "uint8")
    y = np.zeros(len(recorded), "int32")
    bar = experiment.bar(f"{steps} frames of {count} events", len(recorded), "recording")
    for index in range(len(recorded)):
        given, y[index] = recorded[index]
        if change is not None:
            given = change(given, (height, width), index)
        x[index] = events.frames(
            given,
            count=count,
            size=(height, width),
            steps=steps,
            binary=True,
            remainder="keep",
            dtype="uint8",
        )
        bar.update(index + 1)
    if path is None:
        return x, y
    x.flush()
    np.save(labels, y)
    beside.replace(path)
    return np.load(path, mmap_mode="r"), y


def noise(rate, seed):
    """What adds background events to a recording, for `framed`: `rate` a pixel and second.

    They are a Poisson process, anywhere and at any time of the recording, ON and OFF alike.
    """

    def change(given, size, index):
        t = np.asarray(given["t"]).astype("int64")
        random = np.random.default_rng([seed, index])
        height, width = size
        number = random.poisson(rate * height * width * np.ptp(t) / 1e6)
        added = {
            "x": random.integers(width, size=number),
            "y": random.integers(height, size=number),
            "t": random.integers(t.min(), t.max() + 1, size=number),
            "p": random.integers(2, size=number),
        }
        order = np.argsort(np.concatenate([t, added["t"]]), kind="stable")
        fields = {
            name: np.concatenate([np.asarray(given[name]).astype("int64"), added[name]])[order]
            for name in "xytp"
        }
        return events.make(**fields)

    return change


def parts_of(dataset, protocol, output, source=None, data_dir=None, scale=None, seed=0):
    """Training, validation and test part, each `(x, y)`; a tenth of the training validates.

    Args:
        dataset: As all others see `recordings`.
        protocol: Dictionary with `train`, `test`, `count` and `steps`.
        output: Folder for the files of the frames.
        source: Of the images.
        data_dir: Folder of the data.
        scale: 4, 8 or 16.
        seed: Seed of what is drawn.
    """
    both = recordings(dataset, protocol, source, data_dir, scale, seed)
    output.mkdir(parents=True, exist_ok=True)
    train, test = (
        framed(part, protocol["count"], protocol["steps"], output / f"{name}.npy")
        for part, name in zip(both, ("train", "test"), strict=True)
    )
    return (*validated(train), test)


def validated(part):
    """`(x, y)` without the last tenth, and that."""
    x, y = part
    kept = len(x) - len(x) // 10
    return (x[:kept], y[:kept]), (x[kept:], y[kept:])
