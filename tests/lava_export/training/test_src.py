"""A step of SRC in integers: forward that of the units, backward that of the cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import lava_export
from keras_spiking_rnn import SRC, LeakyReadout, SRCCell
from lava_export import arithmetic
from lava_export.training.src import QuantizedSRCCell

INPUTS, UNITS, BATCH = 6, 5, 8
ONE = 1 << 20  # of the hidden states
LIMIT = arithmetic.STATE_LIMIT - 1


def cell_of(options, kernel, bias, input_scale=1.0, shift=0, current_shift=6, gain_shift=3):
    cell = QuantizedSRCCell(
        UNITS,
        shift=[shift] * UNITS,
        current_shift=current_shift,
        gain_shift=gain_shift,
        input_scale=input_scale,
        **options,
    )
    cell.build((None, INPUTS))
    cell.kernel.assign(kernel)
    cell.bias.assign(bias)
    return cell


def units_of(cell):
    """The units that the cell's integers are for, and its weights."""
    weights, bias = (np.asarray(value).astype(int) for value in cell.integers())
    shifts = {"shift": np.array(cell.shift), "current_shift": cell.current_shift}
    return lava_export.SRC(**cell.constants, **shifts, bias=bias), weights


shares = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {
            "alpha": shares,
            "rho": st.floats(0.01, 7.9),
            "r": st.floats(-8, 7.9),
            "r_s": st.floats(-8, 7.9),
            "z": shares,
            "z_hyp": shares,
            "z_dep": shares,
            "lagging_gate": st.booleans(),
        }
    ),
    graded=st.booleans(),
    shift=st.integers(-15, 15),
    current_shift=st.integers(0, 11),
    seed=st.integers(0, 1000),
)
def test_a_step_is_that_of_the_units(options, graded, shift, current_shift, seed):
    """Whatever its states are, at their limits too."""
    generator = np.random.default_rng(seed)
    cell = cell_of(
        options, np.zeros((INPUTS, UNITS)), np.zeros(UNITS), 1 / 256 if graded else 1.0, shift,
        current_shift,
    )  # fmt: skip
    cell.kernel.assign(generator.uniform(-300, 300, (INPUTS, UNITS)) / cell.scale[0])
    cell.bias.assign(generator.choice([-4.0, -6.0, -70.0, 0.0, 8.0], UNITS))
    units, weights = units_of(cell)
    messages = generator.integers(0, 256 if graded else 2, (BATCH, INPUTS))
    shape = (BATCH, UNITS)
    state = {
        "i": np.where(
            generator.random(shape) < 0.3,
            generator.choice([-LIMIT, LIMIT], shape),
            generator.integers(-LIMIT, LIMIT + 1, shape),
        ),
        "h": generator.integers(-ONE, ONE + 1, shape),
        "h_s": generator.integers(-ONE, ONE + 1, shape),
    }
    inputs = (messages * cell.input_scale).astype(np.float32)
    held = [tf.constant(value, tf.float32) for value in state.values()]
    output, after, _ = cell.step(inputs, held)
    expected, _, _ = units.dynamics()(state, (messages @ weights).astype(np.int32))
    np.testing.assert_array_equal(output * 256, expected)
    for name, value in zip(state, after, strict=True):
        np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bypass_relu": False},
        {"detach_h": False, "detach_h_s": False},
        {"detach_h": False, "z": 0.3, "lagging_gate": True},
    ],
)
def test_gradients_are_those_of_the_cell(options):
    """Of a step from the same states, with the weights that the integers stand for."""
    generator = np.random.default_rng(0)
    kernel = generator.normal(0, 1.5, (INPUTS, UNITS))
    bias = generator.uniform(-6, -4, UNITS)
    quantized = cell_of(options, kernel, bias)
    quantized.kernel.assign(np.asarray(quantized.integers().weights) / quantized.scale)
    original = SRCCell(UNITS, **options)
    original.build((None, INPUTS))
    original.set_weights(quantized.get_weights())
    inputs = tf.constant(generator.random((64, INPUTS)) < 0.5, tf.float32)
    floats = [
        tf.constant(generator.uniform(low, high, (64, UNITS)), tf.float32)
        for low, high in ((0, 6), (-1, 1), (-1, 1))
    ]
    units = (quantized.integrator_unit, ONE, ONE)
    chosen = [tf.constant(generator.normal(size=(64, UNITS)), tf.float32) for _ in range(4)]

    def gradients(cell, states, units):
        held = [tf.round(unit * state) for unit, state in zip(units, states, strict=True)]
        held = held if cell is quantized else states
        with tf.GradientTape() as tape:
            tape.watch([inputs, *held])
            output, after, _ = cell.step(inputs, held)
            in_floats = [s / u for s, u in zip(after, units, strict=True)]
            total = sum(
                tf.reduce_sum(c * value)
                for c, value in zip(chosen, [output, *in_floats], strict=True)
            )
        sources = [inputs, *held, cell.kernel.value, cell.bias.value]
        found = tape.gradient(total, sources, unconnected_gradients="zero")
        return [
            np.asarray(gradient) * unit
            for gradient, unit in zip(found, (1.0, *units, 1.0, 1.0), strict=True)
        ]

    found = gradients(quantized, floats, units)
    expected = gradients(original, floats, (1.0, 1.0, 1.0))
    names = ("inputs", "i", "h", "h_s", "kernel", "bias")
    for name, a, b in zip(names, found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * max(np.abs(b).max(), 1), err_msg=name)
    detached = [not np.any(gradient) for gradient in found[2:4]]
    assert detached == [original.detach_h, original.detach_h_s]


