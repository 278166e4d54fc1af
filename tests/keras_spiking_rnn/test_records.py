"""Recordings of events in shards, read as frames on the fly."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import events, records

SIZE = (5, 7)


def recordings(count, random, size=SIZE, length=60):
    """Random recordings, each with its number as label."""
    for label in range(count):
        number = int(random.integers(length // 2, length + 1))
        t = np.sort(random.integers(0, 5000, number))
        y = None if len(size) == 1 else random.integers(0, size[0], number)
        x = random.integers(0, size[-1], number)
        yield events.make(x, y, t, random.integers(0, 2, number)), label


@pytest.fixture(scope="module")
def samples():
    return list(recordings(11, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def folder(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    records.write(iter(samples), folder, SIZE, shards=3)
    return folder


@pytest.mark.parametrize("windows", [{"count": 9}, {"time": 800}, {"count": 9, "steps": 2}])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("polarity", [False, True])
def test_frames_are_those_of_events_frames(folder, samples, windows, binary, polarity):
    windows = {"steps": 8, **windows, "binary": binary, "polarity": polarity}
    read = list(records.dataset(folder, 4, **windows).as_numpy_iterator())
    assert [len(labels) for _, labels in read] == [4, 4, 3]
    frames, labels = (np.concatenate(part) for part in zip(*read, strict=True))
    assert labels.tolist() == list(range(11))
    for (recording, label), found in zip(samples, frames, strict=True):
        expected = events.frames(recording, size=SIZE, **windows)
        assert expected.any()
        np.testing.assert_array_equal(found, expected.reshape(windows["steps"], -1), str(label))


def test_events_of_a_cochlea_have_channels(tmp_path):
    samples = list(recordings(2, np.random.default_rng(1), size=(6,)))
    records.write(samples, tmp_path, (6,), shards=2)
    ((frames, _),) = records.dataset(tmp_path, 2, steps=3, count=10).as_numpy_iterator()
    expected = [events.frames(each, 10, size=(6,), steps=3, binary=True) for each, _ in samples]
    np.testing.assert_array_equal(frames, np.reshape(expected, (2, 3, 12)))


def test_orders_depend_on_seed_and_epoch_and_workers_share_batches(folder):
    data = records.batches(folder, 4, steps=3, count=9, seed=5, buffer=4)

    def labels(data, epoch, pipelines):
        parts = []
        for i in range(pipelines):
            context = tf.distribute.InputContext(pipelines, i, pipelines)
            parts.append([y for _, y in data(epoch, context).as_numpy_iterator()])
        return [sorted(np.concatenate(batch).tolist()) for batch in zip(*parts, strict=True)]

    first = labels(data, 0, 1)
    assert [len(batch) for batch in first] == [4, 4]
    assert len({label for batch in first for label in batch}) == 8
    assert labels(data, 0, 1) == labels(data, 0, 2) == labels(data, 0, 4) == first
    assert labels(data, 1, 1) != first


def test_a_folder_that_is_not_finished_is_not_read_and_is_written_anew(samples, tmp_path):
    def cut_off():
        yield samples[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write(cut_off(), tmp_path, SIZE)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="index.json: make it with"):
        records.dataset(tmp_path, 1, steps=1, count=1)
    assert records.write(samples, tmp_path, SIZE, shards=2)["counts"] == [6, 5]
    with pytest.raises(FileExistsError, match="complete set of records"):
        records.write(samples, tmp_path, SIZE)


def test_shards_that_are_cut_off_or_missing_are_named(samples, tmp_path):
    """A part of a compressed file reads as one, up to where it ends."""
    records.write(samples, tmp_path, SIZE, shards=2)
    shard = tmp_path / "events-00001-of-00002.tfrecord.gz"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ValueError, match="events-00001-of-00002.tfrecord.gz has .* bytes, and had"):
        records.dataset(tmp_path, 1, steps=1, count=1)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="events-00001-of-00002.tfrecord.gz is missing"):
        records.batches(tmp_path, 1, steps=1, count=1)


def test_wrong_recordings_are_named(samples, tmp_path):
    beyond = events.make([7], [0], [0], 1), 0
    with pytest.raises(ValueError, match="Recording 1: Event 0 has x=7"):
        records.write([samples[0], beyond], tmp_path, SIZE)
    with pytest.raises(TypeError, match="Recording 0: A label must be an integer"):
        records.write([(samples[0][0], "seven")], tmp_path, SIZE)
    with pytest.raises(ValueError, match="no recordings"):
        records.write([], tmp_path, SIZE)


def test_memory_is_flat_over_ten_times_the_data(tmp_path):
    """The largest resident memory while ten times the recordings are read."""
    code = f"""
import numpy, psutil
from keras_spiking_rnn import events, records

def samples(count):
    random = numpy.random.default_rng(0)
    for label in range(count):
        t = numpy.sort(random.integers(0, 10**6, 2048))
        x, y = random.integers(0, 32, (2, 2048))
        yield events.make(x, y, t, x % 2), label

memory = []
for count in (32, 320):
    folder = {str(tmp_path)!r} + f"/{{count}}"
    records.write(samples(count), folder, (32, 32), shards=4)
    largest = read = 0
    for frames, _ in records.dataset(folder, 8, steps=32, time=30_000):
        largest = max(largest, psutil.Process().memory_info().rss)
        read += frames.numpy().nbytes
    memory.append(largest)
print(*memory, read)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    once, ten_times, read = map(int, run.stdout.split())
    assert read == 320 * 32 * 2048 * 4
    assert ten_times - once < read // 3
