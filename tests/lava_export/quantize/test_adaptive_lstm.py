"""Converted adaptive LSTMs to integers: what is exact, what is lost, and what is refused."""

import copy
import functools

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import AAN, AdaptiveAnalogLSTM
from keras_spiking_rnn.adaptive_lstm import AdaptiveSpikingNeuron, convert, fit_aan
from lava_export import AdaptiveLSTM, AdaptiveNeurons, ConversionError, reference
from lava_export import adaptive_lstm as reading
from lava_export.quantize.adaptive_lstm import input_grid

NEURONS = {
    "paper": AdaptiveSpikingNeuron(stochastic=False),
    "relative": AdaptiveSpikingNeuron(
        stochastic=False, condition="half_threshold", adaptation="relative"
    ),
    "published code": AdaptiveSpikingNeuron(
        stochastic=False,
        condition="half_threshold",
        tau_gamma=15e-3,
        tau_eta=50e-3,
        tau_beta=50e-3,
        theta_0=0.1,
        m_f=0.1,
    ),
}
WINDOW = 50e-3


@functools.cache
def model_of(name, **memory):
    """Neurons and LSTMs side by side, a second layer of neurons, and linear layers around it."""
    activation = fit_aan(NEURONS[name]).activation
    inputs = keras.Input((None, 3))
    hidden = keras.layers.Dense(5, activation=activation, name="hidden")(inputs)
    memories = AdaptiveAnalogLSTM(
        4, activation=activation, return_sequences=True, name="memory", **memory
    )(inputs)
    features = keras.layers.Concatenate(name="features")([hidden, memories])
    features = keras.layers.Dense(7, name="mixed")(features)
    second = keras.layers.Dense(6, activation=activation, name="second")(features)
    model = keras.Model(inputs, keras.layers.Dense(2, name="output")(second))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0.3, 0.7, w.shape) for w in model.get_weights()])
    return model


@functools.cache
def network_of(name):
    return convert(model_of(name, normalize_at=1.0), NEURONS[name], WINDOW, cec_weight="exact")


def inputs(samples, seed=1, steps=6):
    return np.random.default_rng(seed).uniform(0, 1, (samples, steps, 3)).astype("float32")


@functools.cache
def exported(name):
    return lava_export.export(network_of(name), calibration=inputs(16))


class TestFloat:
    @pytest.mark.parametrize("name", NEURONS)
    def test_it_is_what_the_library_computes(self, name):
        network, x = network_of(name), inputs(30)
        response = network(x)
        description = reading.describe(network)
        first, second = (layer.name for layer in description.spiking)
        assert (first, second) == ("hidden+memory", "second")
        traced = description.trace(0, description.inputs(x))
        expected = [response.spikes[p] for p in ("hidden/neurons", "memory/output_cell")]
        np.testing.assert_array_equal(traced["spikes"], np.concatenate(expected, axis=-1))
        assert all(spikes.any() for spikes in expected)
        cec = response.final_cec()["memory"][:, -1]
        np.testing.assert_allclose(traced["cec"][:, 5:], cec, rtol=1e-5)
        traced = description.trace(1, traced["spikes"])
        np.testing.assert_array_equal(traced["spikes"], response.spikes["second/neurons"])
        scores = traced["spikes"]
        for operation in description.head:
            scores = operation(scores)
        np.testing.assert_allclose(scores, response.averages()[:, -1], rtol=1e-4, atol=1e-5)

    def test_the_end_of_the_window(self):
        network, x = network_of("paper"), inputs(30)
        (*_, last), response = reading.describe(network).spiking, network(x)
        assert last.units == 6
        head = reading.describe(network, last=20e-3).head
        scores = response.spikes["second/neurons"]
        for operation in head:
            scores = operation(scores)
        expected = response.averages(20e-3)[:, -1]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(expected - response.averages()[:, -1]).max() > 0.01


