"""Quantization-aware training: Keras computes the integers that are exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lava_export
from keras_spiking_rnn import LIF, RLIF, SRC, GatedLIF, RLIFCell, SpikingLSTM, TimeSum
from lava_export import ConversionError
from lava_export.training.layer import QuantizedRNN

STEPS, INPUTS, CLASSES = 10, 10, 4


def random(stddev=1.0, seed=0):
    return keras.initializers.RandomNormal(stddev=stddev, seed=seed)


def rlif(units, **options):
    defaults = {
        "threshold": list(np.random.default_rng(units).uniform(0.3, 1.0, units)),
        "reset": list(np.random.default_rng(units).uniform(-0.4, 0.1, units)),
        "leak_initializer": keras.initializers.RandomUniform(0.2, 1.0, seed=1),
        "kernel_initializer": random(0.5),
        "bias_initializer": random(0.1, 2),
        "membrane_bias_initializer": random(0.1, 3),
    }
    return RLIF(units, return_sequences=True, **{**defaults, **options})


def spiking_lstm(units, **options):
    initializers = {
        f"{name}_initializer": random(1.0, seed)
        for seed, name in enumerate(("kernel", "recurrent", "bias"))
    }
    return SpikingLSTM(units, return_sequences=True, **{**initializers, **options})


def gated_lif(units, **options):
    defaults = {
        "bits": None,
        "threshold": 0.5,
        "initial_v_max": 2.0,
        "use_bias": True,
        "kernel_initializer": random(0.5),
        "bias_initializer": random(0.5, 2),
        "membrane_decay_initializer": keras.initializers.RandomUniform(0.5, 1.0, seed=1),
    }
    return GatedLIF(units, return_sequences=True, **{**defaults, **options})


def lif(units, **options):
    defaults = {
        "threshold": list(np.random.default_rng(units).uniform(0.3, 1.0, units)),
        "use_bias": True,
        "learn_current_decay": True,
        "learn_membrane_decay": True,
        "kernel_initializer": random(0.3),
        "bias_initializer": random(0.1, 2),
        "current_decay_initializer": keras.initializers.RandomUniform(0.3, 0.9, seed=1),
        "membrane_decay_initializer": keras.initializers.RandomUniform(0.5, 1.0, seed=1),
    }
    return LIF(units, return_sequences=True, **{**defaults, **options})


def src(units, **options):
    defaults = {"bias_initializer": -4.5, "z_hyp": 0.5, "kernel_initializer": random(1.0)}
    return SRC(units, return_sequences=True, **{**defaults, **options})


LAYERS = {
    "RLIF": rlif,
    "RLIF without biases": lambda units: rlif(units, use_bias=False, use_membrane_bias=False),
    "RLIF with large biases": lambda units: rlif(units, bias_initializer=random(8.0, 4)),
    "RLIF with a small threshold": lambda units: rlif(units, threshold=1e-3, reset=0.0),
    "SpikingLSTM": spiking_lstm,
    "SpikingLSTM with thresholds": lambda units: spiking_lstm(
        units, gate_threshold=0.7, candidate_threshold=-0.4, use_bias=False
    ),
    "GatedLIF": gated_lif,
    "GatedLIF v2": lambda units: gated_lif(
        units, recurrent_gates=True, gate_activation="plan_sigmoid", use_bias=False
    ),
    "GatedLIF with graded outputs": lambda units: gated_lif(units, bits=6, recurrent_gates=True),
    "GatedLIF with signed outputs": lambda units: gated_lif(
        units, bits=4, signed=True, threshold_ratio=2
    ),
    "GatedLIF with one bit": lambda units: gated_lif(units, bits=1, threshold_ratio=1),
    "LIF": lif,
    "LIF without bias": lambda units: lif(units, use_bias=False, learn_current_decay=False),
    "LIF with graded outputs": lambda units: lif(units, bits=6, initial_v_max=2.0),
    "LIF with signed outputs": lambda units: lif(
        units, bits=4, signed=True, threshold_ratio=2, initial_v_max=2.0
    ),
    "SRC": src,
    "SRC with a lagging gate": lambda units: src(units, lagging_gate=True, z=0.2, z_dep=0.3),
    "SRC with all gradients": lambda units: src(
        units, detach_h=False, detach_h_s=False, alpha=0.97, rho=2.0, r_s=-5.0
    ),
}


COMPILED = ("RLIF", "SpikingLSTM", "GatedLIF", "LIF", "SRC")  # those trained in a graph


@pytest.fixture
def model():
    """Layers of two kinds, one after the other."""
    return model_of(rlif(12), spiking_lstm(8))


def model_of(*layers):
    inputs = keras.Input((STEPS, INPUTS))
    outputs = inputs
    for layer in (*layers, TimeSum(), keras.layers.Dense(CLASSES)):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def data(samples=40, seed=0):
    generator = np.random.default_rng(seed)
    x = (generator.random((samples, STEPS, INPUTS)) < 0.4).astype("float32")
    return x, (x.sum(axis=(1, 2)) > 0.4 * STEPS * INPUTS).astype("int32")


def spikes_of(model, x):
    """The outputs of each spiking layer."""
    spiking = [layer.output for layer in model.layers if isinstance(layer, keras.layers.RNN)]
    return keras.tree.flatten(keras.Model(model.inputs[0], spiking)(x))


def assert_exports_exactly(aware, x):
    """Keras' spikes are those of the exported integers, on data that nothing was chosen by."""
    network = lava_export.export(aware, calibration=data()[0])
    spikes, states = network.run(x, record="spikes")
    layers = [layer for layer in aware.layers if isinstance(layer, keras.layers.RNN)]
    for layer, outputs, integer in zip(layers, spikes_of(aware, x), states["spikes"], strict=True):
        unit = getattr(layer.cell, "output_scale", 1.0)  # of a graded output
        np.testing.assert_array_equal(np.rint(np.asarray(outputs) / unit), integer)
        assert 0.02 < (integer != 0).mean() < 0.98
    assert all(layer.mismatches == 0 for layer in network.quantization.layers)
    return network


