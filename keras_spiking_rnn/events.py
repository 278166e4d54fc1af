r"""Events of event cameras and silicon cochleas: their format, files, frames, and a simulator.

Events are NumPy structured arrays, one element an event, in the order of time. This is the format
of `tonic`: events that its datasets load, or its transforms give, need no conversion.

| Field | Meaning | Type |
|---|---|---|
| `x` | column of the pixel from the left, or channel of a cochlea | integer, at least 0 |
| `y` | row of the pixel from the top; a cochlea has no such field | integer, at least 0 |
| `t` | time in microseconds | integer, at least 0 |
| `p` | polarity: 1 for ON (brighter), 0 for OFF (darker) | boolean or integer |

Wherever there are channels of polarities they are in the order of `p`: OFF, then ON.
"""

import itertools
import math
import numbers
import pathlib
import re
import warnings

import numpy as np

from keras_spiking_rnn import checks, files

DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])

# How the image moves before the camera of N-MNIST, in pixels to the right and down: three saccades
# of 105 ms, with which published code takes the motion out again.
N_MNIST_PATH = ((0.0, 0.0), (3.5, 7.0), (7.0, 0.0), (0.0, 0.0))
N_MNIST_SACCADE = 105_000

# How an address of a DVS128 becomes a pixel: (exchange columns and rows, mirror x, mirror y).
ORIENTATIONS = {
    "jaer": (False, True, True),
    "dat2mat": (False, True, False),
    "raw": (False, False, False),
    "spikingjelly": (True, True, True),
}

_WRAP = 2**32

# More values than this in the frames of one recording, 8 GiB as float32, are of a wrong time.
_MOST_VALUES = 2**31


def make(x, y, t, p):
    """Makes events of arrays of the same length.

    Args:
        x: Columns, or channels of a cochlea.
        y: Rows, or `None` for events of a cochlea.
        t: Times in microseconds.
        p: Polarities, 0 or 1; a single one for all.

    Returns:
        The events, of the types in which `tonic` reads most files: `x` and `y` int16, `t` int64,
        `p` boolean.

    Raises:
        TypeError: If coordinates or times are not integers.
        ValueError: If the arrays are not one-dimensional and of the same length, a value is out of
            the range of its type, or a polarity is not 0 or 1.
    """
    fields = {"x": x, "y": y, "t": t, "p": p}
    if y is None:
        del fields["y"]
    fields = {name: np.asarray(values) for name, values in fields.items()}
    shape = fields["x"].shape
    for name, values in fields.items():
        if len(shape) != 1 or values.shape != shape and (name, values.ndim) != ("p", 0):
            raise ValueError(
                f"{', '.join(fields)} must be one-dimensional and of the same length; only p may "
                "be a single number. Received the shapes: "
                + ", ".join(f"{name} {values.shape}" for name, values in fields.items())
            )
    events = np.empty(shape, [(name, DTYPE[name]) for name in fields])
    for name, values in fields.items():
        if values.size:
            _check_integers(name, values.dtype)
            _check_fits(name, values)
        events[name] = values
    return events


def _check_integers(name, dtype):
    if dtype.kind not in ("iub" if name == "p" else "iu"):
        unit = ", microseconds" if name == "t" else ""
        raise TypeError(f"The field {name} of events must hold integers{unit}. Received: {dtype}")


def _check_fits(name, values):
    """Refuses integers that the type of the field would change."""
    limits = (0, 1) if name == "p" else (np.iinfo(DTYPE[name]).min, np.iinfo(DTYPE[name]).max)
    # As integers of Python: a comparison of int64 and uint64 would round.
    low, high = int(values.min()), int(values.max())
    if low < limits[0] or high > limits[1]:
        value = low if low < limits[0] else high
        if name == "p":
            hint = " For polarities of -1 and 1 pass p > 0." if low == -1 else ""
            raise ValueError(f"p must be 0 (OFF) or 1 (ON). Received: {value}.{hint}")
        raise ValueError(
            f"{name} must be at least {limits[0]} and at most {limits[1]}, to be held as "
            f"{DTYPE[name]}. Received: {value}"
        )


