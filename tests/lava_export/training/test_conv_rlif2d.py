"""ConvRLIF2D in integers: forward that of the units, backward that of the layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import lava_export
from keras_spiking_rnn import ConvRLIF2D, TimeSum
from lava_export import LIF, Conv, arithmetic
from lava_export.training.rlif import QuantizedConvRLIF2DCell
from lava_export.windows import Windows

STEPS, IMAGE, CLASSES = 6, (9, 7, 2), 4
LIMIT = arithmetic.STATE_LIMIT - 1


def random(stddev, seed=0):
    return keras.initializers.RandomNormal(stddev=stddev, seed=seed)


def layer(filters, window, **options):
    """Nothing square, nothing symmetric, no two filters alike."""
    defaults = {
        "padding": "same",
        "threshold": list(np.random.default_rng(filters).uniform(0.3, 1.0, filters)),
        "reset": list(np.random.default_rng(filters).uniform(-0.4, 0.1, filters)),
        "leak_initializer": keras.initializers.RandomUniform(0.2, 1.0, seed=1),
        "kernel_initializer": random(0.3, 2),
        "bias_initializer": random(0.1, 3),
        "membrane_bias_initializer": random(0.1, 4),
    }
    return ConvRLIF2D(filters, window, return_sequences=True, **{**defaults, **options})


def model_of(*layers):
    return keras.Sequential(
        [
            keras.Input((STEPS, *IMAGE)),
            *layers,
            TimeSum(),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, kernel_initializer=random(0.1)),
        ]
    )


def data(samples=40, seed=0):
    generator = np.random.default_rng(seed)
    x = (generator.random((samples, STEPS, *IMAGE)) < 0.3).astype("float32")
    return x, (x[..., 0].sum(axis=(1, 2, 3)) > 0.3 * STEPS * 63).astype("int32")


@settings(max_examples=20, deadline=None)
@given(
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid"]),
    exponent=st.integers(0, 7),
    seed=st.integers(0, 1000),
)
def test_a_step_is_that_of_the_units(strides, padding, exponent, seed):
    """Whatever its membranes are, at their limits too."""
    generator = np.random.default_rng(seed)
    filters, window = 3, (3, 2)
    cell = QuantizedConvRLIF2DCell(
        filters, window, strides=strides, padding=padding, scale=400, exponent=exponent, vth=399
    )
    cell.build((None, *IMAGE))
    in_units = 400 / 0.5 / 2**exponent
    cell.kernel.assign(generator.uniform(-300, 300, cell.kernel.shape) / in_units)
    cell.bias.assign(generator.choice([-3.0, 0.0, 0.1, 40.0], filters))
    cell.membrane_bias.assign(generator.normal(size=filters))
    cell.leak.assign(generator.uniform(0, 1, filters))
    held = [np.asarray(value).astype(int) for value in cell.integers()]
    weights, keep, bias_mant, bias_exp, _, v0 = held
    windows = Windows.of_keras(IMAGE, window, strides, padding)
    conv = Conv(weights.transpose(3, 0, 1, 2), IMAGE, strides, windows.padding, exponent=exponent)
    units = LIF(
        du=4095,
        vth=399,
        **{
            name: np.resize(value, conv.units)
            for name, value in (
                ("dv", np.minimum(4096 - keep, 4095)),
                ("bias_mant", bias_mant),
                ("bias_exp", bias_exp),
                ("v0", v0),
            )
        },
    )
    shape = (4, conv.units)
    spikes = generator.integers(0, 2, (4, conv.inputs))
    membranes = np.where(
        generator.random(shape) < 0.3,
        generator.choice([-LIMIT, LIMIT], shape),
        generator.integers(-LIMIT, LIMIT + 1, shape),
    )
    state = {"u": np.zeros(shape, int), "v": membranes}
    output, (after,), _ = cell.step(
        spikes.reshape(4, *IMAGE).astype("float32"),
        [tf.constant(membranes.reshape(4, *conv.output_shape), tf.float32)],
    )
    expected = units.dynamics()(state, conv.product()(spikes))[0]
    np.testing.assert_array_equal(np.reshape(output, shape), expected)
    np.testing.assert_array_equal(np.reshape(after, shape), state["v"])
    (before,) = cell.get_initial_state(2)
    np.testing.assert_array_equal(np.reshape(before, (2, -1)), np.tile(units.v0, (2, 1)))


class TestStack:
    """Two layers and a classifier."""

    @pytest.fixture(scope="class")
    def model(self):
        return model_of(
            layer(4, (3, 2), strides=(2, 1), name="first"),
            layer(3, 2, padding="valid", name="second", kernel_initializer=random(0.5)),
        )

    @pytest.fixture(scope="class")
    def trained(self, model):
        aware = lava_export.quantization_aware(model, data()[0])
        aware.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        losses = aware.fit(*data(64, seed=3), epochs=4, batch_size=64, verbose=0).history["loss"]
        return aware, losses

    def test_it_learns(self, model, trained):
        aware, losses = trained
        assert losses[-1] < losses[0]
        assert [each.name for each in aware.layers] == [each.name for each in model.layers]
        for name in ("first", "second"):
            before, after = (each.get_layer(name).get_weights() for each in (model, aware))
            assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    def test_no_spike_changes_on_export(self, model, trained):
        aware, _ = trained
        x, y = data(50, seed=7)
        network = lava_export.export(aware, data()[0])
        report = lava_export.verify(aware, network, x, y, modes=())
        assert report.float_stage.mismatches == [0, 0]
        assert min(report.float_stage.float_spikes) > 1000
        np.testing.assert_array_equal(network.predict(x), np.argmax(aware(x), axis=-1))
        assert [record.mismatches for record in network.quantization.layers] == [0, 0]

        plain = lava_export.export(model, data()[0])
        report = lava_export.verify(model, plain, x, y, modes=())
        assert min(report.float_stage.mismatches) > 10

    def test_a_file_holds_it(self, trained, tmp_path):
        aware, _ = trained
        aware.save(tmp_path / "aware.keras")
        loaded = keras.saving.load_model(tmp_path / "aware.keras")
        assert lava_export.export(loaded, data()[0]) == lava_export.export(aware, data()[0])

    def test_leaks_that_were_trained_are_not_put_into_groups(self, trained):
        with pytest.raises(lava_export.ConversionError, match="leave out leak_groups=2"):
            lava_export.export(trained[0], data()[0], leak_groups=2)


def test_gradients_are_near_those_of_the_float_layer():
    model = model_of(layer(4, 3))
    aware = lava_export.quantization_aware(model, data()[0])
    x, y = data(64, seed=5)
    found = []
    for each in (model, aware):
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(y, each(x), from_logits=True)
        found.append(tape.gradient(loss, [w.value for w in each.trainable_weights]))
    for weights in zip(*found, strict=True):
        a, b = (np.ravel(w) for w in weights)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9


def test_pooling_that_would_become_part_of_the_weights_is_refused():
    model = model_of(
        layer(4, 3),
        keras.layers.AveragePooling3D((1, 2, 2), name="pool"),
        layer(3, 2, padding="valid"),
    )
    with pytest.raises(lava_export.ConversionError, match="'pool'.*cannot be trained in integers"):
        lava_export.quantization_aware(model, data()[0])