def trained(aware, run_eagerly=True, **options):
    """The losses; few steps, which need no compilation, a matter of seconds."""
    aware.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=run_eagerly,
        **options,
    )
    x, y = data(64, seed=3)
    return aware.fit(x, y, epochs=3, batch_size=64, verbose=0).history["loss"]


class TestExactness:
    @pytest.mark.parametrize("kind", LAYERS)
    def test_before_and_after_training(self, kind):
        model = model_of(LAYERS[kind](12))
        aware = lava_export.quantization_aware(model, data()[0])
        before = assert_exports_exactly(aware, data(30, seed=1)[0])
        plain = lava_export.export(model, calibration=data()[0])
        agreement = before.run(data()[0]) == plain.run(data()[0])
        assert agreement.mean() > 0.95  # the same scales
        losses = trained(aware, run_eagerly=kind not in COMPILED)
        after = assert_exports_exactly(aware, data(30, seed=2)[0])
        assert after != before
        assert losses[-1] < losses[0]

    def test_compiled_by_xla(self, model):
        aware = lava_export.quantization_aware(model, data()[0])
        x = tf.constant(data(30, seed=1)[0])
        expected = aware(x)
        compiled = tf.function(lambda x: aware(x), jit_compile=True)(x)
        np.testing.assert_allclose(compiled, expected, rtol=1e-5)
        losses = trained(aware, run_eagerly=False, jit_compile=True)
        assert losses[-1] < losses[0]
        assert_exports_exactly(aware, data(30, seed=2)[0])

    def test_a_file_holds_it(self, model, tmp_path):
        aware = lava_export.quantization_aware(model, data()[0])
        trained(aware)
        aware.save(tmp_path / "aware.keras")
        loaded = keras.saving.load_model(tmp_path / "aware.keras")
        x = data(30, seed=1)[0]
        for a, b in zip(spikes_of(loaded, x), spikes_of(aware, x), strict=True):
            np.testing.assert_array_equal(a, b)
        assert lava_export.export(loaded, data()[0]) == lava_export.export(aware, data()[0])

    def test_verify_finds_no_difference(self, model):
        aware = lava_export.quantization_aware(model, data()[0])
        network = lava_export.export(aware, data()[0])
        report = lava_export.verify(aware, network, *data(30, seed=1), modes=())
        assert sum(report.float_stage.mismatches) == 0
        assert report.float_stage.float_accuracy == report.float_stage.integer_accuracy
        assert "agree on every spike" in str(report)