def check(events, size=None, sort=False):
    """Returns `events` if they are what this library, and `tonic`, take for events.

    Args:
        events: The events, a structured array.
        size: `(height, width)` of the camera, or `(channels,)` of a cochlea, that the coordinates
            must be within; `None` for any.
        sort: Whether to sort events that are not in the order of time, in a copy.

    Returns:
        The events.

    Raises:
        TypeError: If it is not a structured array with the fields `x`, `t`, `p`, and `y` for a
            camera, of integers.
        ValueError: If there are none, or one of them has a coordinate out of range, a negative
            time, an earlier time than the one before it, or a polarity other than 0 and 1. The
            message names the first such event and its value.
    """
    _check_structured(events)
    if size is not None:
        _check_size("check", size, cochlea=True)
    is_flat = "y" not in events.dtype.names if size is None else len(size) == 1
    names = ["x", "t", "p"] if is_flat else ["x", "y", "t", "p"]
    for name in names:
        if name not in events.dtype.names:
            hint = ""
            if name == "y":
                hint = " Events of a cochlea have no y: pass size=(channels,) for them."
            raise TypeError(
                f"Events must have the fields {', '.join(names)}. Received: "
                f"{', '.join(events.dtype.names)}.{hint}"
            )
        _check_integers(name, events.dtype[name])
    if not len(events):
        raise ValueError("There are no events: at least one is needed.")
    limits = {**dict.fromkeys(names), "p": 2}
    if size is not None:
        limits.update(zip("xy", size[::-1], strict=False))
    for name, limit in limits.items():
        values = events[name]
        if values.dtype.kind == "u":
            # A time beyond int64 is a negative one that was written as unsigned.
            values = values.astype(np.int64)
        if values.min() < 0 or (limit is not None and values.max() >= limit):
            wrong = int(
                np.argmax((values < 0) | (values >= (math.inf if limit is None else limit)))
            )
            must = "at least 0" if limit is None else f"at least 0 and below {limit}"
            if name == "p":
                must = "0 (OFF) or 1 (ON)"
            elif limit is not None:
                must += f", as size={tuple(size)!r} says"
            raise ValueError(
                f"Event {wrong} has {name}={values[wrong]}, but {name} must be {must}."
            )
    t = events["t"].astype(np.int64)
    earlier = t[1:] < t[:-1]
    if earlier.any():
        if sort:
            return events[np.argsort(t, kind="stable")]
        wrong = int(np.argmax(earlier)) + 1
        raise ValueError(
            f"Events must be in the order of time, but event {wrong} has t={t[wrong]} after "
            f"t={t[wrong - 1]}. Sort them with sort=True, or with "
            'events[np.argsort(events["t"], kind="stable")].'
        )
    return events


def _check_structured(events):
    is_array = isinstance(events, np.ndarray)
    if is_array and events.dtype.names is not None and events.ndim == 1:
        return
    what = f"an array of shape {events.shape}" if is_array else type(events).__name__
    hint = "Make them of separate arrays with events.make(x, y, t, p)."
    if isinstance(events, (tuple, list, dict)):
        hint += (
            " Of a recording with other data beside the events pick these, for example with the "
            "argument transform=lambda data: data[0] of a dataset of tonic."
        )
    raise TypeError(
        "Events must be a one-dimensional structured array with the fields x, y, t and p. "
        f"Received: {what}. {hint}"
    )


def _check_size(title, size, cochlea=False):
    if not (
        isinstance(size, (tuple, list))
        and len(size) in ((1, 2) if cochlea else (2,))
        and all(checks.is_integer(side, low=1) for side in size)
    ):
        raise ValueError(
            f"{title}: `size` must be (height, width) of the camera"
            + (", or (channels,) of a cochlea" if cochlea else "")
            + f". Received: size={size!r}"
            + (". The sensor_size of tonic is (width, height, polarities)." if cochlea else "")
        )


def check_windows(title, count, time, size, steps, remainder, start):
    """Refuses arguments of `frames` that are out of range."""
    if (count is None) == (time is None):
        raise ValueError(
            "Windows have either a number of events or a duration: pass one of `count` and `time`. "
            f"Received: count={count!r}, time={time!r}"
        )
    for name, value in {"count": count, "time": time, "steps": steps}.items():
        if value is not None:
            meaning = "microseconds" if name == "time" else ""
            checks.positive_integer(title, name, value, meaning)
    checks.one_of(title, "remainder", remainder, ("drop", "keep"))
    if start is not None and (count is not None or not isinstance(start, numbers.Integral)):
        raise ValueError(
            "`start` must be an integer, in microseconds, and is for windows of time only. "
            f"Received: start={start!r}, count={count!r}"
        )
    _check_size(title, size, cochlea=True)


def _numeric(dtype):
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind.kind not in "biuf":
        raise ValueError(f"frames: `dtype` must be a type of numbers. Received: dtype={dtype!r}")
    return kind


def _windows(t, count, time, start, keep):
    """The first event that is used, the window of each from there on, the number of windows."""
    if count is not None:
        first, window, full = 0, np.arange(len(t)) // count, len(t) // count
    else:
        first = int(np.searchsorted(t, start))
        window, full = (t[first:] - start) // time, max(0, (int(t[-1]) - start) // time)
    return first, window, int(window[-1]) + 1 if keep and len(window) else full