class TestIntegers:
    @pytest.mark.parametrize("name", NEURONS)
    def test_decoded_outputs_on_unseen_data(self, name):
        network, integers = network_of(name), exported(name)
        assert [type(units) for units in integers.layers[1::2]] == [AdaptiveLSTM, AdaptiveNeurons]
        x = inputs(30, seed=2)
        wanted = network(x).averages()[:, -1]
        decoded = integers.decode(integers.run(integers.encode(x)))
        # A spike that comes a step later changes nothing but what a window of 50 steps shows.
        assert np.sqrt(np.mean((decoded - wanted) ** 2)) < 0.04 * np.sqrt(np.mean(wanted**2))
        assert wanted.std() > 0.1
        simulation = integers.simulate(integers.encode(x))
        assert simulation.saturations == [0, 0] and simulation.wraps == [0, 0]

    def test_registers_are_the_neurons_numbers(self):
        units = exported("relative").layers[1]
        assert units.keep_star == units.keep_estimate == units.keep_adaptation == 3706
        assert (units.keep_signal, units.rise, units.half) == (2746, 2458, 1)
        assert units.keep_current == 0 and exported("relative").layers[3].keep_current == 3706
        np.testing.assert_array_equal(units.memory, [0] * 5 + [1] * 4)
        # Enough bits for thresholds at rest and for what comes into the CECs.
        assert units.theta_0.min() > 1000 and units.theta_out.min() > 1000

    @pytest.mark.parametrize("name", ["paper", "relative"])
    def test_no_input_overflows_the_states(self, name):
        """Each input is at its largest or smallest, all over the sequence or by chance."""
        integers = exported(name)
        assert all(record.headroom >= 0.99 for record in integers.quantization.layers)
        levels = integers.encoder[0].levels
        random = np.random.default_rng(3)
        x = levels * random.choice([-1, 1], (40, 300, 3))
        x[:8] = levels * (2 * (np.arange(8)[:, None, None] >> np.arange(3) & 1) - 1)
        first = reference.simulate_layer(*integers.pairs[0], x.astype(np.int32))
        assert first.saturations == [0]
        spikes = random.integers(0, 2, (40, 300, 9), np.int8)
        spikes[:2] = 1
        weights = integers.layers[2].weights
        spikes[2:14] = (np.concatenate([weights > 0, weights < 0]))[:, None]
        assert reference.simulate_layer(*integers.pairs[1], spikes).saturations == [0]

    def test_weights_on_a_lattice(self):
        """One-hot inputs and weights that are multiples of one number are exact; decays are not."""
        layer = AdaptiveAnalogLSTM(3, activation=fit_aan(NEURONS["paper"]).activation, name="m")
        layer.build((None, None, 4))
        random = np.random.default_rng(0)
        layer.set_weights([0.125 * random.integers(-5, 20, (4, 6))])
        network = convert(layer, NEURONS["paper"], WINDOW)
        x = np.eye(4)[random.integers(0, 4, (20, 5))]
        integers = lava_export.export(network, calibration=x)
        (record,) = integers.quantization.layers
        assert (record.weight_error, record.clipped_weights) == (pytest.approx(0, abs=1e-9), 0)
        np.testing.assert_array_equal(integers.encoder[0](x), 255 * x)
        assert 0 < record.decoded_error < 0.02

    def test_neurons_that_keep_nothing_are_exact(self):
        """Whose decays are 0: what is left are sums of weights and a threshold."""
        neuron = AdaptiveSpikingNeuron(
            stochastic=False, tau_phi=0, tau_eta=1e-5, tau_gamma=1e-5, tau_beta=1e-5, m_f=0.25
        )
        layer = keras.layers.Dense(20, AAN(), name="d")
        layer.build((None, 6))
        random = np.random.default_rng(0)
        for weight in layer.weights:
            weight.assign(0.125 * random.integers(-5, 6, weight.shape))
        network = convert(layer, neuron, 2e-3, tolerance=9)
        calibration, x = (0.5 * random.integers(-3, 4, (n, 9, 6)) for n in (30, 200))
        integers = lava_export.export(network, calibration=calibration)
        (record,) = integers.quantization.layers
        assert (record.mismatches, record.decoded_error) == (0, 0)
        fired = network(x).spikes["d/neurons"]
        np.testing.assert_array_equal(integers.run(integers.encode(x)), fired)
        assert 0.2 < fired.mean() < 0.8

    def test_the_record_is_measured(self):
        integers, x = exported("paper"), inputs(16)
        records = integers.quantization.layers
        assert all(0 < record.decoded_error < 0.04 for record in records)
        assert all(0 < record.weight_error < 0.01 for record in records)
        assert records[0].leak_error == pytest.approx(abs(2746 / 4096 - np.exp(-0.4)))
        assert f"{records[0].decoded_error:.2%}" in str(integers.quantization)
        fired = integers.run(integers.encode(x), record="spikes")[1]["spikes"][0]
        assert records[0].float_spikes == pytest.approx(fired.sum(), rel=0.02)


class TestInputGrid:
    @pytest.mark.parametrize(
        "values,scale,levels",
        [
            ([0, 1], 1 / 255, 255),
            ([0, 0.5, -1.5], 0.5 / 85, 255),
            ([0.1, 0.2, 0.7], 0.1 / 36, 252),
            ([0, 0], 1.0, 255),
            ([0.1234, 1], 1 / 255, 255),
        ],
    )
    def test_multiples_of_one_number_are_exact(self, values, scale, levels):
        assert input_grid(np.array(values)) == (pytest.approx(scale), levels)

    def test_what_is_beyond_is_clipped(self):
        encode = exported("paper").encode
        largest = np.abs(inputs(16)).max()
        encoded = encode(np.full((1, 1, 3), 5.0) * [1, -1, 0.1])
        assert encoded.shape == (1, 50, 3) and (encoded[0] == encoded[0, 0]).all()
        assert encoded[0, 0].tolist() == [255, -255, round(0.5 / largest * 255)]


