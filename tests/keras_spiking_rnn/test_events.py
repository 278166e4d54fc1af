"""Events: format, frames, batches, the simulator, and AEDAT files."""

import os
import struct
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import RLIF, TimeSum, events


def random_events(number, size=(6, 5), duration=1000, seed=0, first=0):
    random = np.random.default_rng(seed)
    return events.make(
        random.integers(0, size[-1], number),
        random.integers(0, size[0], number) if len(size) == 2 else None,
        np.sort(random.integers(first, first + duration, number)),
        random.integers(0, 2, number),
    )


def converted(recorded, order, types):
    """The same events with their fields in another order and of other types."""
    result = np.empty(len(recorded), [(name, types.get(name, int)) for name in order])
    for name in order:
        result[name] = recorded[name]
    return result


class TestMake:
    @pytest.mark.parametrize(
        "arguments,error,message",
        [
            ({"p": [1, -1, 1]}, ValueError, r"p must be 0 \(OFF\) or 1 .*: -1. For .*pass p > 0"),
            ({"p": 2}, ValueError, r"p must be 0 \(OFF\) or 1 \(ON\). Received: 2\.$"),
            ({"p": [0.0, 1.0, 1.0]}, TypeError, "field p of events must hold integers. .*float64"),
            ({"x": [1, 70_000, 2]}, ValueError, "x must be .* at most 32767, .*int16. .*: 70000"),
            ({"y": [1, 2, -40_000]}, ValueError, "y must be at least -32768 .*Received: -40000"),
            ({"t": np.array([0, 1, 2**63], np.uint64)}, ValueError, "t must .*9223372036854775808"),
            ({"t": [0.1, 0.2, 0.3]}, TypeError, "t of events must hold integers, microseconds"),
            ({"x": [1.0, 2.0, 3.0]}, TypeError, "field x of events must hold integers. Received"),
            ({"y": [1]}, ValueError, r"same length; only p .*x \(3,\), y \(1,\), t \(3,\)"),
            ({"y": 1}, ValueError, "same length"),
            ({"p": [1]}, ValueError, "same length"),
            ({"x": 1, "y": 1, "t": 1}, ValueError, "must be one-dimensional"),
            ({"x": np.ones((3, 1), int)}, ValueError, "must be one-dimensional"),
        ],
    )
    def test_what_would_be_changed_is_refused(self, arguments, error, message):
        good = {"x": [1, 2, 3], "y": [4, 5, 6], "t": [7, 8, 9], "p": 1}
        events.make(**good)
        with pytest.raises(error, match=message):
            events.make(**{**good, **arguments})

    def test_what_fits_is_taken(self):
        x = np.array([32767, 0], np.uint64)
        made = events.make(x, [0, 32767], [2**63 - 1, 0], [True, False])
        assert made.tolist() == [(32767, 0, 2**63 - 1, True), (0, 32767, 0, False)]
        assert len(events.make([], [], [], 1)) == 0


class TestFormat:
    def test_fields_and_types_are_those_of_tonic(self):
        tonic_io = pytest.importorskip("tonic.io")
        made = events.make([1, 2], [3, 4], [5, 6], [0, 1])
        assert made.dtype == tonic_io.events_struct == events.DTYPE
        assert made.tolist() == [(1, 3, 5, False), (2, 4, 6, True)]

    def test_a_cochlea_has_no_rows_and_one_polarity_will_do(self):
        made = events.make([699, 2], None, [5, 6], 1)
        assert made.dtype.names == ("x", "t", "p")
        assert made.tolist() == [(699, 5, True), (2, 6, True)]

    @pytest.mark.parametrize(
        "order,types",
        [
            ("xytp", {}),
            ("txyp", {"t": np.uint64, "x": np.uint16, "y": np.uint16, "p": bool}),
            ("xypt", {"x": np.int16, "y": np.int8, "t": np.int32, "p": np.uint8}),
        ],
    )
    def test_all_integers_in_any_order_are_taken(self, order, types):
        recorded = random_events(50)
        other = converted(recorded, order, types)
        assert events.check(other, (6, 5)) is other
        np.testing.assert_array_equal(
            events.frames(other, count=10, size=(6, 5)),
            events.frames(recorded, count=10, size=(6, 5)),
        )

    @pytest.mark.parametrize(
        "name,index,value,message",
        [
            ("x", 3, 5, r"Event 3 has x=5, but x must be at least 0 and below 5, as size=\(6, 5\)"),
            ("y", 4, 6, "Event 4 has y=6, but y must be at least 0 and below 6"),
            ("x", 5, -1, "Event 5 has x=-1"),
            ("t", 0, -7, "Event 0 has t=-7, but t must be at least 0"),
            ("t", 7, 1, "in the order of time, but event 7 has t=1 after t=60.*sort=True"),
            ("p", 2, -1, r"Event 2 has p=-1, but p must be 0 \(OFF\) or 1 \(ON\)"),
            ("p", 2, 2, "Event 2 has p=2"),
        ],
    )
    def test_an_event_out_of_range_is_named(self, name, index, value, message):
        recorded = converted(random_events(10), "xytp", {})
        recorded["t"] = np.arange(10) * 10
        recorded[name][index] = value
        for use in (events.check, lambda recorded, size: events.frames(recorded, 2, size=size)):
            with pytest.raises(ValueError, match=message):
                use(recorded, (6, 5))

    def test_a_negative_time_that_was_written_as_unsigned(self):
        recorded = converted(random_events(3), "xytp", {"t": np.uint64})
        recorded["t"][1] = 2**64 - 5
        with pytest.raises(ValueError, match="Event 1 has t=-5"):
            events.check(recorded)

    def test_coordinates_are_only_limited_if_a_size_is_given(self):
        recorded = events.make([500], [1000], [0], [1])
        assert events.check(recorded) is recorded
        with pytest.raises(ValueError, match="x=500"):
            events.check(recorded, (2000, 500))

    def test_sorting_keeps_the_order_of_simultaneous_events(self):
        recorded = events.make([0, 1, 2, 3], [0, 0, 0, 0], [5, 3, 5, 3], 1)
        assert events.check(recorded, sort=True)["x"].tolist() == [1, 3, 0, 2]
        assert recorded["x"].tolist() == [0, 1, 2, 3], "the argument is left as it is"

    @pytest.mark.parametrize(
        "wrong,message",
        [
            (np.zeros((5, 4)), r"structured array.*shape \(5, 4\).*events.make"),
            ([(1, 2, 3, 4)], "structured array"),
            (None, "structured array.*None"),
            ((random_events(3), {"ts": [1, 2]}, {"frames": [[1]]}), "Received: tuple.*transform="),
            ((random_events(3), random_events(2)), "Received: tuple"),
            (np.zeros((2, 2), events.DTYPE), "one-dimensional"),
            (np.zeros(2, [("x", int), ("t", int)]), r"fields x, t, p. Received: x, t\."),
            (np.zeros(2, [("y", int), ("t", int), ("p", int)]), "fields x, y, t, p"),
            (
                np.zeros(2, [("x", int), ("y", int), ("t", float), ("p", int)]),
                "field t of events must hold integers, microseconds. Received: float64",
            ),
            (np.zeros(2, [("x", int), ("y", "U3"), ("t", int), ("p", int)]), "field y"),
            (np.zeros(2, [("x", int), ("y", int), ("t", int), ("p", float)]), "field p"),
        ],
    )
    def test_what_is_not_events_is_refused(self, wrong, message):
        with pytest.raises(TypeError, match=message):
            events.check(wrong)

    def test_events_of_a_cochlea_before_a_camera(self):
        recorded = random_events(4, size=(10,))
        assert events.check(recorded, (10,)) is recorded
        with pytest.raises(TypeError, match=r"x, y, t, p. Received: x, t, p.*size=\(channels,\)"):
            events.check(recorded, (10, 10))

    def test_no_events(self):
        with pytest.raises(ValueError, match="There are no events"):
            events.check(random_events(0))
        with pytest.raises(ValueError, match="There are no events"):
            events.frames(random_events(0), 1, size=(6, 5))