def frames(
    events,
    count=None,
    time=None,
    *,
    size=None,
    steps=None,
    binary=False,
    polarity=True,
    remainder="drop",
    start=None,
    sort=False,
    dtype="float32",
    return_valid=False,
):
    """Turns events into frames, one for each of the windows that the events are cut into.

    Windows follow each other without a gap and do not overlap. They have the same number of events,
    as the "event-frames" of *A spiking sequential model: Recurrent Leaky Integrate-and-Fire*
    (section 4.1), or last the same time. The paper says neither how many events a window has nor
    whether a pixel of a frame holds the number of its events or just whether there are any.

    Args:
        events: The events; see `check`.
        count: Number of events in a window. Either this or `time`.
        time: Duration of a window in microseconds.
        size: `(height, width)` of the camera, or `(channels,)` of a cochlea. It must be given: the
            events do not tell it.
        steps: Number of frames to give: more are cut off, and zeros stand for those that are
            missing. `None` for as many as there are.
        binary: Whether a pixel is 1 where there are events, instead of their number.
        polarity: Whether OFF and ON events have a channel each. Otherwise they are added together,
            and there is no axis of channels.
        remainder: `"drop"` to leave out the events at the end that do not fill a window, `"keep"`
            to make a frame of them. A window of time is full if there is an event at its end, or
            later.
        start: Time at which the first window begins, in microseconds, for windows of time; earlier
            events are left out. By default it is the time of the first event.
        sort: Whether to sort events that are not in the order of time.
        dtype: Type of the frames.
        return_valid: Whether to return the number of frames that are not padding as well.

    Returns:
        The frames, of shape `(steps, height, width, 2)`, or `(steps, channels, 2)` of a cochlea,
        the last axis being OFF, ON; without `polarity` there is no last axis. With `return_valid` a
        tuple of them and an integer.

    Raises:
        TypeError: If the events are not a structured array of the right fields.
        ValueError: If an argument or an event is out of range, if the events do not fill one
            window or span far too many, or if `dtype` cannot hold the numbers of events.
    """
    check_windows("frames", count, time, size, steps, remainder, start)
    dtype = _numeric(dtype)
    events = check(events, size, sort)
    t = events["t"].astype(np.int64)
    start = int(t[0]) if start is None else start
    first, window, windows = _windows(t, count, time, start, remainder == "keep")
    if windows == 0:
        raise ValueError(
            f"The {len(events)} events, at {t[0]} to {t[-1]} microseconds, do not fill one window: "
            + (f"count={count}" if time is None else f"time={time}, start={start}")
            + ". Make windows smaller, or keep what does not fill one with remainder='keep'."
        )
    windows = windows if steps is None else min(windows, steps)
    flat = window[: np.searchsorted(window, windows)].astype(np.int64)
    used = slice(first, first + len(flat))
    shape = [windows if steps is None else steps]
    for name, side in zip("yx"[-len(size) :], size, strict=True):
        flat = flat * side + events[name][used].astype(np.int64)
        shape.append(side)
    if polarity:
        flat = flat * 2 + events["p"][used].astype(np.int64)
        shape.append(2)
    if math.prod(shape) > _MOST_VALUES:
        raise ValueError(
            f"The {len(events)} events, at {t[0]} to {t[-1]} microseconds, are in {windows} "
            f"windows, and frames of shape {tuple(shape)} have more than {_MOST_VALUES} values. "
            "If a time at an end is a wrong one, leave its event out; otherwise make windows "
            "larger, or limit the number of frames with `steps`."
        )
    if binary:
        values = np.zeros(math.prod(shape), dtype)
        values[flat] = 1
    else:
        # Adding up in a narrow type would wrap, or stand still, without a word.
        values = np.zeros(math.prod(shape), np.int32)
        np.add.at(values, flat, np.int32(1))
        values = _narrowed(values, dtype)
    values = values.reshape(shape)
    return (values, windows) if return_valid else values


def _narrowed(counts, dtype):
    """`counts` as an array of `dtype`, if that can hold them."""
    most = int(counts.max())
    limit = np.iinfo(dtype).max if dtype.kind in "iu" else 1
    if dtype.kind == "f":
        limit = 2 ** (np.finfo(dtype).nmant + 1)
    if most > limit:
        raise ValueError(
            f"A pixel has {most} events in one window, more than dtype={dtype.name!r} can count "
            f"({limit}). Pass a wider dtype, or binary=True."
        )
    return counts.astype(dtype)


