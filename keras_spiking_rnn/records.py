"""Recordings of events in files of TFRecord: data that is larger than memory.

A folder has the shards, `events-00003-of-00016.tfrecord.gz`, and `index.json`, which is written
last. Recording i is number i // n of the shard i % n of n. A recording is a `tf.train.Example` of
the bytes of `x`, `y` (int16), `t` (int64) and `p` (uint8), all little-endian, and of an integer
`label`. A file is read from its beginning to its end, and never more than a few recordings of it
are in memory.
"""

import contextlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_spiking_rnn import checks, events, files

INDEX = "index.json"
FORMAT = "keras_spiking_rnn.records 1"
FIELDS = {"x": "<i2", "y": "<i2", "t": "<i8", "p": "u1"}


def write(samples, directory, size, shards=16):
    """Writes recordings to shards, one at a time.

    A run that is killed leaves no `index.json`: what is there is not read, and is written anew.

    Args:
        samples: The recordings, `(events, label)` each, with integer labels: something to iterate
            over, once.
        directory: The folder, which is made.
        size: `(height, width)` of the camera, or `(channels,)` of a cochlea.
        shards: Number of files.

    Returns:
        The content of `index.json`: a dictionary with `"size"`, `"counts"`, the number of
        recordings of each shard, `"bytes"`, its length, and `"events"`, the number of all events.

    Raises:
        FileExistsError: If the folder has a complete set of records.
        TypeError: If a recording is no pair, its events are none, or its label is no integer.
        ValueError: If an argument is out of range, or something is wrong with an event; the
            recording is named.
    """
    checks.positive_integer("write", "shards", shards)
    directory = Path(directory)
    if (directory / INDEX).exists():
        raise FileExistsError(
            f"{directory} has a complete set of records: delete it, or name another folder."
        )
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"events-{i:05d}-of-{shards:05d}.tfrecord.gz" for i in range(shards)]
    counts, total = [0] * shards, 0
    with contextlib.ExitStack() as stack:
        paths = [stack.enter_context(files.replacing(directory / name)) for name in names]
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(path), "GZIP")) for path in paths]
        for i, sample in enumerate(samples):
            try:
                recording, label = sample
                record = _record(events.check(recording, size), label)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Recording {i}: {error}") from error
            writers[i % shards].write(record)
            counts[i % shards] += 1
            total += len(recording)
        if not total:
            raise ValueError("There are no recordings to write.")
    index = {
        "format": FORMAT,
        "size": list(map(int, size)),
        "files": names,
        "counts": counts,
        "bytes": [(directory / name).stat().st_size for name in names],
        "events": total,
    }
    with files.replacing(directory / INDEX) as part:
        part.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return index


def _record(recording, label):
    if np.asarray(label).dtype.kind not in "iub" or np.ndim(label):
        raise TypeError(f"A label must be an integer. Received: {label!r}")
    features = {
        name: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[recording[name].astype(kind).tobytes()])
        )
        for name, kind in FIELDS.items()
        if name in recording.dtype.names
    }
    features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def read_index(directory):
    """The content of `index.json`, whose shards are looked for.

    Raises:
        FileNotFoundError: If there is none, or a shard is missing.
        ValueError: If it is of something else, or a shard is not whole.
    """
    path = Path(directory) / INDEX
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {path}: make it with keras_spiking_rnn.records.write, which writes it "
            "when all records are there."
        )
    index = json.loads(path.read_text(encoding="utf-8"))
    if index.get("format") != FORMAT:
        raise ValueError(f"{path} has the format {index.get('format')!r}, this reads {FORMAT!r}.")
    for name, size in zip(index["files"], index["bytes"], strict=True):
        shard = path.with_name(name)
        if not shard.exists():
            raise FileNotFoundError(f"{shard} is missing: copy it again, or delete {path}.")
        if shard.stat().st_size != size:
            raise ValueError(
                f"{shard} has {shard.stat().st_size} bytes, and had {size} when it was written: "
                f"copy it again, or delete {path} and write all anew."
            )
    return index