def slow_frames(recorded, count, duration, size, binary, polarity, keep, start):
    """The frames, event by event."""
    first = recorded["t"][0] if start is None else start
    shape = (*size, 2) if polarity else tuple(size)
    windows, used = {}, 0
    for event in recorded:
        if count is None and event["t"] < first:
            continue
        window = used // count if count else (int(event["t"]) - int(first)) // duration
        used += 1
        place = (event["y"], event["x"]) if len(size) == 2 else (event["x"],)
        frame = windows.setdefault(window, np.zeros(shape))
        place = (*place, int(event["p"])) if polarity else place
        frame[place] = 1 if binary else frame[place] + 1
    if count:
        full = used // count
    else:
        full = max(0, (int(recorded["t"][-1]) - int(first)) // duration)
    number = max(windows) + 1 if keep and windows else full
    return np.array([windows.get(window, np.zeros(shape)) for window in range(number)])


class TestFrames:
    @given(
        number=st.integers(1, 60),
        seed=st.integers(0, 1000),
        duration=st.integers(1, 200),
        count=st.integers(1, 30) | st.none(),
        window=st.integers(1, 60),
        size=st.sampled_from([(6, 5), (7,)]),
        binary=st.booleans(),
        polarity=st.booleans(),
        keep=st.booleans(),
        start=st.integers(0, 150) | st.none(),
        steps=st.integers(1, 12) | st.none(),
    )
    @settings(max_examples=150, deadline=None)
    def test_they_are_those_of_a_loop(
        self, number, seed, duration, count, window, size, binary, polarity, keep, start, steps
    ):
        recorded = random_events(number, size, duration, seed, first=20)
        start = None if count else start
        expected = slow_frames(recorded, count, window, size, binary, polarity, keep, start)
        arguments = dict(
            count=count,
            time=None if count else window,
            size=size,
            binary=binary,
            polarity=polarity,
            remainder="keep" if keep else "drop",
            start=start,
        )
        if not len(expected):
            with pytest.raises(ValueError, match="do not fill one window"):
                events.frames(recorded, **arguments, steps=steps)
            return
        frames, valid = events.frames(recorded, **arguments, steps=steps, return_valid=True)
        assert frames.dtype == np.float32
        assert len(frames) == (len(expected) if steps is None else steps)
        assert valid == min(len(expected), len(frames))
        np.testing.assert_array_equal(frames[:valid], expected[:valid])
        assert not frames[valid:].any()

    def test_channels_are_off_then_on(self):
        recorded = events.make([2, 2, 1], [3, 3, 0], [10, 11, 12], [1, 1, 0])
        frames = events.frames(recorded, count=3, size=(4, 3))
        assert frames.shape == (1, 4, 3, 2)
        assert frames[0, 3, 2].tolist() == [0, 2]
        assert frames[0, 0, 1].tolist() == [1, 0]
        binary = events.frames(recorded, count=3, size=(4, 3), binary=True)
        assert binary[0, 3, 2].tolist() == [0, 1]
        assert events.frames(recorded, count=3, size=(4, 3), polarity=False).shape == (1, 4, 3)

    def test_each_event_counts_once(self):
        recorded = random_events(1000, (6, 5))
        assert events.frames(recorded, count=100, size=(6, 5)).sum() == 1000
        np.testing.assert_array_equal(
            events.frames(recorded, count=100, size=(6, 5)).sum(axis=(1, 2, 3)), 100
        )
        kept = events.frames(recorded, count=300, size=(6, 5), remainder="keep")
        assert kept.sum(axis=(1, 2, 3)).tolist() == [300, 300, 300, 100]

    def test_windows_of_time_begin_at_the_first_event_and_exclude_their_end(self):
        recorded = events.make([0, 1, 2, 3], None, [1000, 1009, 1010, 1020], 1)
        frames = events.frames(recorded, time=10, size=(4,), polarity=False)
        assert frames.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
        kept = events.frames(recorded, time=10, size=(4,), polarity=False, remainder="keep")
        assert kept.tolist()[2:] == [[0, 0, 0, 1]]
        late = events.frames(recorded, time=10, size=(4,), polarity=False, start=1005)
        assert late.tolist() == [[0, 1, 1, 0]]

    def test_sorting(self):
        recorded = random_events(100)
        mixed = recorded[np.random.default_rng(0).permutation(100)]
        np.testing.assert_array_equal(
            events.frames(mixed, time=50, size=(6, 5), sort=True),
            events.frames(recorded, time=50, size=(6, 5)),
        )

    @pytest.mark.parametrize(
        "dtype,most", [("uint8", 255), ("int8", 127), ("float16", 2048), ("bool", 1)]
    )
    def test_a_type_too_narrow_to_count_is_refused(self, dtype, most):
        fits = events.make(np.zeros(most, int), None, np.zeros(most, int), 1)
        frames = events.frames(fits, most, size=(1,), dtype=dtype)
        assert frames.dtype == dtype and frames[0, 0, 1] == most
        more = np.concatenate([fits, fits[:1]])
        with pytest.raises(ValueError, match=f"{most + 1} events in one window.*{dtype}"):
            events.frames(more, most + 1, size=(1,), dtype=dtype)
        assert events.frames(more, most + 1, size=(1,), dtype=dtype, binary=True).sum() == 1

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({}, "pass one of `count` and `time`"),
            ({"count": 1, "time": 1}, "pass one of `count` and `time`"),
            ({"count": 0}, "`count` must be a positive integer.*count=0"),
            ({"count": 2.5}, "`count` must be a positive integer"),
            ({"count": True}, "`count` must be a positive integer"),
            ({"time": -1}, "`time` must be a positive integer"),
            ({"time": 0.01}, "frames: `time` must be a positive integer, microseconds.*time=0.01"),
            ({"count": 1, "size": (True, 5)}, r"`size` must be \(height, width\)"),
            ({"count": 1, "dtype": "U3"}, "frames: `dtype` must be a type of numbers.*'U3'"),
            ({"count": 1, "dtype": "long float"}, "`dtype` must be a type of numbers"),
            ({"count": 1, "steps": 0}, "`steps` must be a positive integer"),
            ({"count": 1, "remainder": "pad"}, "`remainder` must be one of drop, keep.*'pad'"),
            ({"count": 1, "start": 0}, "`start` .* is for windows of time only"),
            ({"time": 1, "start": 0.5}, "`start` must be an integer"),
            ({"count": 1, "size": (6, 5, 2)}, r"`size` must be \(height, width\)"),
            ({"count": 1, "size": 6}, r"`size` must be \(height, width\)"),
            ({"count": 1, "size": None}, r"frames: `size` must be \(height, width\).*size=None"),
            ({"count": 1, "size": (0, 5)}, r"`size` must be \(height, width\)"),
            ({"count": 101}, "100 events.*do not fill one window: count=101.*remainder='keep'"),
            ({"time": 10**6}, "do not fill one window: time=1000000"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            events.frames(random_events(100), **{"size": (6, 5), **arguments})

    def test_windows_are_those_of_tonic(self):
        transforms = pytest.importorskip("tonic.transforms")
        for seed, polarities in ((0, 2), (1, 2), (2, 2)):
            recorded = random_events(997, (9, 7), duration=5003, seed=seed, first=40)
            assert (recorded["t"][-1] - recorded["t"][0]) % 450, "or the last window differs"
            for ours, theirs in [
                ({"count": 100}, {"event_count": 100}),
                ({"count": 100, "remainder": "keep"}, {"event_count": 100}),
                ({"time": 450}, {"time_window": 450}),
                ({"time": 450, "start": 300}, {"time_window": 450, "start_time": 300}),
                ({"time": 450, "remainder": "keep"}, {"time_window": 450}),
            ]:
                keep = ours.get("remainder") == "keep"
                to_frame = transforms.ToFrame(
                    sensor_size=(7, 9, polarities), include_incomplete=keep, **theirs
                )
                np.testing.assert_array_equal(
                    events.frames(recorded, size=(9, 7), **ours),
                    to_frame(recorded).transpose(0, 2, 3, 1),
                )

    def test_a_million_events_are_not_slower_than_a_loop_over_few_or_than_tonic(self):
        recorded = random_events(10**6, (128, 128), duration=10**6)

        def seconds(call):
            best = np.inf
            for _ in range(3):
                begin = time.process_time()
                result = call()
                best = min(best, time.process_time() - begin)
            return result, best

        frames, ours = seconds(lambda: events.frames(recorded, 20_000, size=(128, 128)))
        part = recorded[: 10**5]
        begin = time.process_time()
        loop = np.zeros((5, 128, 128, 2))
        for index, (x, y, _, p) in enumerate(part.tolist()):
            loop[index // 20_000, y, x, int(p)] += 1
        slow = time.process_time() - begin
        np.testing.assert_array_equal(frames[:5], loop)
        assert ours < 5 * slow, (ours, slow)
        transforms = pytest.importorskip("tonic.transforms")
        to_frame = transforms.ToFrame(sensor_size=(128, 128, 2), event_count=20_000)
        theirs, tonic_seconds = seconds(lambda: to_frame(recorded))
        np.testing.assert_array_equal(frames, theirs.transpose(0, 2, 3, 1))
        # Usually it takes two thirds of the time; other work on the machine changes that.
        assert ours < 1.5 * tonic_seconds, (ours, tonic_seconds)

    def test_a_stray_time_does_not_ask_for_all_memory(self):
        recorded = random_events(20)
        recorded["t"][-1] = 2**60
        arguments = dict(time=1000, size=(128, 128))
        with pytest.raises(
            ValueError, match=f"at [0-9]+ to {2**60} microseconds.* values.*`steps`"
        ):
            events.frames(recorded, **arguments)
        assert events.frames(recorded, steps=2, **arguments).sum() == 19

    def test_the_largest_frames_are_made(self, monkeypatch):
        monkeypatch.setattr(events, "_MOST_VALUES", 10 * 6 * 5 * 2)
        assert events.frames(random_events(20), count=2, size=(6, 5)).shape == (10, 6, 5, 2)
        with pytest.raises(ValueError, match=r"shape \(11, 6, 5, 2\) have more than 600 values"):
            events.frames(random_events(22), count=2, size=(6, 5))


class Recorded:
    """A dataset as tonic's are: `len`, and an index that reads one recording."""

    sensor_size = (5, 6, 2)

    def __init__(self, number=7, shortest=40):
        self.number, self.shortest, self.read = number, shortest, []

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if not 0 <= index < self.number:
            raise IndexError(index)
        self.read.append(index)
        return random_events(self.shortest + 10 * index, seed=index), index % 3


class TestDataset:
    def test_batches_are_stacked_frames(self):
        samples = Recorded()
        batches = events.dataset(samples, 3, count=10, steps=5)
        assert batches.cardinality() == 3
        assert batches.element_spec[0].shape == (None, 5, 6, 5, 2)
        found = list(batches.as_numpy_iterator())
        assert [len(labels) for _, labels in found] == [3, 3, 1]
        x = np.concatenate([frames for frames, _ in found])
        assert x.dtype == np.float32
        assert np.concatenate([labels for _, labels in found]).tolist() == [0, 1, 2, 0, 1, 2, 0]
        for index in range(7):
            expected = events.frames(samples[index][0], 10, size=(6, 5), steps=5)
            np.testing.assert_array_equal(x[index], expected)

    def test_all_arguments_of_frames_arrive(self):
        samples = Recorded()
        arguments = dict(
            time=90, binary=True, polarity=False, remainder="keep", start=50, dtype="uint8"
        )
        x, _ = next(iter(events.dataset(samples, 2, steps=4, **arguments)))
        for index in range(2):
            expected = events.frames(samples[index][0], size=(6, 5), steps=4, **arguments)
            assert x.dtype == expected.dtype == np.uint8
            np.testing.assert_array_equal(x[index], expected)

    def test_without_steps_the_batch_is_as_long_as_its_longest_recording(self):
        batches = list(events.dataset(Recorded(), 3, count=10, mask=True))
        assert [inputs["frames"].shape[:2] for inputs, _ in batches] == [(3, 6), (3, 9), (1, 10)]
        masks = [inputs["mask"].numpy() for inputs, _ in batches]
        assert masks[0].dtype == bool
        assert masks[0].sum(axis=1).tolist() == [4, 5, 6]
        for inputs, _ in batches:
            np.testing.assert_array_equal(
                inputs["frames"].numpy().any(axis=(2, 3, 4)), inputs["mask"]
            )

    def test_the_mask_with_steps(self):
        inputs, _ = next(iter(events.dataset(Recorded(), 7, count=10, steps=6, mask=True)))
        assert inputs["mask"].numpy().sum(axis=1).tolist() == [4, 5, 6, 6, 6, 6, 6]

    def test_recordings_are_read_when_they_are_needed_and_anew_in_each_epoch(self):
        samples = Recorded(number=1000)
        batches = events.dataset(samples, 2, count=10, steps=3)
        assert samples.read == [0], "its shape and label"
        next(iter(batches))
        assert len(samples.read) < 50, "a few batches ahead"
        samples = Recorded(number=4)
        batches = events.dataset(samples, 2, count=10, steps=3)
        for _ in range(2):
            samples.read.clear()
            list(batches)
            assert samples.read == [0, 1, 2, 3]

    def test_orders_are_shuffled_by_seed(self):
        def orders(seed):
            samples = Recorded(number=20)
            batches = events.dataset(samples, 4, count=10, steps=3, shuffle=True, seed=seed)
            found = []
            for _ in range(2):
                samples.read.clear()
                list(batches)
                found.append(list(samples.read))
            return found

        first, second = orders(1)
        assert sorted(first) == sorted(second) == list(range(20))
        assert first != second
        assert orders(1) == [first, second]
        assert orders(2) != [first, second]

    def test_keras_seed_counts_without_one(self):
        def order():
            keras.utils.set_random_seed(3)
            samples = Recorded(number=20)
            list(events.dataset(samples, 4, count=10, steps=3, shuffle=True))
            return samples.read

        assert order() == order()

    def test_something_to_iterate_over(self):
        class Stream:
            def __iter__(self):
                return (Recorded()[index] for index in range(4))

        batches = events.dataset(Stream(), 3, count=10, steps=3, size=(6, 5), drop_remainder=True)
        for _ in range(2):
            assert [labels.numpy().tolist() for _, labels in batches] == [[0, 1, 2]]

    def test_labels_are_of_any_kind(self):
        recorded = random_events(20)
        for label, dtype, shape in [
            ("ant", tf.string, ()),
            (np.float32(0.5), tf.float32, ()),
            (np.eye(3)[1], tf.float64, (3,)),
            (np.array([4]), tf.int64, (1,)),
        ]:
            _, labels = next(
                iter(events.dataset([(recorded, label)] * 2, 2, 10, steps=2, size=(6, 5)))
            )
            assert labels.dtype == dtype and labels.shape == (2, *shape)

    @pytest.mark.parametrize(
        "label", [None, {"a": 1}, [[1], [2, 3]], np.zeros(2, [("t", int)]), np.datetime64(1, "s")]
    )
    def test_labels_that_no_batch_can_have(self, label):
        with pytest.raises(TypeError, match="A label must be .*target_transform"):
            events.dataset([(random_events(20), label)], 1, 10, size=(6, 5))

    @pytest.mark.parametrize(
        "first,second",
        [
            (np.zeros((2, 3)), np.zeros((4, 3))),
            (0, [0]),
            (0, "ant"),
            # It would become 0.
            (0, 0.5),
        ],
    )
    def test_labels_that_change(self, first, second):
        samples = [(random_events(20), first), (random_events(20), second)]
        batches = events.dataset(samples, 1, 10, size=(6, 5))
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="Recording 1: A label must have the shape and"
        ):
            list(batches)

    def test_labels_whose_types_agree(self):
        for labels in ([np.int64(1), np.int32(2)], [0.5, 1], ["ant", "accordion"]):
            samples = [(random_events(20), label) for label in labels]
            _, y = next(iter(events.dataset(samples, 2, 10, size=(6, 5))))
            found = [each.decode() if isinstance(each, bytes) else each for each in y.numpy()]
            assert found == labels

    def test_recordings_with_other_data_beside_the_events(self):
        class Davis(Recorded):
            def __getitem__(self, index):
                recorded, label = super().__getitem__(index)
                return (recorded, {"ts": np.zeros(2)}, {"frames": np.zeros((2, 6, 5))}), label

        for size in (None, (6, 5)):
            with pytest.raises(TypeError, match=r"Received: tuple.*transform=lambda data: data\[0"):
                events.dataset(Davis(), count=10, steps=2, size=size)

    def test_the_size_of_a_cochlea(self):
        samples = Recorded()
        samples.sensor_size = (700, 1, 1)
        recorded = random_events(30, size=(700,))
        type(samples).__getitem__, original = lambda self, index: (recorded, 1), samples.__getitem__
        try:
            frames, _ = next(iter(events.dataset(samples, 2, 10, steps=3, polarity=False)))
        finally:
            type(samples).__getitem__ = original.__func__
        assert frames.shape == (2, 3, 700)

    @pytest.mark.parametrize(
        "samples,arguments,error,message",
        [
            ([], {}, ValueError, "`samples` is empty"),
            (iter([]), {}, TypeError, "can be read only once"),
            (None, {}, TypeError, "`samples` must be a sequence of recordings.*NoneType"),
            (Recorded(), {"batch_size": 0}, ValueError, "`batch_size` must be a positive integer"),
            (Recorded(), {"count": None}, ValueError, "^Windows have either"),
            (Recorded(), {"count": 0}, ValueError, "^dataset: `count` must be"),
            (Recorded(), {"size": (3, 3)}, ValueError, "^Recording 0: Event [0-9]+ has x=[34]"),
            ([(None, 0)], {"size": (6, 5)}, TypeError, "^Recording 0: Events must be"),
            ([random_events(9)], {}, TypeError, r"must be \(events, label\). Received: ndarray"),
            ([(random_events(9), 0, 1)], {}, TypeError, "Received: tuple of 3"),
            ([(random_events(9), 0)], {}, ValueError, r"`size` must be given, since list has no"),
            ({(1, 2)}, {"shuffle": True}, ValueError, r"must have len\(\) and an index to be shu"),
        ],
    )
    def test_errors(self, samples, arguments, error, message):
        with pytest.raises(error, match=message):
            events.dataset(samples, **{"count": 5, "steps": 2, **arguments})

    def test_an_error_in_a_later_recording_has_its_index(self):
        samples = [(random_events(20), 0), (random_events(20), 1), (random_events(4), 2)]
        batches = events.dataset(samples, 1, 10, size=(6, 5), steps=2)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Recording 2: The 4 events.*fill"):
            list(batches)

    def test_a_network_learns_from_synthetic_events(self):
        # Bars that move across their long side; chance is 0.5.
        random = np.random.default_rng(0)

        def recording(label):
            image = np.zeros((8, 8))
            image[2:6, random.integers(1, 7)] = random.uniform(0.5, 1)
            image = image if label else image.T
            step = (random.choice([-2, 2]), 0)[:: 1 if label else -1]
            return events.saccades(image, [(0, 0), step], 10_000, (12, 12), seed=label), label

        samples = [recording(index % 2) for index in range(120)]
        arguments = dict(time=2_500, size=(12, 12), steps=5, remainder="keep", mask=True)
        train = events.dataset(samples[:80], 16, shuffle=True, seed=0, **arguments)
        test = events.dataset(samples[80:], 40, **arguments)
        frames = keras.Input((5, 12, 12, 2), name="frames")
        mask = keras.Input((5,), dtype="bool", name="mask")
        spikes = RLIF(32, return_sequences=True)(keras.layers.Reshape((5, -1))(frames), mask=mask)
        scores = keras.layers.Dense(2)(TimeSum()(spikes, mask=mask))
        model = keras.Model({"frames": frames, "mask": mask}, scores)
        model.compile(
            keras.optimizers.Adam(0.02),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(train, epochs=8, verbose=0)
        assert model.evaluate(test, verbose=0)[1] > 0.9


def slow_simulation(video, times, threshold_on, threshold_off, offset, refractory=0):
    """The events of a video, pixel by pixel and threshold by threshold."""
    levels = np.log(video + offset)
    found = []
    for y, x in np.ndindex(*video.shape[1:]):
        reference, last = levels[0, y, x], -np.inf
        for step in range(len(video) - 1):
            before, after = levels[step : step + 2, y, x]
            while True:
                if after >= reference + threshold_on * (1 - 1e-9):
                    p, reference = 1, reference + threshold_on
                elif after <= reference - threshold_off * (1 - 1e-9):
                    p, reference = 0, reference - threshold_off
                else:
                    break
                part = (reference - before) / (after - before)
                t = times[step] + min(max(part, 0), 1) * (times[step + 1] - times[step])
                t = int(np.floor(t + 0.5))
                if t - last >= refractory:
                    found.append((t, y, x, p))
                    last = t
    return sorted(found)


def as_tuples(recorded):
    return sorted((int(t), int(y), int(x), int(p)) for x, y, t, p in recorded.tolist())


class TestSimulate:
    @pytest.mark.parametrize("refractory", [0, 300, 2500])
    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_a_loop_over_pixels(self, seed, refractory):
        random = np.random.default_rng(seed)
        video = random.random((12, 5, 4)) ** 2
        times = np.cumsum(random.integers(100, 2000, 12))
        arguments = dict(threshold_on=0.21, threshold_off=0.34, offset=0.05, refractory=refractory)
        recorded = events.simulate(video, times, **arguments)
        assert as_tuples(recorded) == slow_simulation(video, times, **arguments)
        assert len(recorded) > 50
        assert events.check(recorded, (5, 4)) is recorded, "they are in order"

    @pytest.mark.filterwarnings("ignore:Intensities are up to")
    def test_times_are_linear_between_frames(self):
        video = np.exp(np.array([0.0, 1.0, 0.6])).reshape(3, 1, 1) - 0.1
        recorded = events.simulate(video, [1000, 2000, 3000], 0.25, 0.2)
        assert recorded["t"].tolist() == [1250, 1500, 1750, 2000, 2500, 3000]
        assert recorded["p"].tolist() == [1, 1, 1, 1, 0, 0]

    @pytest.mark.parametrize("pixels", [1, 3, 5])
    @pytest.mark.parametrize("contrast", [1, 2, 4])
    def test_an_edge_that_moves_by_whole_pixels(self, pixels, contrast):
        # From 1 to 8 there are 3 thresholds of ln 2, also where they fall on a frame.
        image = np.ones((6, 20))
        image[:, 10:] = 2.0 ** (3 * contrast)
        arguments = dict(background="edge", duration=1000, offset=0.0)
        thresholds = dict(threshold_on=np.log(2), threshold_off=np.log(2) * 1.5)
        for shift, p, count in ((-pixels, 1, 3 * contrast), (pixels, 0, 2 * contrast)):
            path = [(0, 0), (shift, 0)]
            recorded = events.saccades(image, path, **arguments, **thresholds)
            assert (recorded["p"] == p).all()
            assert len(recorded) == 6 * pixels * count
            per_pixel = events.frames(
                recorded, len(recorded), size=(6, 20 + pixels), polarity=False
            )[0]
            assert (per_pixel[:, 10 : 10 + pixels] == count).all()

    def test_an_edge_that_moves_down(self):
        image = np.ones((12, 5))
        image[6:] = 4
        recorded = events.saccades(
            image, [(0, 0), (0, 2)], background="edge", offset=0.0, threshold_off=1
        )
        assert len(recorded) == 5 * 2 * 1
        assert set(recorded["y"].tolist()) == {6, 7} and not recorded["p"].any()

    def test_what_does_not_change_gives_no_events(self):
        assert len(events.saccades(np.full((9, 9), 0.7), background=0.7)) == 0
        assert len(events.saccades(np.full((9, 9), 0.7), background="edge")) == 0
        assert len(events.simulate(np.zeros((5, 3, 3)), range(5), refractory=10)) == 0

    def test_there_and_back_has_as_many_on_as_off_events(self):
        image = np.random.default_rng(0).random((10, 10))
        recorded = events.saccades(image)
        assert recorded["p"].sum() * 2 == len(recorded) > 100

    def test_the_scale_of_the_light_does_not_matter_without_an_offset(self):
        image = np.random.default_rng(0).uniform(0.1, 1, (10, 10))
        arguments = dict(background="edge", offset=0.0)
        np.testing.assert_array_equal(
            events.saccades(image, **arguments), events.saccades(4 * image, **arguments)
        )

    def test_uint8_is_a_fraction_of_255(self):
        image = np.random.default_rng(0).integers(0, 256, (10, 10)).astype(np.uint8)
        np.testing.assert_array_equal(events.saccades(image), events.saccades(image / 255))
        video = np.stack([image, image.T])
        np.testing.assert_array_equal(
            events.simulate(video, [0, 9]), events.simulate(video / 255, [0, 9])
        )

    def test_the_mismatch_is_that_of_the_thresholds(self):
        video = np.exp(np.array([0.0, 20.0])).reshape(2, 1, 1) * np.ones((2, 40, 40))
        arguments = dict(threshold_on=0.1, offset=0.0)
        recorded = events.simulate(video, [0, 10**6], mismatch=0.1, seed=1, **arguments)
        counts = events.frames(recorded, len(recorded), size=(40, 40), polarity=False)[0]
        thresholds = 20 / counts
        assert abs(thresholds.mean() / 0.1 - 1) < 4 * 0.1 / 40
        assert abs(thresholds.std() / 0.1 - 0.1) < 4 * 0.1 / np.sqrt(2 * 1600)
        again = events.simulate(video, [0, 10**6], mismatch=0.1, seed=1, **arguments)
        np.testing.assert_array_equal(recorded, again)
        other = events.simulate(video, [0, 10**6], mismatch=0.1, seed=2, **arguments)
        assert len(other) != len(recorded)

    def test_noise_is_a_poisson_process(self):
        video = np.ones((2, 30, 30))
        recorded = events.simulate(video, [10**6, 3 * 10**6], noise_rate=5, seed=1)
        expected = 30 * 30 * 2 * 5
        assert abs(len(recorded) - expected) < 4 * np.sqrt(expected)
        assert abs(recorded["p"].mean() - 0.5) < 4 * 0.5 / np.sqrt(expected)
        assert abs(recorded["t"].mean() - 2e6) < 4 * 2e6 / np.sqrt(12 * expected)
        counts = events.frames(recorded, len(recorded), size=(30, 30), polarity=False)
        assert abs(counts.var() / counts.mean() - 1) < 4 * np.sqrt(2 / 900)
        again = events.simulate(video, [10**6, 3 * 10**6], noise_rate=5, seed=1)
        np.testing.assert_array_equal(recorded, again)

    def test_no_pixel_answers_within_its_refractory_time(self):
        image = np.random.default_rng(0).random((12, 12))
        arguments = dict(noise_rate=200, mismatch=0.2, seed=3)
        every = events.saccades(image, **arguments)
        recorded = events.saccades(image, refractory=1001, **arguments)
        pixel = recorded["y"].astype(int) * 100 + recorded["x"]
        order = np.lexsort((recorded["t"], pixel))
        same = np.diff(pixel[order]) == 0
        assert np.diff(recorded["t"][order])[same].min() >= 1001
        assert 100 < len(recorded) < len(every)
        assert set(recorded.tolist()) <= set(every.tolist())

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"video": np.ones((1, 2, 2)), "times": [0]}, "`video` must have shape"),
            ({"video": np.ones((2, 2))}, "`video` must have shape"),
            ({"times": [0, 1, 2]}, "one time for each"),
            ({"times": [1, 1]}, "`times` must be at least 0 and increase"),
            ({"times": [-1, 1]}, "`times` must be at least 0 and increase"),
            ({"times": [0, 0.5]}, "Times are in microseconds, and from 0 to 0.5 .*105_000"),
            ({"video": np.ones((2, 0, 2))}, r"`video` must have shape \(frames, height, width\)"),
            ({"threshold_on": 0}, "`threshold_on` must be a finite number, above 0"),
            ({"threshold_off": -1}, "`threshold_off` must be a finite number, above 0"),
            ({"threshold_on": np.nan}, "`threshold_on`"),
            ({"offset": -0.1}, "`offset` must be a finite number, at least 0"),
            ({"refractory": -1}, "`refractory` must be"),
            ({"mismatch": -1}, "`mismatch` must be"),
            ({"noise_rate": "much"}, "`noise_rate` must be"),
            ({"video": np.zeros((2, 2, 2)), "offset": 0}, "with `offset` added, above 0, because"),
            (
                {"video": np.full((2, 2, 2), -1.0)},
                "with `offset` added, above 0.* -1.0 at the dark",
            ),
            ({"video": np.full((2, 2, 2), np.nan)}, "must be finite"),
            ({"video": np.full((2, 2, 2), np.inf)}, "must be finite"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            events.simulate(**{"video": np.ones((2, 2, 2)), "times": [0, 1], **arguments})


class TestSaccades:
    def test_the_path_of_n_mnist(self):
        image = np.random.default_rng(0).random((28, 28))
        video, times = events.moving(image)
        assert video.shape[1:] == (35, 35)
        assert times[0] == 0 and times[-1] == 3 * 105_000
        np.testing.assert_array_equal(video[0], np.pad(image, (0, 7)))
        np.testing.assert_array_equal(video[-1], video[0])
        first, second = (np.flatnonzero(times == t)[0] for t in (105_000, 210_000))
        half = np.pad(image, ((0, 0), (3, 4))) / 2 + np.pad(image, ((0, 0), (4, 3))) / 2
        np.testing.assert_allclose(video[first], np.pad(half, ((7, 0), (0, 0))), atol=1e-12)
        np.testing.assert_array_equal(video[second], np.pad(image, ((0, 7), (7, 0))))
        assert events.moving(image, size=(34, 34))[0].shape[1:] == (34, 34)

    @pytest.mark.parametrize("shift", [(0.25, 0.5), (-1.75, 2.2), (3, -4), (0, 0)])
    def test_interpolation_is_bilinear(self, shift):
        image = np.random.default_rng(0).random((6, 7))
        path = [shift, np.add(shift, (1, 0))]
        video, _ = events.moving(image, path, size=(20, 20), background=0.3)
        # Where the image's corner is, from the brightness that the frame has more than without it.
        extra = video[0] - 0.3
        total = (image - 0.3).sum()
        assert extra.sum() == pytest.approx(total)
        rows, columns = np.mgrid[:20, :20]
        inside_rows, inside_columns = np.mgrid[:6, :7]
        for place, inside, moved in ((columns, inside_columns, 0), (rows, inside_rows, 1)):
            middle = (extra * place).sum() / total
            before = ((image - 0.3) * inside).sum() / total
            corner = middle - before - shift[moved]
            assert corner == pytest.approx(round(corner)), "whole pixels, but for the path"
            next_middle = ((video[-1] - 0.3) * place).sum() / total
            assert next_middle - middle == pytest.approx(1 - moved)

    def test_frames_are_close_enough(self):
        image = np.ones((4, 4))
        video, times = events.moving(image, [(0, 0), (2, 0), (2, 1)], [100, 700])
        assert len(video) == len(times) == 1 + 8 + 4
        assert times.tolist()[8] == 100 and times[-1] == 800
        assert len(events.moving(image, [(0, 0), (2, 0)], pixels_per_frame=1)[0]) == 3
        still, times = events.moving(image, [(0, 0), (0, 0)], 50)
        assert len(still) == 2 and times.tolist() == [0, 50]

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"image": np.ones((3, 3, 3))}, r"`image` must have shape \(height, width\)"),
            ({"image": np.ones((0, 3))}, "`image` must have shape"),
            ({"path": [(0, 0)]}, "`path` must be two or more points"),
            ({"path": [(0, 0, 0), (1, 1, 1)]}, "`path` must be two or more points"),
            ({"path": [(0, 0), (np.inf, 0)]}, "`path` must be two or more points"),
            ({"duration": 0}, "`duration` must be above 0, a number, or one for each"),
            ({"duration": [1, 2]}, r"`duration` must be above 0.*duration=\[1, 2\]"),
            ({"duration": 0.105}, "Times are in microseconds, and from 0 to 0.315"),
            ({"pixels_per_frame": 0}, "`pixels_per_frame` must be a finite number, above 0"),
            ({"background": "black"}, "`background` must be one of edge"),
            ({"size": (5,)}, r"`size` must be \(height, width\)"),
            ({"threshold_on": -1}, "`threshold_on`"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            events.saccades(**{"image": np.ones((3, 3)), **arguments})

    def test_intensities_that_are_not_of_0_to_1_are_warned_of(self, recwarn):
        image = np.zeros((4, 4))
        image[1, 1] = 1
        events.saccades(image)
        events.saccades((image * 255).astype(np.uint8))
        events.saccades(image * 255 + 1, offset=0, background=1)
        assert not recwarn
        for wrong in (image * 255, (image * 255).astype(int)):
            with pytest.warns(UserWarning, match="up to 255.*offset=0.1.*only uint8 is divided"):
                events.saccades(wrong)


# One event at X=3 (bits 1 to 7), Y=10 (bits 8 to 14), ON (bit 0 is 0) and one OFF event.
ADDRESSES = (10 << 8 | 3 << 1 | 0, 100 << 8 | 127 << 1 | 1)


def aedat(path, addresses, times, version="2.0", header="# a comment\r\n"):
    """Writes an AEDAT file, byte by byte."""
    layout = ">HI" if version == "1.0" else ">II"
    first = f"#!AER-DAT{version}\r\n" if version else ""
    content = (first + header).encode("latin-1")
    for address, t in zip(addresses, times, strict=True):
        content += struct.pack(layout, address, t)
    path.write_bytes(content)
    return path


class TestAedat:
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    @pytest.mark.parametrize(
        "orientation,places",
        [
            ("jaer", [(124, 117), (0, 27)]),
            ("dat2mat", [(124, 10), (0, 100)]),
            ("raw", [(3, 10), (127, 100)]),
            ("spikingjelly", [(117, 124), (27, 0)]),
        ],
    )
    def test_bits(self, tmp_path, version, orientation, places):
        path = aedat(tmp_path / "a.aedat", ADDRESSES, [5, 70_000], version)
        recorded = events.read_aedat(path, orientation)
        assert recorded.dtype == events.DTYPE
        assert list(zip(recorded["x"], recorded["y"], strict=True)) == places
        assert recorded["t"].tolist() == [5, 70_000]
        assert recorded["p"].tolist() == [True, False]
        assert events.read_aedat(str(path))["x"].tolist() == [124, 0], "jaer by default"

    def test_tonic_reads_the_same_words(self, tmp_path):
        tonic_io = pytest.importorskip("tonic.io")
        recorded = random_events(200, (128, 128), duration=2**31)
        path = tmp_path / "a.aedat"
        events.write_aedat(path, recorded, orientation="raw")
        version, start = tonic_io.read_aedat_header_from_file(str(path))[:2]
        assert version == 2.0
        words = tonic_io.get_aer_events_from_file(str(path), version, start)
        np.testing.assert_array_equal(words["timeStamp"], recorded["t"])
        np.testing.assert_array_equal(words["address"] >> 8, recorded["y"])
        np.testing.assert_array_equal(words["address"] >> 1 & 127, recorded["x"])
        np.testing.assert_array_equal(words["address"] & 1, 1 - recorded["p"])

    @given(
        rows=st.lists(
            st.tuples(
                st.integers(0, 127), st.integers(0, 127), st.integers(0, 2**32 - 1), st.booleans()
            ),
            min_size=1,
            max_size=20,
        ),
        version=st.sampled_from([1.0, 2.0]),
        orientation=st.sampled_from(list(events.ORIENTATIONS)),
    )
    @settings(max_examples=200, deadline=None)
    def test_what_is_written_is_read(self, tmp_path_factory, rows, version, orientation):
        x, y, t, p = zip(*rows, strict=True)
        recorded = events.make(x, y, np.sort(t), p)
        path = tmp_path_factory.getbasetemp() / "round_trip.aedat"
        try:
            events.write_aedat(path, recorded, version, orientation)
        except ValueError as error:
            assert version == 1.0 and "read as a line of the header" in str(error)
            assume(False)
        np.testing.assert_array_equal(events.read_aedat(path, orientation), recorded)
        assert path.read_bytes().startswith(f"#!AER-DAT{version}\r\n".encode())

    def test_all_of_the_array_both_ways(self, tmp_path):
        y, x, p = (index.ravel() for index in np.mgrid[:128, :128, :2])
        recorded = events.make(x, y, np.arange(len(x)), p)
        for orientation in events.ORIENTATIONS:
            events.write_aedat(tmp_path / "a.aedat", recorded, orientation=orientation)
            read = events.read_aedat(tmp_path / "a.aedat", orientation)
            np.testing.assert_array_equal(read, recorded)

    def test_times_beyond_32_bits_are_counted_on(self, tmp_path):
        times = [2**31 - 1, 2**31, 2**32 - 5, 3, 9, 2**32 - 1, 0]
        path = aedat(tmp_path / "a.aedat", [2] * 7, times)
        read = events.read_aedat(path)["t"]
        expected = [*times[:3], 2**32 + 3, 2**32 + 9, 2**33 - 1, 2**33]
        assert read.tolist() == expected

    def test_times_that_go_backwards(self, tmp_path):
        times = [100, 200, 50, 60, 10, 10, 30]
        path = aedat(tmp_path / "a.aedat", [0, 2, 4, 6, 8, 10, 12], times)
        with pytest.raises(ValueError, match="backwards at 2 of 7 .* event 2, from 200 to 50"):
            events.read_aedat(path)
        ordered = events.read_aedat(path, "raw", backwards="sort")
        assert ordered["t"].tolist() == sorted(times)
        assert ordered["x"].tolist() == [4, 5, 6, 2, 3, 0, 1]
        joined = events.read_aedat(path, "raw", backwards="join")
        assert joined["t"].tolist() == [100, 200, 250, 260, 270, 270, 290]
        assert joined["x"].tolist() == list(range(7))

    def test_special_addresses(self, tmp_path):
        addresses = [2, 0x8002, 4, 0x80000000] + [6] * 16
        path = aedat(tmp_path / "a.aedat", addresses, range(20))
        with pytest.raises(ValueError, match="event 1 has the address 0x8002, .* 2 of 20 .*'drop'"):
            events.read_aedat(path)
        read = events.read_aedat(path, "raw", special="drop")
        assert read["x"].tolist() == [1, 2] + [3] * 16
        assert read["t"].tolist() == [0, 2, *range(4, 20)]
        aedat(path, addresses[:-1], range(19))
        with pytest.raises(ValueError, match="2 of 19 events.*at most a tenth.*damaged"):
            events.read_aedat(path, special="drop")
        aedat(path, [0x8002], [1], version="1.0")
        with pytest.raises(ValueError, match="1 of 1 events"):
            events.read_aedat(path, special="drop")

    @pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6, 7])
    def test_events_that_begin_at_a_wrong_byte(self, tmp_path, cut):
        path = tmp_path / "a.aedat"
        events.write_aedat(path, random_events(500, (128, 128), duration=10**7))
        first, _, rest = path.read_bytes().partition(b"each event\r\n")
        rest = rest.partition(b"\r\n")[2]
        path.write_bytes(b"#!AER-DAT2.0\r\n" + rest[cut : cut - 8])
        with pytest.raises(ValueError, match="not a pixel of a DVS128, nor are"):
            events.read_aedat(path, backwards="sort", special="drop")

    def test_addresses_of_a_davis(self, tmp_path):
        # y in bits 22 to 30, x in bits 12 to 21, polarity in bit 11.
        path = aedat(tmp_path / "a.aedat", [100 << 22 | 50 << 12 | 1 << 11], [1])
        with pytest.raises(ValueError, match="0x19032800.* not a pixel of a DVS128"):
            events.read_aedat(path)

    def test_a_header_is_not_needed_for_version_1(self, tmp_path):
        path = aedat(tmp_path / "a.dat", ADDRESSES, [5, 6], "1.0")
        bare = path.read_bytes().split(b"comment\r\n")[1]
        for header in (b"", b"# no version\n"):
            path.write_bytes(header + bare)
            assert events.read_aedat(path, version=1.0)["x"].tolist() == [124, 0]
            with pytest.raises(ValueError, match="a.dat is no AEDAT file, .* pass version=1.0"):
                events.read_aedat(path)
        path = aedat(tmp_path / "a.aedat", ADDRESSES, [5, 6], "1.0")
        assert events.read_aedat(path, version=1.0)["x"].tolist() == [124, 0]
        path = aedat(tmp_path / "a.aedat", ADDRESSES, [5, 6], "2.0")
        with pytest.raises(ValueError, match="in the format AEDAT 2.0. Received: version=1.0"):
            events.read_aedat(path, version=1.0)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: b"#!AER-DAT2.0",
            lambda content: content[:9],
            lambda content: content.replace(b"#!AER-DAT2.0", b"#!AERDAT2.0", 1),
            lambda content: content.replace(b"#!AER-DAT2.0", b"!AER-DAT2.0", 1),
            lambda content: content.partition(b"\n")[2],
            lambda content: content.partition(b"tick is 1 us\r\n")[2],
            lambda content: b"<!DOCTYPE html>\n<html><h1>404 Not Found</h1></html>\n" * 6,
            lambda content: b"",
        ],
    )
    def test_damaged_headers(self, tmp_path, damage):
        path = tmp_path / "a.aedat"
        events.write_aedat(path, random_events(60, (128, 128)))
        content = path.read_bytes()
        assert damage(content) != content
        path.write_bytes(damage(content))
        message = "a.aedat( has no events|: the header has no version| is no AEDAT file)"
        for options in ({}, {"backwards": "sort", "special": "drop"}):
            with pytest.raises(ValueError, match=message):
                events.read_aedat(path, **options)

    def test_an_event_that_begins_as_a_header_line(self, tmp_path):
        # Y=35 is the byte of "#"; the times have control characters.
        path = aedat(tmp_path / "a.aedat", [35 << 8 | 84, 35 << 8], [0x0A, 0x0A0A], "1.0")
        assert events.read_aedat(path, "raw")["y"].tolist() == [35, 35]
        recorded = events.make([21], [35], [0x2A2A0A2A], [True])
        before = path.read_bytes()
        with pytest.raises(ValueError, match="read as a line of the header.*AEDAT 2.0"):
            events.write_aedat(path, recorded, 1.0, "raw")
        assert path.read_bytes() == before
        events.write_aedat(path, recorded, 2.0, "raw")
        np.testing.assert_array_equal(events.read_aedat(path, "raw"), recorded)

    def test_headers_of_jaer(self, tmp_path):
        header = (
            "# This is a raw AE data file - do not edit\r\n"
            "# created Mi\xe9 Dec 03 14:47:00 CET 2015\r\n"
            '#\t<entry key="DVS128.bias" value="1"/>\n'
            "#\r\n"
        )
        path = aedat(tmp_path / "a.aedat", ADDRESSES, [5, 6], header=header)
        assert events.read_aedat(path)["t"].tolist() == [5, 6]

    @pytest.mark.parametrize(
        "content,message",
        [
            (b"#!AER-DAT2.0\r\n" + bytes(15), "is cut off: 7 bytes are left over.*8 for each"),
            (b"#!AER-DAT1.0\r\n" + bytes(8), "is cut off: 2 bytes are left over.*6 for each"),
            (b"#!AER-DAT2.0\r\n# nothing\r\n", "has no events"),
            (b"", "has no events"),
            (b"#!AER-DATtwo\r\n" + bytes(8), "no version that can be read.*'#!AER-DATtwo'"),
            (b"#!AER-DAT2\r\n" + bytes(8), "no version that can be read"),
            (b"#!AER-DAT2.0\r\n# cut o", "the header is cut off.* at byte 14"),
            (b"#!AER-DAT2.0\r\n# \x00\x01\r\n" + bytes(8), "the header is cut off, or has a line"),
            (b"#!AER-DAT3.1\r\n#Format: RAW\r\n" + bytes(28), "AEDAT 3.1, .*tonic.datasets.DVSG"),
            (b"#!AER-DAT4.0\r\n" + bytes(28), "AEDAT 4.0, .*tonic.io.read_aedat4 reads it"),
        ],
    )
    def test_files_that_cannot_be_read(self, tmp_path, content, message):
        path = tmp_path / "broken.aedat"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"broken.aedat.*{message}"):
            events.read_aedat(path)

    def test_arguments(self, tmp_path):
        path = aedat(tmp_path / "a.aedat", ADDRESSES, [5, 6])
        for name in ("orientation", "backwards", "special", "version"):
            with pytest.raises(ValueError, match=f"`{name}` must be one of .*'up'"):
                events.read_aedat(path, **{name: "up"})
        with pytest.raises(FileNotFoundError):
            events.read_aedat(tmp_path / "missing.aedat")
        with pytest.raises(ValueError, match="`version` must be one of 1.0, 2.0"):
            events.write_aedat(path, random_events(3), 3.1)

    @pytest.mark.parametrize(
        "recorded,message",
        [
            (events.make([128], [0], [0], 1), "Event 0 has x=128"),
            (events.make([0], [0], [2**32], 1), "last event has t=4294967296.*subtract"),
            (random_events(0), "There are no events"),
        ],
    )
    def test_what_cannot_be_written_leaves_the_file_alone(self, tmp_path, recorded, message):
        path = tmp_path / "a.aedat"
        path.write_bytes(b"before")
        with pytest.raises(ValueError, match=message):
            events.write_aedat(path, recorded)
        assert path.read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["a.aedat"]

    def test_writing_is_whole_or_not_at_all(self, tmp_path, monkeypatch):
        path = tmp_path / "a.aedat"
        path.write_bytes(b"before")

        def fail(*_):
            raise OSError("the disk is full")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk is full"):
            events.write_aedat(path, random_events(3))
        assert path.read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["a.aedat"]