def dataset(
    samples,
    batch_size=32,
    count=None,
    time=None,
    *,
    size=None,
    steps=None,
    binary=False,
    polarity=True,
    remainder="drop",
    start=None,
    sort=False,
    dtype="float32",
    mask=False,
    shuffle=False,
    seed=None,
    drop_remainder=False,
):
    """Makes batches of frames for `Model.fit` of recordings with labels.

    One recording is read and turned into frames at a time, while the model trains on the batches
    before. `.cache()` of the result keeps the frames, in memory or in a file.

    Args:
        samples: The recordings, `(events, label)` each: a sequence, which needs `len` and an index
            only, as the datasets of `keras_spiking_rnn.datasets` and those of `tonic` that are for
            classification; or something to iterate over, anew in each epoch.
        batch_size: Number of recordings in a batch.
        count: Number of events in a window; see `frames`.
        time: Duration of a window in microseconds; see `frames`.
        size: `(height, width)` of the camera, or `(channels,)` of a cochlea. By default that of
            `samples.sensor_size`, which is `tonic`'s `(width, height, polarities)`.
        steps: Number of frames of each recording; see `frames`. With `None` the recordings of a
            batch are padded with zeros to the longest among them.
        binary: Whether a pixel is 1 where there are events, instead of their number.
        polarity: Whether OFF and ON events have a channel each.
        remainder: `"drop"` or `"keep"` for events that do not fill a window; see `frames`.
        start: Time at which the first window of time begins; see `frames`.
        sort: Whether to sort events that are not in the order of time.
        dtype: Type of the frames.
        mask: Whether to give a mask as well, `False` at the frames that are padding.
        shuffle: Whether to give the recordings in another order in each epoch.
        seed: Seed of the orders.
        drop_remainder: Whether to leave out the last batch if it is smaller than the others.

    Returns:
        A `tf.data.Dataset` of `(frames, labels)`, with frames of shape
        `(batch, steps, height, width, 2)` as `frames` makes them. With `mask` it is of
        `({"frames": frames, "mask": mask}, labels)`, for a model with inputs of these names, the
        mask of shape `(batch, steps)`.

    Raises:
        ValueError: If an argument is out of range, or there are no recordings.
        TypeError: If `samples` cannot be read more than once, or the first of them is not events
            with a label of numbers or a string.
            What is wrong with the events of another recording, or if its label is of another shape
            or kind than that of the first, is said when it is read, with its index; TensorFlow
            wraps this in an error of its own.
    """
    import tensorflow as tf

    checks.positive_integer("dataset", "batch_size", batch_size)
    is_sequence = hasattr(samples, "__getitem__") and hasattr(samples, "__len__")
    if not is_sequence and not hasattr(samples, "__iter__"):
        raise TypeError(
            "`samples` must be a sequence of recordings, (events, label) each, or something to "
            f"iterate over. Received: {type(samples).__name__}"
        )
    if not is_sequence and iter(samples) is samples:
        raise TypeError(
            "`samples` can be read only once, but is read anew in each epoch: pass a list, or an "
            f"object with len() and an index. Received: {type(samples).__name__}"
        )
    if shuffle and not is_sequence:
        raise ValueError(
            "`samples` must have len() and an index to be shuffled. Received: "
            f"{type(samples).__name__}. Shuffle the dataset itself with its method `shuffle`."
        )
    if is_sequence:
        sample = samples[0] if len(samples) else None
    else:
        sample = next(iter(samples), None)
    if sample is None:
        raise ValueError("`samples` is empty: there must be at least one recording.")
    first_events, label = _pair(sample)
    size = _size_of(samples, first_events) if size is None else size
    label_like = _label(label)
    check_windows("dataset", count, time, size, steps, remainder, start)

    def example(index, sample):
        try:
            events, label = _pair(sample)
            label = _label(label, label_like)
            values, valid = frames(
                events,
                count,
                time,
                size=size,
                steps=steps,
                binary=binary,
                polarity=polarity,
                remainder=remainder,
                start=start,
                sort=sort,
                dtype=dtype,
                return_valid=True,
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"Recording {index}: {error}") from error
        return values, valid, label

    seed = int(np.random.randint(2**31)) if seed is None else seed
    epochs = itertools.count()

    def generate():
        if not is_sequence:
            yield from itertools.starmap(example, enumerate(samples))
            return
        order = np.arange(len(samples))
        if shuffle:
            np.random.default_rng([seed, next(epochs)]).shuffle(order)
        for index in order.tolist():
            yield example(index, samples[index])

    values = example(0, sample)[0]
    kind = tf.string if label_like.dtype.kind == "U" else label_like.dtype
    batches = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((steps, *values.shape[1:]), values.dtype),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec(label_like.shape, kind),
        ),
    )
    if is_sequence:
        batches = batches.apply(tf.data.experimental.assert_cardinality(len(samples)))
    batches = batches.padded_batch(batch_size, drop_remainder=drop_remainder)

    def named(values, valid, labels):
        if not mask:
            return values, labels
        shown = tf.sequence_mask(valid, tf.shape(values)[1])
        shown.set_shape(values.shape[:2])
        return {"frames": values, "mask": shown}, labels

    return batches.map(named).prefetch(tf.data.AUTOTUNE)


def _pair(sample):
    if not (isinstance(sample, (tuple, list)) and len(sample) == 2):
        what = type(sample).__name__
        if isinstance(sample, (tuple, list)):
            what += f" of {len(sample)}"
        raise TypeError(f"A recording must be (events, label). Received: {what}.")
    return sample


def _label(label, like=None):
    """`label` as an array, if it is one that a batch can have, with that of the first recording."""
    hint = "Make it one with the argument target_transform of a dataset of tonic."
    try:
        array = np.asarray(label)
    except ValueError as error:
        # Lists of different lengths.
        raise TypeError(f"A label must be an array or a number: {error}. {hint}") from error
    if array.dtype.kind not in "biufcUS":
        raise TypeError(
            "A label must be a number, an array of numbers, or a string. Received: "
            f"{type(label).__name__}. {hint}"
        )
    if like is not None:
        is_text = array.dtype.kind in "US" and like.dtype.kind in "US"
        fits = is_text or np.can_cast(array.dtype, like.dtype, "same_kind")
        if array.shape != like.shape or not fits:
            raise ValueError(
                "A label must have the shape and type of the first recording's, "
                f"{like.shape} and {like.dtype}. Received: {array.shape} and {array.dtype}. {hint}"
            )
    return array