@pytest.mark.filterwarnings("ignore::lava_export.QuantizationWarning")
class TestStack:
    """Three layers and a readout with fixed weights."""

    STEPS = 30

    def data(self, samples=40, seed=0):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, samples)
        rates = np.where(labels[:, None] == np.arange(2), 0.7, 0.1).repeat(INPUTS // 2, axis=1)
        spikes = generator.random((samples, self.STEPS, INPUTS)) < rates[:, None]
        return spikes.astype("float32"), labels

    @pytest.fixture(scope="class")
    def model(self):
        def layer(units, seed, stddev):
            initializer = keras.initializers.RandomNormal(stddev=stddev, seed=seed)
            return SRC(
                units, bias_initializer=-5.0, kernel_initializer=initializer, return_sequences=True
            )

        return keras.Sequential(
            [
                keras.Input((self.STEPS, INPUTS)),
                *(layer(12, seed, 1.0) for seed in range(2)),
                layer(4, 2, 1.0),
                LeakyReadout(2),
            ]
        )

    @pytest.fixture(scope="class")
    def trained(self, model):
        aware = lava_export.quantization_aware(model, self.data()[0])
        aware.compile(
            keras.optimizers.Adam(0.02),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        x, y = self.data(64, seed=3)
        losses = aware.fit(x, y, epochs=15, batch_size=64, verbose=0).history["loss"]
        return aware, losses

    def test_it_learns(self, trained):
        aware, losses = trained
        assert losses[-1] < 0.7 * losses[0]

    def test_no_output_changes_on_export(self, model, trained):
        aware, _ = trained
        x, y = self.data(60, seed=7)
        network = lava_export.export(aware, self.data()[0])
        report = lava_export.verify(aware, network, x, y, modes=())
        assert report.float_stage.mismatches == [0, 0, 0]
        for floats, integers in report.float_stage.pulses:
            assert floats == integers > 20
        np.testing.assert_array_equal(network.predict(x), np.argmax(aware(x), axis=-1))

        plain = lava_export.export(model, self.data()[0])
        report = lava_export.verify(model, plain, x, y, modes=())
        assert min(report.float_stage.mismatches) > 20

    def test_its_outputs_are_the_same_in_batches_of_any_size(self, trained):
        """No sum depends on the order in which a product of matrices adds up."""
        aware, _ = trained
        inside = keras.Model(aware.inputs[0], [layer.output for layer in aware.layers[:3]])
        x = self.data(21, seed=8)[0]
        for whole, parts in zip(
            *(inside.predict(x, batch_size=size, verbose=0) for size in (21, 3)), strict=True
        ):
            np.testing.assert_array_equal(whole, parts)