class TestExport:
    def test_it_survives_a_file(self, tmp_path):
        integers = exported("paper")
        integers.save(tmp_path / "n.h5")
        loaded = lava_export.load(tmp_path / "n.h5")
        assert loaded == integers
        np.testing.assert_array_equal(loaded.predict(inputs(4)), integers.predict(inputs(4)))

    def test_verify(self):
        network, x = network_of("paper"), inputs(20, seed=4)
        labels = network(x).averages()[:, -1].argmax(axis=-1)
        report = lava_export.verify(network, exported("paper"), x, labels, modes=())
        floats = report.float_stage
        assert floats.float_accuracy == 1 and floats.integer_accuracy >= 0.9
        assert 0 < floats.decoded_error < 0.04
        assert abs(floats.first.margin) < 0.05
        assert "Decoded outputs" in str(report)
        without = lava_export.verify(network, exported("paper"), x, modes=())
        assert without.float_stage.decoded_error == floats.decoded_error

    def test_verify_with_another_network(self):
        other = convert(model_of("paper").get_layer("hidden"), NEURONS["paper"], WINDOW)
        with pytest.raises(ValueError, match="exported from another model"):
            lava_export.verify(other, exported("paper"), inputs(2), modes=())

    def test_a_long_sequence_warns_of_the_worst_case(self, monkeypatch):
        monkeypatch.setattr("lava_export.quantize.adaptive_lstm.CEC_RESOLUTION", 2048)
        layer = AdaptiveAnalogLSTM(2, activation=fit_aan(NEURONS["relative"]).activation, name="m")
        layer.build((None, None, 3))
        network = convert(layer, NEURONS["relative"], WINDOW)
        x = inputs(2, steps=12)
        with pytest.warns(lava_export.QuantizationWarning, match="'m': .* could overflow .* worst"):
            integers = lava_export.export(network, calibration=x)
        assert integers.simulate(integers.encode(x)).saturations == [0]


class TestRefused:
    def check(self, network, message):
        with pytest.raises(ConversionError, match=message):
            lava_export.export(network, calibration=inputs(2))

    def test_stochastic_firing(self):
        network = copy.copy(network_of("paper"))
        network.neuron = AdaptiveSpikingNeuron()
        self.check(network, "fire by chance.*no random.*stochastic=False")

    @pytest.mark.parametrize("gate", ["forget_gate", "output_gate"])
    def test_more_gates(self, gate):
        activation = fit_aan(NEURONS["paper"]).activation
        layer = AdaptiveAnalogLSTM(
            2, activation=activation, use_bias=True, name="m", **{gate: True}
        )
        layer.build((None, None, 3))
        self.check(convert(layer, NEURONS["paper"]), f"'m' has a {gate.replace('_', ' ')}")

    @pytest.mark.parametrize("how", ["Add", "Concatenate"])
    def test_layers_that_are_no_chain(self, how):
        activation = fit_aan(NEURONS["paper"]).activation
        given = keras.Input((None, 3))
        hidden = keras.layers.Dense(3, activation=activation)(given)
        joined = getattr(keras.layers, how)(name="joined")([given, hidden])
        model = keras.Model(given, keras.layers.Dense(2)(joined))
        self.check(convert(model, NEURONS["paper"]), "'joined' joins .* the network's input")

    def test_the_analog_model(self):
        model = keras.Sequential([keras.Input((None, 3)), AdaptiveAnalogLSTM(2)])
        self.check(model, "Export what keras_spiking_rnn.adaptive_lstm.convert makes of the model")
        with pytest.raises(ConversionError, match="a Keras model, got AdaptiveSpikingLSTM"):
            lava_export.quantization_aware(network_of("paper"), calibration=inputs(2))

    def test_no_neurons(self):
        model = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2)])
        self.check(convert(model, NEURONS["paper"]), "no neurons")

    def test_weights_that_are_not_finite(self):
        layer = keras.layers.Dense(2, fit_aan(NEURONS["paper"]).activation, name="d")
        layer.build((None, 3))
        layer.kernel.assign(np.full((3, 2), np.nan))
        self.check(convert(layer, NEURONS["paper"]), "'d': `kernel` holds nan")

    def test_thresholds_that_rise_too_fast(self):
        neuron = AdaptiveSpikingNeuron(stochastic=False, m_f=2.5)
        layer = keras.layers.Dense(2, fit_aan(neuron).activation, name="d")
        layer.build((None, 3))
        self.check(convert(layer, neuron, tolerance=9), r"'d': its rise .*\[0, 8191\].*m_f below")

    def test_data_that_does_not_fit(self):
        with pytest.raises(ValueError, match=r"calibration must have the shape \(batch, None, 3\)"):
            lava_export.export(network_of("paper"), calibration=np.ones((2, 5, 4)))

    def test_last_is_for_converted_networks(self):
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match="last is for the networks of adaptive_lstm.convert"):
            lava_export.export(model, calibration=np.ones((2, 5, 3)), last=0.1)