def _size_of(samples, events):
    """The size for `frames`, from the `sensor_size` that `tonic`'s datasets have."""
    _check_structured(events)
    sensor_size = getattr(samples, "sensor_size", None)
    if sensor_size is None:
        raise ValueError(
            f"`size` must be given, since {type(samples).__name__} has no `sensor_size`: pass "
            "size=(height, width), or size=(channels,) for events of a cochlea."
        )
    width, height = sensor_size[:2]
    return (height, width) if "y" in (events.dtype.names or ()) else (width,)


def simulate(
    video,
    times,
    threshold_on=0.25,
    threshold_off=0.25,
    offset=0.1,
    refractory=0,
    mismatch=0.0,
    noise_rate=0.0,
    seed=None,
):
    r"""Simulates the events that an event camera gives of a video. They are synthetic.

    The logarithm $L = \ln(I + \text{offset})$ of each pixel's intensity $I$ is taken to be linear
    in time from frame to frame. Whenever it is `threshold_on` above the pixel's reference, or
    `threshold_off` below it, there is an ON or OFF event, and the reference moves by this
    threshold. The first frame is the first reference. So a pixel that becomes brighter by
    $\Delta L$ gives $\lfloor \Delta L / \text{threshold\_on} \rfloor$ ON events.

    This is how the simulator of *ESIM: an Open Event Camera Simulator* (2018) works for a given
    video. What it leaves out of a real camera: the limited speed of a pixel in the dark, the leak
    of its reference, the time it takes to read many events, and lenses.

    Args:
        video: Intensities, at least 0 and usually at most 1, of shape `(frames, height, width)`;
            uint8 is divided by 255.
        times: Time of each frame in microseconds, increasing, at least 0.
        threshold_on: Rise of $L$ that gives an ON event.
        threshold_off: Fall of $L$ that gives an OFF event.
        offset: Light that reaches a pixel of intensity 0, above 0 if there are such pixels. The
            smaller it is the more events an edge next to black gives.
        refractory: Shortest time between two events of a pixel in microseconds. Those that come
            earlier are lost: they move the reference as others do.
        mismatch: Standard deviation of the thresholds from pixel to pixel, relative to their mean,
            for ON and OFF independently. A threshold is never below a tenth of the mean.
        noise_rate: Background events of a pixel per second, a Poisson process, ON and OFF alike.
        seed: Seed of the mismatch and the noise.

    Returns:
        The events, synthetic; there may be none.

    Raises:
        ValueError: If an argument is out of range, or shapes do not fit.
    """
    video, times = np.asarray(video), np.asarray(times, np.float64)
    if video.ndim != 3 or len(video) < 2 or not video.size or times.shape != (len(video),):
        raise ValueError(
            "`video` must have shape (frames, height, width) with two frames or more, and `times` "
            f"one time for each. Received the shapes {video.shape} and {times.shape}."
        )
    if times[0] < 0 or not (np.diff(times) > 0).all():
        raise ValueError(
            f"`times` must be at least 0 and increase from frame to frame. Received: {times}"
        )
    if times[-1] - times[0] < 1:
        raise ValueError(
            f"Times are in microseconds, and from {times[0]:g} to {times[-1]:g} there is not even "
            "one: 105 ms are 105_000."
        )
    for name, value, above_0 in [
        ("threshold_on", threshold_on, True),
        ("threshold_off", threshold_off, True),
        ("offset", offset, False),
        ("refractory", refractory, False),
        ("mismatch", mismatch, False),
        ("noise_rate", noise_rate, False),
    ]:
        checks.number("simulate", name, value, 0, open_low=above_0)
    intensity = video / 255 if video.dtype == np.uint8 else video
    if not (intensity.min() + offset > 0 and np.isfinite(intensity).all()):
        raise ValueError(
            "The intensities of `video` must be finite and, with `offset` added, above 0, because "
            f"events are changes of their logarithm. Received: {intensity.min()} at the darkest, "
            f"{intensity.max()} at the brightest, offset={offset}"
        )
    if offset and intensity.max() > 1:
        warnings.warn(
            f"Intensities are up to {intensity.max()}, next to which offset={offset} is light for "
            "intensities of at most 1: the smallest ones give many events. Divide them by their "
            "maximum; only uint8 is divided by 255 here.",
            stacklevel=2,
        )
    levels = np.log(intensity.astype(np.float64) + offset).reshape(len(video), -1)
    pixels = levels.shape[1]
    random = np.random.default_rng(seed)
    spread = np.maximum(0.1, 1 + mismatch * random.standard_normal((2, pixels)))
    thresholds = spread * np.array([[threshold_off], [threshold_on]])
    parts = list(_crossings(levels, times, thresholds))
    if noise_rate:
        duration = times[-1] - times[0]
        number = random.poisson(noise_rate * pixels * duration / 1e6)
        parts.append(
            (
                random.integers(pixels, size=number),
                random.uniform(times[0], times[-1], number),
                random.integers(2, size=number),
            )
        )
    pixel, t, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    t = np.floor(t + 0.5).astype(np.int64)
    if refractory:
        kept = _outside_refractory(pixel, t, refractory)
        pixel, t, p = pixel[kept], t[kept], p[kept]
    order = np.lexsort((pixel, t))
    y, x = np.divmod(pixel[order], video.shape[2])
    return make(x, y, t[order], p[order])