def dataset(directory, batch_size, steps, count=None, time=None, binary=True, polarity=True):
    """All recordings, in the order in which they were written, as batches of frames.

    Args:
        directory: The folder that `write` has made.
        batch_size: Number of recordings in a batch; the last one may have fewer.
        steps: Number of frames of a recording; zeros stand for those that are missing.
        count: Number of events in a window, or `None`; see `events.frames`.
        time: Duration of a window in microseconds, or `None`. One of both is given.
        binary: Whether a pixel is 1 where there are events, a spike, instead of their number.
        polarity: Whether OFF and ON events have a channel each.

    Returns:
        A `tf.data.Dataset` of `(frames, labels)`, float32 `(batch, steps, features)` as
        `events.frames` makes them, flat, and int64. A recording that fills no window is zeros.

    Raises:
        FileNotFoundError: If the folder is not complete.
        ValueError: If an argument is out of range, or a file is not whole.
    """
    index = read_index(directory)
    decode = _decoder(index, steps, count, time, binary, polarity)
    records = _records(Path(directory), index)
    return records.map(decode, tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def batches(
    directory,
    batch_size,
    steps,
    count=None,
    time=None,
    binary=True,
    polarity=True,
    seed=0,
    buffer=1024,
):
    """Batches of frames for `distributed.fit`, whose order depends on seed and epoch alone.

    All workers read all files, as they are compressed, and each decodes its own part of a batch
    only: it has the recordings that one process would have. The order is that of shards in another
    order in each epoch, and of a buffer of recordings that is drawn from. What does not fill a
    batch at the end of an epoch is left out.

    Args:
        directory: See `dataset`.
        batch_size: Number of recordings in a batch of all replicas.
        steps: See `dataset`, as of `count`, `time`, `binary` and `polarity`.
        count: See `dataset`.
        time: See `dataset`.
        binary: See `dataset`.
        polarity: See `dataset`.
        seed: An integer, at least 0.
        buffer: Number of recordings, still compact, that are drawn from.

    Returns:
        A function of an epoch and a `tf.distribute.InputContext`.

    Raises:
        FileNotFoundError: If the folder is not complete.
        ValueError: If an argument is out of range, a file is not whole, or there are fewer
            recordings than a batch has; when it is called, if `batch_size` cannot be divided among
            the replicas.
    """
    index = read_index(directory)
    decode = _decoder(index, steps, count, time, binary, polarity)
    full = sum(index["counts"]) // batch_size * batch_size
    if not full:
        raise ValueError(
            f"{directory} has {sum(index['counts'])} recordings, less than batch_size={batch_size}."
        )

    def data(epoch, context):
        order = np.random.default_rng([seed, epoch])
        records = _records(Path(directory), index, order.permutation(len(index["files"])))
        # The bytes of a record take less room than its frames, and no time to decode.
        records = records.shuffle(buffer, seed=int(order.integers(2**31)))
        size = context.get_per_replica_batch_size(batch_size)
        own = records.take(full).shard(context.num_input_pipelines, context.input_pipeline_id)
        return own.map(decode, tf.data.AUTOTUNE).batch(size, drop_remainder=True).prefetch(2)

    return data


def _records(directory, index, order=None):
    """The bytes of all records, one of each shard in turn."""
    names = index["files"] if order is None else [index["files"][i] for i in order]
    paths = tf.data.Dataset.from_tensor_slices([str(directory / name) for name in names])
    return paths.interleave(
        # Without a size it would be 256 KiB for each of all the files.
        lambda path: tf.data.TFRecordDataset(path, "GZIP", buffer_size=1 << 16),
        cycle_length=len(names),
    )


def _decoder(index, steps, count, time, binary, polarity):
    """A function from the bytes of a record to its frames and label."""
    size = tuple(index["size"])
    events.check_windows("records", count, time, size, steps, "drop", None)
    if steps is None:
        raise ValueError("records: `steps` must be given, so that recordings fit into batches.")
    sides = dict(zip("yx"[-len(size) :], size, strict=True))
    channels = 2 if polarity else 1
    features = int(np.prod(size)) * channels
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (*sides, "t", "p")}
    spec["label"] = tf.io.FixedLenFeature([], tf.int64)

    def decode(record):
        parsed = tf.io.parse_single_example(record, spec)
        t = tf.io.decode_raw(parsed["t"], tf.int64)
        if count is not None:
            window = tf.range(tf.size(t, tf.int64)) // count
            full = tf.size(t, tf.int64) // count
        else:
            window = (t - t[0]) // time
            full = window[-1]  # The window of the last event has not ended.
        place = window
        for name, side in sides.items():
            column = tf.cast(tf.io.decode_raw(parsed[name], tf.int16), tf.int64)
            place = place * side + column
        if polarity:
            place = place * 2 + tf.cast(tf.io.decode_raw(parsed["p"], tf.uint8), tf.int64)
        place = place[window < tf.minimum(full, steps)]
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(place, tf.float32), place, steps * features
        )
        frames = tf.reshape(counts, (steps, features))
        return tf.minimum(frames, 1.0) if binary else frames, parsed["label"]

    return decode
