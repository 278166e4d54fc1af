"""What inputs could do to 24 bits: told before it happens, and counted when it does."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import KINDS, networks

import lava_export
from keras_spiking_rnn import LIF as KerasLIF
from keras_spiking_rnn import (
    LIFLSTM,
    RLIF,
    SRC,
    GatedLIF,
    PoissonEncoder,
    SpikingLSTM,
    TimeSum,
)
from lava_export import (
    LIF,
    Conv,
    CurrentLIF,
    Dense,
    Network,
    QuantizationWarning,
    overflow,
    reference,
)
from lava_export import GatedLIF as GatedUnits
from lava_export import SpikingLSTM as LSTMUnits
from lava_export.overflow import STATE_MAX, worst_case

FULL = np.full((2, 300), 254)


def sizes(lif, current):
    """The largest current and membrane of LIF units in exact integers: no wrap, no saturation."""
    u = v = largest = 0
    for a in current:
        u = (u * (4095 - lif.du)) // 4096 + 64 * a
        v = int(v * (4096 - lif.dv) / 4096) + u
        largest = max(largest, abs(u), abs(v))
        v = 0 if v > 64 * lif.vth else v
    return largest


class TestWorstCase:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def test_what_is_safe_does_not_overflow(self, kind, data):
        pairs, spikes = data.draw(networks((kind,), most_layers=1))
        synapses, units = pairs[0]
        generator = np.random.default_rng(data.draw(st.integers(0, 99)))
        steps = spikes.shape[1]
        weights = synapses.weights.reshape(len(synapses.weights), -1)
        if isinstance(synapses, Dense):  # the inputs that are worst for a line
            row = weights[generator.integers(len(weights))]
            spikes[0] = row > 0
            spikes[-1, : steps // 2], spikes[-1, steps // 2 :] = row < 0, row > 0
        result = reference.simulate_layer(synapses, units, spikes)
        worst = worst_case(synapses, units, steps, horizon=1)
        if worst.headroom > 1 + 1e-6:
            assert (result.wraps, result.saturations) == ([0], [0])
            assert worst.safe_steps is None or worst.safe_steps >= steps
        else:
            assert worst.safe_steps < steps

    @pytest.mark.parametrize("dv", [0, 40, 410])
    def test_inhibition_adds_up_to_it(self, dv):
        synapses, units = Dense([[100, -254]], 5), LIF(dv=dv, vth=3000)
        for steps in (1, 5, 14, 15, 16, 17, 40, 100):
            worst = worst_case(synapses, units, steps)
            reached = max(sizes(units, [-254 << 5] * steps), sizes(units, [100 << 5] * steps))
            assert worst.largest == pytest.approx(reached, rel=1e-4)
            x = np.tile(np.array([[[0, 1]]], np.int8), (1, steps, 1))
            overflows = reference.simulate_layer(synapses, units, x).saturations[0]
            assert (overflows > 0) == (worst.headroom < 1) == (reached > STATE_MAX)
        assert worst.safe_steps == {0: 16, 40: 17, 410: None}[dv]

    def test_excitation_ends_at_the_threshold(self):
        worst = worst_case(Dense([[254]], 3), LIF(dv=0, vth=100_000), 500)
        assert worst.safe_steps is None
        assert worst.largest == 64 * (100_000 + (254 << 3))

    def test_a_long_search_ends(self):
        worst = worst_case(Dense([[1, -2]]), LIF(dv=0), 1)
        assert worst.safe_steps == overflow.HORIZON
        assert worst_case(Dense([[1, -2]]), LIF(dv=0), 4000).safe_steps == 4000

    def test_recurrent_synapses_count_from_the_second_step_on(self):
        back = Dense([[254]], 7)
        for steps, expected in ((1, 64), (2, 64 * (1 + (254 << 7)))):
            units = LIF(dv=4095, vth=0, recurrent=back)
            assert worst_case(Dense([[1]]), units, steps).largest == expected

    def test_the_range_of_messages(self):
        synapses = Dense([[100, -50]] * 4, message_bits=4)
        assert worst_case(synapses, LSTMUnits(), 9).largest == 15 * 150
        assert worst_case(synapses, LSTMUnits(), 9, (0, 15)).largest == 1500
        assert worst_case(synapses, LSTMUnits(), 9, (0, 3)).largest == 300

    @pytest.mark.parametrize("exponent", [-3, 0, 4])
    def test_the_reach_of_synapses(self, exponent):
        generator = np.random.default_rng(3)
        inputs = np.stack(np.meshgrid(*[[0, 1]] * 6), axis=-1).reshape(-1, 6)
        every = [Dense(generator.integers(-256, 256, (5, 6)), exponent)]
        if exponent >= 0:
            weights = generator.integers(-256, 256, (2, 2, 2, 1))
            every.append(Conv(weights, (2, 3, 1), (1, 1), (1, 0, 0, 1), exponent=exponent))
        for synapses in every:
            totals = synapses.product()(inputs)
            low, high = synapses.reach()
            np.testing.assert_array_equal(low, totals.min(axis=0))
            np.testing.assert_array_equal(high, totals.max(axis=0))

    def test_of_a_network(self):
        network = Network([Dense([[254, -254]], 5), LIF(dv=0), Dense([[1]]), LIF(dv=0)])
        first, second = network.worst_cases(30)
        assert first == worst_case(*network.pairs[0], 30) and first.headroom < 1
        assert second.headroom > 1
        for steps in (0, 1.5, True):
            with pytest.raises(ValueError, match="steps must be a positive integer"):
                network.worst_cases(steps)


class TestCounters:
    def test_sums_beyond_32_bits_are_counted(self):
        synapses = Dense(FULL, 7, message_bits=8)
        units = GatedUnits(keep_v=4096, threshold=1, height=1)
        x = np.full((1, 2, 300), 255, np.int32)
        assert synapses.product()(x).tolist() != synapses.product(np.int64)(x).tolist()
        assert reference.simulate_layer(synapses, units, x).wraps == [4]
        assert reference.simulate_layer(synapses, units, 0 * x).wraps == [0]

    def test_so_are_those_with_what_recurrent_synapses_bring(self):
        """The first step brings 2 130 673 920 of 2**31, the second one 24 870 912 more."""
        synapses = Dense([[254]] * 3, 7, message_bits=16)
        recurrent = Dense([[254, 254, 254]] * 3, 7, 8, 8)
        units = CurrentLIF(bits=8, height=1, threshold=1, recurrent=recurrent)
        x = np.full((1, 2, 1), 65535, np.int32)
        assert reference.simulate_layer(synapses, units, x).wraps == [3]
        assert reference.simulate_layer(synapses, units, x[:, :1]).wraps == [0]

    def test_a_current_of_lava_beyond_32_bits(self):
        with pytest.warns(QuantizationWarning, match="'layer_0': inputs could overflow"):
            network = Network([Dense(np.full((2, 5000), 254), 7), LIF(dv=410, vth=100)])
        x = np.ones((1, 3, 5000), np.int8)
        assert network.simulate(x).wraps == [6]
        assert network.simulate(0 * x).wraps == [0]

    @pytest.mark.parametrize("shift", [-15, -9, 0, 15])
    @pytest.mark.parametrize("kind", [CurrentLIF, GatedUnits, LSTMUnits])
    def test_weighted_inputs_saturate_before_their_shift(self, kind, shift):
        synapses = Dense(np.full((kind.ports, 300), 254), 7)  # 9 753 600
        units = (
            kind()
            if kind is LSTMUnits
            else kind(shift=shift, threshold=STATE_MAX, height=STATE_MAX)
        )
        x = np.ones((1, 1, 300), np.int8)
        result = reference.simulate_layer(synapses, units, x)
        assert result.saturations[0] > 0 and result.wraps == [0]
        if kind is CurrentLIF:
            assert result.final[0]["i"] == min(STATE_MAX, int(STATE_MAX * 2.0**shift))

    def test_a_threshold_of_24_bits_holds_against_any_sum(self):
        units = LSTMUnits(threshold=[-9, STATE_MAX, -9, -9])
        x = np.ones((1, 2, 300), np.int8)
        result = reference.simulate_layer(Dense(np.full((4, 300), 254), 7), units, x)
        assert result.spikes.ravel().tolist() == [1, 1]
        shut = LSTMUnits(threshold=[STATE_MAX, -9, -9, -9])
        assert not reference.simulate_layer(Dense(np.full((4, 300), 254), 7), shut, x).spikes.any()


def sparse(rate, steps, inputs, seed=0, samples=8):
    return (np.random.default_rng(seed).random((samples, steps, inputs)) < rate).astype("float32")


def rlif(scale=1.0, leak=1.0, threshold=254.0, inputs=40):
    """Even weights, the first half of them excitatory."""
    generator = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.Input((None, inputs)),
            RLIF(6, leak_initializer=leak, threshold=threshold, return_sequences=True, name="r"),
            TimeSum(),
        ]
    )
    weights = 2 * generator.integers(0, 128, (inputs, 6))
    weights[inputs // 2 :] *= -1
    weights[0] = 254
    model.layers[0].cell.kernel.assign(scale * weights)
    return model


def inhibited(steps, inputs=40):
    """The inhibitory half is on for three quarters of the time, then the excitatory one."""
    x = np.zeros((1, steps, inputs), "float32")
    x[:, : 3 * steps // 4, inputs // 2 :] = 1
    x[:, 3 * steps // 4 :, : inputs // 2] = 1
    return x


class TestExport:
    def test_inhibition_without_a_leak_is_warned_of_with_the_step(self):
        model, x = rlif(), sparse(0.02, 200, 40)
        with pytest.warns(
            QuantizationWarning, match="'r': .* from step .* the worst case"
        ) as found:
            network = lava_export.export(model, x)
        assert len(found) == 1
        record = network.quantization.layers[0]
        worst = network.worst_cases(200)[0]
        assert (record.headroom, record.safe_steps) == (worst.headroom, worst.safe_steps)
        assert f"from step {worst.safe_steps + 1} on" in str(found[0].message)
        assert network.simulate(inhibited(200)).saturations[0] > 0

    def test_not_in_as_few_steps_as_are_safe(self):
        model = rlif()
        with warnings.catch_warnings():
            warnings.simplefilter("error", QuantizationWarning)
            network = lava_export.export(model, sparse(0.3, 30, 40))
        record = network.quantization.layers[0]
        assert record.headroom >= 1 and 30 <= record.safe_steps < 60
        steps = record.safe_steps
        assert network.simulate(inhibited(steps)).saturations == [0]
        assert network.run(inhibited(steps)).sum() == model(inhibited(steps)).numpy().sum()

    def test_weights_take_less_exponent_rather_than_overflow(self):
        """The exponent that fits the data would overflow: a smaller one does as well."""
        x = sparse(0.2, 25, 40)
        model = rlif(1 / 200, 0.9, 1.0)
        network = lava_export.export(model, x)
        record = network.quantization.layers[0]
        assert record.headroom >= 0.99
        assert record.mismatches <= 0.02 * record.float_spikes

    @pytest.mark.filterwarnings("error::lava_export.QuantizationWarning")
    def test_typical_layers_are_not_warned_of(self):
        keras.utils.set_random_seed(0)
        options = {"return_sequences": True}
        layers = [RLIF(64, leak_initializer=0.95, **options), RLIF(32, **options)]
        model = keras.Sequential([keras.Input((784,)), PoissonEncoder(20), *layers, TimeSum()])
        network = lava_export.export(model, np.random.default_rng(0).random((16, 784)) ** 4)
        assert all(layer.headroom >= 1 for layer in network.quantization.layers)

    def test_training_in_integers_is_warned_of_as_well(self):
        x = sparse(0.02, 200, 40)
        with pytest.warns(QuantizationWarning, match="'r': .*could overflow"):
            aware = lava_export.quantization_aware(rlif(), x)
        with pytest.warns(QuantizationWarning, match="'r': .*could overflow"):
            network = lava_export.export(aware, x)
        assert network.quantization.layers[0].headroom < 1

    @pytest.mark.parametrize("layer", [RLIF, SpikingLSTM, KerasLIF, GatedLIF, LIFLSTM, SRC])
    def test_every_layer_tells_its_headroom(self, layer):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((20, 12)), layer(5, return_sequences=True), TimeSum()]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QuantizationWarning)
            network = lava_export.export(model, sparse(0.3, 20, 12))
        record, worst = network.quantization.layers[0], network.worst_cases(20)[0]
        assert (record.headroom, record.safe_steps) == (worst.headroom, worst.safe_steps)


class TestNetworksByHand:
    def test_one_warning_for_each_layer_at_the_line_that_made_it(self):
        layers = [Dense(FULL, 7), LIF(), Dense([[2, 2]]), LIF()]
        with pytest.warns(
            QuantizationWarning, match="'in': .* in any step: .* 74.4 times"
        ) as found:
            Network(layers, names=("in", "out"))
        assert len(found) == 1 and found[0].filename == __file__

    @pytest.mark.filterwarnings("error::lava_export.QuantizationWarning")
    def test_none_where_it_takes_many_steps(self):
        assert Network([Dense(-FULL), LIF(dv=0)]).worst_cases(500)[0].headroom < 1


class TestCheck:
    def test_exact_layers_tell_for_how_many_steps(self):
        model = rlif()
        layer = lava_export.check(model, sparse(0.3, 30, 40)).layers[0]
        assert layer.exact and 30 <= layer.exact_steps < 60 and not layer.losses + layer.advice
        x = inhibited(layer.exact_steps)
        network = lava_export.export(model, sparse(0.3, 30, 40))
        assert network.run(x).sum() == model(x).numpy().sum()

    def test_not_exact_in_more_steps(self):
        layer = lava_export.check(rlif(), sparse(0.3, 200, 40)).layers[0]
        assert layer.exact is False and layer.exact_steps is None
        assert layer.losses[-1].startswith("some inputs overflow 24 bits, from step ")
        assert "the worst case" in layer.advice[0]

    def test_without_inhibition_in_any_number(self):
        model = rlif()
        kernel = model.layers[0].cell.kernel
        kernel.assign(np.abs(kernel))
        layer = lava_export.check(model, sparse(0.1, 30, 40)).layers[0]
        assert layer.exact and layer.exact_steps is None

    def test_a_soft_reset_that_overflows_is_not_exact(self):
        model = keras.Sequential(
            [keras.Input((None, 40)), KerasLIF(6, return_sequences=True), TimeSum()]
        )
        cell = model.layers[0].cell
        cell.kernel.assign(2 * np.random.default_rng(0).integers(-127, 128, (40, 6)) / 64)
        for decay in (cell.current_decay, cell.membrane_decay):
            decay.assign(np.ones(decay.shape))
        layer = lava_export.check(model, sparse(0.02, 200, 40)).layers[0]
        assert layer.quantization["headroom"] < 1 and layer.exact is False