def _crossings(levels, times, thresholds):
    """Yields the pixels, times and polarities of the events between each frame and the next."""
    reference = levels[0].copy()
    for before, after, begin, end in zip(
        levels[:-1], levels[1:], times[:-1], times[1:], strict=True
    ):
        # A change of exactly one threshold is an event, however it is rounded.
        falls, rises = np.floor(
            np.array([-1, 1])[:, None] * (after - reference) / thresholds + 1e-9
        )
        p = (rises > 0).astype(int)
        number = np.maximum(np.maximum(rises, falls), 0).astype(int)
        step = (2 * p - 1) * thresholds[p, np.arange(len(p))]
        pixel = np.repeat(np.arange(len(p)), number)
        nth = np.arange(len(pixel)) - np.repeat(np.cumsum(number) - number, number) + 1
        level = reference[pixel] + nth * step[pixel]
        part = (level - before[pixel]) / (after - before)[pixel]
        yield pixel, begin + np.clip(part, 0, 1) * (end - begin), p[pixel]
        reference += number * step


def _outside_refractory(pixel, t, refractory):
    """The indices of the events that are not too soon after the last one kept of their pixel."""
    order = np.lexsort((t, pixel))
    # Times of a pixel lie beyond all those of the pixels before it.
    key = t[order] + pixel[order] * (t.max(initial=0) + math.ceil(refractory) + 1)
    following = np.searchsorted(key, key + refractory).tolist()
    kept, index = [], 0
    while index < len(following):
        kept.append(index)
        index = following[index]
    return order[kept]


def saccades(
    image,
    path=N_MNIST_PATH,
    duration=N_MNIST_SACCADE,
    size=None,
    background=0.0,
    pixels_per_frame=0.25,
    **options,
):
    """Simulates the events of an image that moves before an event camera. They are synthetic.

    The image moves along straight lines at constant speeds, is drawn with bilinear interpolation
    every `pixels_per_frame`, and `simulate` makes events of this video. By default it moves as the
    images of N-MNIST do: down to the right, up to the right, back to the left, 105 ms each.

    Args:
        image: Intensities, at least 0 and usually at most 1, of shape `(height, width)`; uint8 is
            divided by 255.
        path: Points `(x, y)` that the image moves to, in pixels to the right and down.
        duration: Time from a point to the next in microseconds: a number, or one for each.
        size: `(height, width)` of the camera, before which the path is centered. By default it is
            as large as the image and the path together.
        background: Intensity around the image, or `"edge"` for that of the image's nearest pixel.
        pixels_per_frame: Longest way from one frame of the video to the next, in pixels.
        **options: Further arguments of `simulate`: `threshold_on`, `threshold_off`, `offset`,
            `refractory`, `mismatch`, `noise_rate`, `seed`.

    Returns:
        The events, synthetic; there may be none.

    Raises:
        ValueError: If an argument is out of range, or shapes do not fit.
    """
    video, times = moving(image, path, duration, size, background, pixels_per_frame)
    return simulate(video, times, **options)


def moving(
    image,
    path=N_MNIST_PATH,
    duration=N_MNIST_SACCADE,
    size=None,
    background=0.0,
    pixels_per_frame=0.25,
):
    """Draws the video of an image that moves before a camera; see `saccades` for the arguments.

    Returns:
        The video, of shape `(frames, height, width)`, and the time of each frame in microseconds.

    Raises:
        ValueError: If an argument is out of range, or shapes do not fit.
    """
    image, path = np.asarray(image), np.asarray(path, np.float64)
    if image.ndim != 2 or not image.size:
        raise ValueError(
            f"`image` must have shape (height, width). Received the shape {image.shape}."
        )
    if path.ndim != 2 or path.shape[1] != 2 or len(path) < 2 or not np.isfinite(path).all():
        raise ValueError(
            "`path` must be two or more points (x, y), in pixels to the right and down. Received: "
            f"{path.tolist()}"
        )
    checks.number("saccades", "pixels_per_frame", pixels_per_frame, 0, open_low=True)
    durations = np.asarray(duration, np.float64)
    if durations.shape not in ((), (len(path) - 1,)) or not (durations > 0).all():
        raise ValueError(
            "`duration` must be above 0, a number, or one for each way from a point of the path to "
            f"the next. Received: duration={duration!r}"
        )
    durations = np.broadcast_to(durations, len(path) - 1)
    image = (image / 255 if image.dtype == np.uint8 else image).astype(np.float64)
    low, high = np.floor(path.min(axis=0)), np.ceil(path.max(axis=0))
    room = (image.shape + high[::-1] - low[::-1]).astype(int)
    if size is not None:
        _check_size("saccades", size)
    size = room if size is None else np.array(size)
    # Where the point (0, 0) of the path puts the corner of the image: at whole pixels.
    corner = (size - room) // 2 - low[::-1]
    places, times = [path[:1]], [np.zeros(1)]
    for here, there, begin, lasts in zip(
        path[:-1], path[1:], np.cumsum(durations) - durations, durations, strict=True
    ):
        number = max(1, math.ceil(np.abs(there - here).max() / pixels_per_frame))
        part = np.arange(1, number + 1)[:, None] / number
        places.append(here + part * (there - here))
        times.append(begin + part[:, 0] * lasts)
    shifts = corner + np.concatenate(places)[:, ::-1]
    return _drawn(image, shifts, size, background), np.concatenate(times)