class TestModel:
    def test_it_has_the_weights_and_the_layers_of_the_model(self, model):
        aware = lava_export.quantization_aware(model, data()[0])
        for a, b in zip(aware.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.Layer)]
        assert [layer.name for layer in aware.layers if layer.name in names] == names
        assert aware.name == f"{model.name}_quantized"

    def test_the_model_stays_as_it_is(self, model):
        before = model.get_weights()
        trained(lava_export.quantization_aware(model, data()[0]))
        for a, b in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_gradients_are_near_those_of_the_float_model(self):
        """With many bits of difference between threshold and noise, rounding changes little."""
        model = model_of(rlif(12))
        aware = lava_export.quantization_aware(model, data()[0])
        x, y = data(64, seed=5)
        cosines = []
        for weights in zip(
            *(gradients(m, x, y) for m in (model, aware)),
            strict=True,
        ):
            a, b = (np.ravel(w) for w in weights)
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert min(cosines) > 0.9, cosines

    def test_stacked_cells_become_layers(self):
        stacked = keras.layers.RNN(
            [RLIFCell(6, kernel_initializer=random(0.8)) for _ in range(2)],
            return_sequences=True,
            name="stack",
        )
        aware = lava_export.quantization_aware(model_of(stacked), data()[0])
        names = [layer.name for layer in aware.layers if isinstance(layer, QuantizedRNN)]
        assert names == ["stack_0", "stack_1"]
        assert_exports_exactly(aware, data(30, seed=1)[0])

    def test_graded_outputs_from_layer_to_layer(self):
        graded = {"bits": 5, "recurrent_gates": True}
        model = model_of(gated_lif(12, **graded), gated_lif(8, **graded))
        aware = lava_export.quantization_aware(model, data()[0])
        assert_exports_exactly(aware, data(30, seed=1)[0])
        trained(aware)
        assert_exports_exactly(aware, data(30, seed=2)[0])

    def test_pulses_to_another_kind_of_layer(self):
        model = model_of(src(12), lif(8, bits=4, initial_v_max=2.0, kernel_initializer=random(1.0)))
        aware = lava_export.quantization_aware(model, data()[0])
        assert_exports_exactly(aware, data(30, seed=1)[0])

    @pytest.mark.filterwarnings("ignore::lava_export.QuantizationWarning")
    def test_sums_beyond_24_bits(self):
        """Graded inputs of many lines: float32 does not hold their sums."""
        model = model_of(
            gated_lif(700, bits=8, threshold_ratio=1), gated_lif(6, bits=8, threshold_ratio=1)
        )
        generator = np.random.default_rng(0)
        first, second = (layer.cell for layer in model.layers[1:3])
        candidates = 20 * np.abs(generator.normal(0, 0.3, (INPUTS, 700)))
        first.kernel.assign(np.concatenate([0 * candidates, candidates], axis=1))
        second.kernel.assign(1e-3 * generator.uniform(-0.1, 1, second.kernel.shape))
        x = data()[0]
        aware = lava_export.quantization_aware(model, x)
        network = lava_export.export(aware, x)
        messages = network.run(x, record="spikes")[1]["spikes"][0]
        assert np.abs(network.layers[2].product()(messages)).max() > 1 << 24
        assert network.simulate(x).saturations[1] > 0
        assert [layer.mismatches for layer in network.quantization.layers] == [0, 0]

    def test_noise_and_dropout_are_left_out(self):
        model = model_of(rlif(8, noise_stddev=0.5, dropout=0.5))
        aware = lava_export.quantization_aware(model, data()[0])
        x = data(10)[0]
        np.testing.assert_array_equal(aware(x, training=True), aware(x, training=False))

    def test_return_sequences(self):
        model = keras.Sequential([keras.Input((STEPS, INPUTS)), rlif(8), spiking_lstm(4)])
        model.layers[-1].return_sequences = False
        aware = lava_export.quantization_aware(model, data()[0])
        assert aware(data(5)[0]).shape == (5, 4)


def gradients(model, x, y):
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
    return tape.gradient(loss, [w.value for w in model.trainable_weights])


class TestMixedPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_spiking_layers_stay_exact(self, policy):
        before = keras.mixed_precision.dtype_policy()
        keras.mixed_precision.set_dtype_policy(policy)
        try:
            model = model_of(
                rlif(8), gated_lif(8, bits=8), keras.layers.Dropout(0.1), gated_lif(6, bits=4)
            )
            aware = lava_export.quantization_aware(model, data()[0])
        finally:
            keras.mixed_precision.set_dtype_policy(before)
        assert [layer.compute_dtype for layer in aware.layers[::4]] == ["float32", policy[6:]]
        assert_exports_exactly(aware, data(30, seed=1)[0])


class TestErrors:
    def test_no_calibration_data(self):
        with pytest.raises(ValueError, match=r"pass calibration=x_train\[:256\]; the scale of ea"):
            lava_export.quantization_aware(model_of(rlif(8)))

    def test_a_model_that_is_in_integers(self):
        aware = lava_export.quantization_aware(model_of(rlif(8)), data()[0])
        with pytest.raises(ConversionError, match="is already in integers"):
            lava_export.quantization_aware(aware, data()[0])

    @pytest.mark.parametrize("layer", [rlif, lif, gated_lif])
    def test_groups_of_leaks_that_were_trained(self, layer):
        x = data()[0]
        aware = lava_export.quantization_aware(model_of(layer(8)), x)
        with pytest.raises(ConversionError, match=r"8 different leaks.* leave out leak_groups=2"):
            lava_export.export(aware, x, leak_groups=2)
        assert "leave out leak_groups=2" in lava_export.check(aware, x, leak_groups=2).errors[0]
        lava_export.export(aware, x, leak_groups=8)

    def test_other_dtypes(self):
        model = model_of(rlif(8, dtype="float64"))
        with pytest.raises(ConversionError, match="weights in float64, but training in integers"):
            lava_export.quantization_aware(model, data()[0])

    def test_graded_inputs_of_other_layers(self):
        model = model_of(gated_lif(8, bits=4), rlif(8))
        with pytest.raises(ConversionError, match="gets the graded outputs of 'gated_lif"):
            lava_export.quantization_aware(model, data()[0])

    def test_batch_normalization(self):
        model = model_of(gated_lif(8, use_bias=False, batch_normalization=True))
        with pytest.raises(ConversionError, match="batch normalisation becomes part of the weig"):
            lava_export.quantization_aware(model, data()[0])

    def test_what_cannot_be_exported(self):
        model = model_of(keras.layers.Bidirectional(rlif(8)))
        with pytest.raises(ConversionError, match="bidirectional"):
            lava_export.quantization_aware(model, data()[0])
