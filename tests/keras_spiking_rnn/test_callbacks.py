"""What the callback writes for TensorBoard, read back from its files."""

import importlib.util
import struct

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import RLIF, PoissonEncoder, RLIFCell, TimeSum
from keras_spiking_rnn.callbacks import SpikingTensorBoard
from keras_spiking_rnn.metrics import firing_rates, unit_rates

X = np.random.default_rng(0).normal(0.3, 1.0, (16, 8, 3)).astype("float32")
Y = np.arange(16) % 2
FIXED = X[:4]


@pytest.fixture(autouse=True)
def repeatable():
    keras.utils.set_random_seed(3)


def network(layers, jit_compile=False, **of_input):
    model = keras.Sequential([keras.Input((8, 3), **of_input), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=jit_compile)
    return model


def spiking(name, units=6, **arguments):
    arguments = {"leak_initializer": 0.8, **arguments}
    return RLIF(units, name=name, return_sequences=True, **arguments)


def plain_layers():
    return [spiking("first"), spiking("second", 4), TimeSum(), keras.layers.Dense(2)]


def read(folder):
    """The values of each tag by step."""
    values = {}
    for file in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                values.setdefault(value.tag, {})[event.step] = getattr(value, kind)
    return values


class Measure(keras.callbacks.Callback):
    """Measures with `metrics.unit_rates` what the callback should write."""

    def __init__(self):
        super().__init__()
        self.units = {}

    def measure(self, step):
        self.units[step] = unit_rates(self.model, FIXED)

    def on_train_begin(self, logs=None):
        self.measure(0)

    def on_epoch_end(self, epoch, logs=None):
        self.measure(epoch + 1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_numbers_are_those_of_the_metrics(tmp_path, jit_compile):
    model = network(plain_layers(), jit_compile)
    measured = Measure()
    board = SpikingTensorBoard(tmp_path, FIXED, rasters=False)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[board, measured])
    written = read(tmp_path)
    kinds = ("firing_rate", "dead_units", "saturated_units", "unit_rates")
    assert set(written) == {f"{kind}/{name}" for kind in kinds for name in ("first", "second")}
    assert len(set(written["firing_rate/first"].values())) > 1, "training makes no difference"
    for name in ("first", "second"):
        assert list(written[f"firing_rate/{name}"]) == [0, 1, 2]
        for step in range(3):
            units = measured.units[step][name]
            rate, dead, saturated = (
                written[f"{kind}/{name}"][step]
                for kind in ("firing_rate", "dead_units", "saturated_units")
            )
            assert rate == pytest.approx(units.mean())
            assert rate > 0
            assert dead == np.sum(units == 0)
            assert saturated == np.sum(units == 1)
            histogram = written[f"unit_rates/{name}"][step]
            assert histogram.num == len(units) == sum(histogram.bucket)
            assert histogram.sum == pytest.approx(units.sum())
            assert histogram.sum_squares == pytest.approx(np.square(units).sum())
            assert (histogram.min, histogram.max) == pytest.approx((units.min(), units.max()))
            expected, _ = np.histogram(units, [-1, *histogram.bucket_limit])
            np.testing.assert_array_equal(histogram.bucket, expected)


def test_dead_and_saturated_units(tmp_path):
    layer = spiking("hidden")
    model = network([layer, TimeSum(), keras.layers.Dense(2)])
    layer.cell.bias.assign([-50, -50, 50, 50, 50, 0])
    layer.cell.trainable = False
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[SpikingTensorBoard(tmp_path, FIXED)])
    written = read(tmp_path)
    assert written["dead_units/hidden"] == {0: 2, 1: 2}
    assert written["saturated_units/hidden"] == {0: 3, 1: 3}


@pytest.mark.parametrize(
    "arguments,steps",
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"every": 2}, [0, 2, 4]),
        ({"every": 2, "initial": False}, [2, 4]),
        ({"initial": False, "every": 9}, []),
    ],
)
def test_every_so_many_epochs(tmp_path, arguments, steps):
    model = network(plain_layers())
    board = SpikingTensorBoard(tmp_path, FIXED, rasters=False, **arguments)
    # What `fit` asks of a callback, without training.
    board.set_model(model)
    board.on_train_begin()
    for epoch in range(5):
        board.on_epoch_begin(epoch)
        board.on_epoch_end(epoch)
    board.on_train_end()
    assert list(read(tmp_path).get("firing_rate/first", {})) == steps


def test_training_can_go_on(tmp_path):
    model = network(plain_layers())
    board = SpikingTensorBoard(tmp_path, FIXED, rasters=False)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[board])
    model.fit(X, Y, epochs=4, initial_epoch=2, verbose=0, callbacks=[board])
    assert list(read(tmp_path)["firing_rate/first"]) == [0, 1, 2, 3, 4]