def _drawn(image, shifts, size, background):
    """The image at each of `shifts`, rows and columns that its corner is moved by."""
    margin = int(np.abs(shifts).max() + np.max(size)) + 2
    if isinstance(background, numbers.Real):
        wide = np.pad(image, margin, constant_values=background)
    else:
        checks.one_of("saccades", "background", background, ("edge", "a number"))
        wide = np.pad(image, margin, mode="edge")
    whole = np.floor(shifts).astype(int)
    video = np.empty((len(shifts), *size))
    for frame, (row, column), (down, right) in zip(video, whole, shifts - whole, strict=True):
        row, column = margin - row - 1, margin - column - 1
        part = wide[row : row + size[0] + 1, column : column + size[1] + 1]
        part = down * part[:-1] + (1 - down) * part[1:]
        frame[:] = right * part[:, :-1] + (1 - right) * part[:, 1:]
    return video


def read_aedat(path, orientation="jaer", backwards="error", special="error", version=None):
    """Reads the events of a DVS128 from a file in the format AEDAT 1.0 or 2.0 of jAER.

    Bits 1 to 7 of an address are the column $X$ of the event, bits 8 to 14 its row $Y$, and bit 0
    is 0 for ON and 1 for OFF: this is how jAER and the script `dat2mat.m` of MNIST-DVS read them,
    while the documentation of the format has 1 for ON. jAER counts $X$ from the right and $Y$ from
    below.

    Args:
        path: The file.
        orientation: `"jaer"` for the image upright as jAER shows it, $x = 127 - X$ and
            $y = 127 - Y$ from the top; `"dat2mat"` as `dat2mat.m` of MNIST-DVS gives it,
            $x = 127 - X$, $y = Y$, upside down; `"raw"` for $x = X$, $y = Y$; `"spikingjelly"` as
            SpikingJelly's CIFAR10-DVS has it, $x = 127 - Y$, $y = 127 - X$.
        backwards: What to do where a time is earlier than the one before it: `"error"`; `"sort"` to
            sort the events; `"join"` if the clock was set to 0 there, to count on from the time
            before. Times that pass the 32 bits of the file are counted on in any case.
        special: What to do with addresses that are not a pixel, such as the pulses of the input for
            synchronization: `"error"`, or `"drop"` as long as they are at most a tenth.
        version: 1.0 for a file that does not say its version, as the first ones of jAER. Nothing in
            such a file tells events from other bytes.

    Returns:
        The events, with the times of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If an argument is out of range, the header cannot be read or is of another
            version, the file is cut off or has no events, a time goes backwards, or an address is
            not that of a pixel.
    """
    check_reading(orientation, backwards, special, version)
    content = pathlib.Path(path).read_bytes()
    version, begin = _header(content, path, version)
    record = _record(version)
    left = (len(content) - begin) % record.itemsize
    if left or len(content) == begin:
        what = f"is cut off: {left} bytes are left over" if left else "has no events"
        raise ValueError(
            f"{path} {what}. It has {len(content) - begin} bytes after the header, "
            f"{record.itemsize} for each event of AEDAT {version}."
        )
    records = np.frombuffer(content, record, offset=begin)
    address, t = records["address"].astype(np.int64), records["t"].astype(np.int64)
    # The clock is monotonic: a step back by more than half its range is its 32 bits wrapping.
    t[1:] += _WRAP * np.cumsum(np.diff(t) < -_WRAP // 2)
    odd = address >> 15 != 0
    if odd.any():
        if special == "error" or odd.mean() > 0.1:
            first = int(np.argmax(odd))
            raise ValueError(
                f"{path}: event {first} has the address {address[first]:#x}, which is not a pixel "
                f"of a DVS128, nor are those of {np.count_nonzero(odd)} of {len(odd)} events. If "
                "they are marks, such as pulses for synchronization, and at most a tenth of the "
                "events, leave them out with special='drop'. Otherwise the file is damaged, or of "
                "another camera, such as one with frames, whose addresses this does not read."
            )
        address, t = address[~odd], t[~odd]
    back = np.flatnonzero(np.diff(t) < 0) + 1
    if len(back) and backwards == "error":
        raise ValueError(
            f"{path}: time goes backwards at {len(back)} of {len(t)} events, first at event "
            f"{back[0]}, from {t[back[0] - 1]} to {t[back[0]]}. Pass backwards='sort' if events "
            "are just out of order, backwards='join' if the clock was set to 0."
        )
    if backwards == "join":
        offsets = np.zeros(len(t), np.int64)
        offsets[back] = t[back - 1]
        t += np.cumsum(offsets)
    exchange, mirror_x, mirror_y = ORIENTATIONS[orientation]
    x, y = address >> 1 & 127, address >> 8 & 127
    if exchange:
        x, y = y, x
    events = make(127 - x if mirror_x else x, 127 - y if mirror_y else y, t, (address & 1) == 0)
    return check(events, (128, 128), sort=backwards == "sort")


def check_reading(orientation="jaer", backwards="error", special="error", version=None):
    """Refuses arguments of `read_aedat` that are out of range, with a `ValueError`."""
    checks.one_of("read_aedat", "orientation", orientation, ORIENTATIONS)
    checks.one_of("read_aedat", "backwards", backwards, ("error", "sort", "join"))
    checks.one_of("read_aedat", "special", special, ("error", "drop"))
    checks.one_of("read_aedat", "version", version, (None, 1.0))


def _record(version):
    return np.dtype([("address", ">u2" if version < 2 else ">u4"), ("t", ">u4")])


def _header(content, path, given=None):
    """The version of an AEDAT file, and where its events begin."""
    if not content:
        raise ValueError(f"{path} has no events: it is empty.")
    version, begin = None, 0
    while content.startswith(b"#", begin):
        end = content.find(b"\n", begin) + 1
        line = content[begin:end].rstrip(b"\r\n")
        if version is None and content.startswith(b"#!AER", begin):
            found = re.fullmatch(rb"#!AER-DAT(\d+\.\d+)\s*", line)
            if not found:
                raise ValueError(
                    f"{path}: the header has no version that can be read, a line such as "
                    f"#!AER-DAT2.0. Found: {(line or content[:20]).decode('latin-1')!r}"
                )
            version = float(found[1])
        # An event of AEDAT 1.0 may begin with the byte of "#": it is no line of text.
        elif not end or re.search(rb"[\x00-\x08\x0a-\x1f]", line):
            break
        begin = end
    if version is None and given is None:
        raise ValueError(
            f"{path} is no AEDAT file, or a damaged one: it has no line with its version, such as "
            f"#!AER-DAT2.0. It begins with {content[:20].decode('latin-1')!r}. Only if you know "
            "that it is AEDAT 1.0 without a header pass version=1.0."
        )
    if None not in (version, given) and version != given:
        raise ValueError(f"{path} is in the format AEDAT {version}. Received: version={given}")
    version = given if version is None else version
    if version >= 3:
        instead = (
            "tonic.io.read_aedat4 reads it"
            if version >= 4
            else "tonic.datasets.DVSGesture has DVS128 Gesture ready to use; convert others, for "
            "example with iniVation's DV to AEDAT 4 for tonic.io.read_aedat4"
        )
        raise ValueError(
            f"{path} is in the format AEDAT {version}, but this reads 1.0 and 2.0: {instead}."
        )
    # No pixel of AEDAT 2.0 has an address that begins with the byte of "#".
    if version >= 2 and content.startswith(b"#", begin):
        raise ValueError(
            f"{path}: the header is cut off, or has a line that is not text, at byte {begin}."
        )
    return version, begin


def write_aedat(path, events, version=2.0, orientation="jaer"):
    """Writes the events of a DVS128 to a file in the format AEDAT 1.0 or 2.0, whole or not at all.

    `read_aedat` with the same `orientation` reads the same events. An existing file is replaced.

    Args:
        path: The file.
        events: The events; see `check`. Coordinates are below 128 and times below 2^32.
        version: 1.0, with addresses of 16 bits, or 2.0, with 32 bits.
        orientation: How coordinates become addresses; see `read_aedat`.

    Raises:
        OSError: If the file cannot be written.
        TypeError: If the events are not a structured array of the right fields.
        ValueError: If an argument or an event is out of range.
    """
    checks.one_of("write_aedat", "version", version, (1.0, 2.0))
    checks.one_of("write_aedat", "orientation", orientation, ORIENTATIONS)
    events = check(events, (128, 128))
    if events["t"][-1] >= _WRAP:
        raise ValueError(
            f"The last event has t={events['t'][-1]}, but the file holds times below {_WRAP}: "
            "subtract the time of the first event."
        )
    exchange, mirror_x, mirror_y = ORIENTATIONS[orientation]
    x, y = (events[name].astype(np.int64) for name in "xy")
    x, y = 127 - x if mirror_x else x, 127 - y if mirror_y else y
    if exchange:
        x, y = y, x
    records = np.empty(len(events), _record(version))
    records["address"] = y << 8 | x << 1 | (events["p"] == 0)
    records["t"] = events["t"]
    bits = 16 * int(version)
    header = (
        f"#!AER-DAT{version:.1f}\r\n"
        "# This is a raw AE data file - do not edit\r\n"
        f"# Data format is int{bits} address, int32 timestamp ({bits // 8 + 4} bytes total), "
        "repeated for each event\r\n"
        "# Timestamps tick is 1 us\r\n"
    ).encode()
    content = header + records.tobytes()
    if _header(content, path)[1] != len(header):
        raise ValueError(
            "The first events would be read as a line of the header, which AEDAT 1.0 cannot tell "
            "from them: write AEDAT 2.0."
        )
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