def test_rasters(tmp_path):
    pytest.importorskip("matplotlib")
    pillow = pytest.importorskip("PIL.Image")
    layer = spiking("hidden", 6)
    model = network([layer, TimeSum(), keras.layers.Dense(2)])
    layer.cell.bias.assign([-50, 50, 50, 50, 50, 50])
    layer.cell.trainable = False
    board = SpikingTensorBoard(tmp_path, FIXED, rasters=True, max_units=2)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[board])
    image = read(tmp_path)["raster/hidden"][1]
    png = image.encoded_image_string
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (image.width, image.height)
    file = tmp_path / "raster.png"
    file.write_bytes(png)
    pixels = np.asarray(pillow.open(file).convert("RGB"), int)
    blue = (pixels[..., 2] - pixels[..., 0]) > 60
    # Only the upper one of the two units that are shown fires, at all 8 steps.
    rows = np.flatnonzero(blue.any(axis=1))
    assert rows.max() < image.height / 2
    middle = blue[int(rows.mean())]
    assert np.sum(middle[1:] & ~middle[:-1]) == 8


def test_rasters_without_matplotlib(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    with pytest.raises(ImportError, match=r"keras-spiking-rnn\[viz\].*rasters=False"):
        SpikingTensorBoard(tmp_path, FIXED, rasters=True)
    model = network(plain_layers())
    board = SpikingTensorBoard(tmp_path, FIXED)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[board])
    assert not any(tag.startswith("raster") for tag in read(tmp_path))


class TestSideEffects:
    def fitted(self, callbacks):
        keras.utils.set_random_seed(3)
        layers = [
            keras.layers.Rescaling(1 / 8, offset=0.5),
            keras.layers.TimeDistributed(PoissonEncoder(1, seed=1)),
            keras.layers.Reshape((8, 3)),
            spiking("hidden", noise_stddev=0.3, dropout=0.2, seed=2),
            keras.layers.RNN(RLIFCell(3), stateful=True, return_sequences=True, name="stateful"),
            TimeSum(),
            keras.layers.Dense(2),
        ]
        model = network(layers, batch_size=4)
        model.fit(X, Y, batch_size=4, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
        return model

    def test_training_goes_as_without_it(self, tmp_path):
        board = SpikingTensorBoard(tmp_path, FIXED, rasters=False)
        models = [self.fitted([]), self.fitted([board])]
        assert len(read(tmp_path)["firing_rate/stateful"]) == 4
        for without, with_board in zip(*(model.variables for model in models), strict=True):
            np.testing.assert_array_equal(without, with_board, err_msg=without.path)
        layer = models[1].get_layer("stateful")
        assert any(np.any(np.asarray(state)) for state in layer.states)
        assert "inner_loop" not in vars(layer)

    def test_stateful_layers_begin_with_0(self, tmp_path):
        model = network(
            [
                spiking("hidden", stateful=True, leak_initializer=0.9, learn_leak=False),
                TimeSum(),
                keras.layers.Dense(2),
            ],
            batch_size=4,
        )
        model.optimizer.learning_rate = 0.0
        board = SpikingTensorBoard(tmp_path, FIXED, rasters=False)
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[board])
        rates = read(tmp_path)["firing_rate/hidden"]
        model.get_layer("hidden").reset_state()
        expected = firing_rates(model, FIXED)["hidden"]
        assert list(rates.values()) == pytest.approx([expected] * 3)
        assert firing_rates(model, FIXED)["hidden"] != pytest.approx(expected)

    def test_another_batch_size_than_that_of_a_stateful_layer_is_refused(self, tmp_path):
        model = network(
            [spiking("hidden", stateful=True), TimeSum(), keras.layers.Dense(2)], batch_size=4
        )
        board = SpikingTensorBoard(tmp_path, X[:3])
        with pytest.raises(ValueError, match="'hidden' is stateful with batches of 4.*`x` has 3"):
            model.fit(X, Y, batch_size=4, verbose=0, callbacks=[board])


def test_models_without_spikes_are_refused(tmp_path):
    model = network([keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no spiking layer"):
        model.fit(X, Y, verbose=0, callbacks=[SpikingTensorBoard(tmp_path, FIXED)])


@pytest.mark.parametrize("name", ["every", "max_units"])
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_arguments_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer.*{name}={value}"):
        SpikingTensorBoard(tmp_path, FIXED, **{name: value})


def test_tensorboard_reads_it(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    model = network(plain_layers())
    board = SpikingTensorBoard(tmp_path, FIXED)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[board])
    events = accumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("firing_rate/first")] == [0, 1]
