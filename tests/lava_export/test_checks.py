"""`check`: all problems at once, and losses that are those of the quantizer."""

import json
import re
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import lava_export
from keras_spiking_rnn import (
    AAN,
    LIF,
    RLIF,
    AdaptiveSpikingNeuron,
    MembraneReadout,
    PoissonEncoder,
    SpikingLSTM,
    TimeSum,
    adaptive_lstm,
)
from lava_export import ConversionError, callbacks, convert

STEPS, INPUTS = 10, 6


def spikes_of(batch=32):
    return np.random.default_rng(0).integers(0, 2, (batch, STEPS, INPUTS)).astype("float32")


def rlif(units=4, **options):
    return RLIF(units, **{"return_sequences": True, "threshold": 0.5, **options})


def sequential(*stack, shape=(STEPS, INPUTS)):
    return keras.Sequential([keras.Input(shape), *stack], name="net")


def lattice():
    """Weights of quarters, no leak: exact in integers."""
    model = sequential(rlif(name="hidden", leak_initializer=1.0, threshold=1.0))
    kernel = np.random.default_rng(1).integers(-4, 5, (INPUTS, 4)) / 4
    model.layers[0].cell.kernel.assign(kernel)
    return model


def broken():
    """Most layers have a problem, two of them two."""
    return sequential(
        layers.Masking(name="mask"),
        layers.Bidirectional(rlif(), name="both"),
        layers.Dense(5, activation="relu", name="mix"),
        rlif(output_mode="analog", go_backwards=True, name="analog", return_sequences=False),
        layers.Reshape((1, 4), name="shape"),
        layers.LSTM(3, return_sequences=True, name="lstm"),
        rlif(leak_initializer=1.5, leak_constraint=None, name="leaky"),
        TimeSum(),
        layers.Dense(2, activation="elu", name="out"),
    )


class TestProblems:
    def test_all_of_them_are_told_in_order(self):
        report = lava_export.check(broken())
        assert not report.ok
        expected = [
            "'mask' (Masking) makes a mask",
            "'both' is bidirectional",
            "'mix' (Dense) has the activation 'relu'",
            "'analog' has go_backwards=True",
            "'analog' has output_mode='analog'",
            "'lstm' is a spiking layer behind one with return_sequences=False",
            "'lstm' (LSTM over LSTMCell) has no counterpart",
            "'leaky': the leak of unit 0 is 1.5",
            "'out' has the activation 'elu'",
        ]
        assert len(report.errors) == len(expected)
        for part, text in zip(expected, report.errors, strict=True):
            assert part in text
        assert {layer.name: len(layer.problems) for layer in report.layers} == {
            "mask": 1, "both": 1, "mix": 1, "analog": 2, "shape": 0, "lstm": 2, "leaky": 1,
            report.layers[-2].name: 0, "out": 1,
        }  # fmt: skip

    def test_export_raises_the_first_with_the_others(self):
        model = broken()
        with pytest.raises(ConversionError) as caught:
            lava_export.export(model, spikes_of())
        errors = lava_export.check(model).errors
        assert [str(caught.value), *map(str, caught.value.also)] == errors

    def test_a_model_without_weights_is_read_as_far_as_it_goes(self):
        report = lava_export.check(
            keras.Sequential([layers.LSTM(4, return_sequences=True, name="lstm"), rlif()])
        )
        assert ["no weights yet" in report.errors[0], "'lstm'" in report.errors[1]] == [True, True]
        assert len(report.errors) == 2

    def test_a_branch_does_not_hide_other_problems(self):
        inputs = keras.Input((STEPS, INPUTS))
        left, right = rlif(stateful=False)(inputs), layers.GRU(4, return_sequences=True)(inputs)
        report = lava_export.check(keras.Model(inputs, layers.Add()([left, right])))
        assert "branches" in report.problems[0]
        assert any("GRU over GRUCell" in text for text in report.errors)

    def test_a_skip_is_a_branch(self):
        inputs = keras.Input((STEPS, INPUTS))
        hidden = rlif(INPUTS, name="hidden")(inputs)
        wide = layers.Dense(5, name="wide")(hidden)  # which the next layer does not get
        outputs = rlif(name="last")(layers.Add(name="sum")([inputs, hidden]))
        model = keras.Model(inputs, [TimeSum()(outputs), wide])
        skipping = keras.Model(inputs, TimeSum()(outputs))
        for each, names in ((model, "time_sum"), (skipping, "hidden")):
            for data in (None, spikes_of()):
                report = lava_export.check(each, data)
                assert re.search(f"branches at .*{names}", report.problems[0])
                assert report.samples is None
            with pytest.raises(ConversionError, match="branches at"):
                lava_export.export(each, spikes_of())
        problems = {layer.name: len(layer.problems) for layer in report.layers}
        assert problems["sum"] == 1
        assert problems["hidden"] == problems["last"] == 0

    def test_two_inputs(self):
        one, other = keras.Input((STEPS, INPUTS)), keras.Input((STEPS, INPUTS))
        outputs = rlif()(layers.Concatenate()([one, other]))
        report = lava_export.check(keras.Model([one, other], TimeSum()(outputs)), spikes_of())
        assert "branches at" in report.problems[0]

    def test_a_layer_between_spiking_ones_is_told_once(self):
        model = sequential(rlif(), layers.BatchNormalization(), rlif(), TimeSum())
        (error,) = lava_export.check(model, spikes_of()).errors
        assert "(BatchNormalization) between spiking layers" in error

    @pytest.mark.parametrize("model", [3, "model.keras", None])
    def test_what_is_no_model(self, model):
        report = lava_export.check(model)
        assert "Expected a Keras model" in report.errors[0]
        assert not report.layers

    def test_no_spiking_layer(self):
        assert "has no spiking layer" in lava_export.check(sequential(layers.Dense(3))).errors[0]

    def test_what_the_quantizer_refuses_is_a_problem_of_its_layer(self):
        model = sequential(rlif(name="fine"), rlif(name="huge"), rlif(name="after"))
        model.get_layer("huge").cell.membrane_bias.assign(np.full(4, 1e9))
        report = lava_export.check(model)
        (error,) = report.errors
        assert "'huge' does not fit 24-bit states" in error
        assert report.layers[1].problems == [error]
        assert report.layers[2].quantization is not None

    def test_calibration_data_that_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match="must have the shape"):
            lava_export.check(lattice(), spikes_of()[:, :, :2])
        with pytest.raises(ValueError, match="leak_groups"):
            lava_export.check(lattice(), leak_groups=0)


class TestLayers:
    def model(self):
        return sequential(
            PoissonEncoder(STEPS, seed=1),
            layers.Dense(8, name="before"),
            rlif(name="first"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(5, name="between"),
            SpikingLSTM(3, return_sequences=True, name="second"),
            MembraneReadout(2, name="readout"),
            layers.Softmax(name="softmax"),
            shape=(INPUTS,),
        )

    def test_each_is_told_what_becomes_of_it(self):
        report = lava_export.check(self.model())
        assert report.ok
        assert report.samples is None
        table = {layer.name: (layer.place, layer.becomes, layer.exact) for layer in report.layers}
        assert table.pop(report.layers[0].name) == ("host", "PoissonEncoding", False)
        assert table == {
            "before": ("folded", "weights of the next layer", True),
            "first": ("chip", "Dense 6x4, LIF", False),
            "dropout": ("training", "nothing", True),
            "between": ("folded", "weights of the next layer", True),
            "second": ("chip", "Dense 4x3, SpikingLSTM (our process)", False),
            "readout": ("host", "LeakyIntegrators", True),
            "softmax": ("host", "Activation", True),
        }
        assert "another generator" in report.layers[0].losses[0]

    def test_losses_are_those_of_export(self):
        model, x = self.model(), np.random.default_rng(0).random((50, INPUTS))
        report = lava_export.check(model, x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            records = lava_export.export(model, x).quantization.to_dict()["layers"]
        found = [layer.quantization for layer in report.layers if layer.quantization]
        for record in found + records:
            del record["cumulative_mismatches"]
        assert found == records
        changed = records[0]["mismatches"] / records[0]["float_spikes"]
        assert f"{changed:.2%} of the spikes change" in report.layers[2].losses
        assert report.samples == 50

    def test_a_last_step_is_taken_on_the_host(self):
        report = lava_export.check(sequential(rlif(return_sequences=False)))
        assert report.layers[0].becomes == "Dense 6x4, LIF, then LastStep on the host"

    def test_what_is_exact_is_called_so_and_is(self):
        model = lattice()
        (layer,) = lava_export.check(model).layers
        assert (layer.exact, layer.losses) == (True, [])
        unseen = np.random.default_rng(7).integers(0, 2, (200, 50, INPUTS)).astype("float32")
        network = lava_export.export(model, spikes_of())
        fired = keras.ops.convert_to_numpy(model.layers[0](unseen))
        np.testing.assert_array_equal(network.run(unseen), fired)
        assert 0.05 < fired.mean() < 0.95

    @pytest.mark.parametrize(
        ("change", "loss"),
        [
            (lambda cell: cell.leak.assign(np.full(4, 0.75)), "membranes are rounded"),
            (lambda cell: cell.leak.assign(np.full(4, 0.9)), "leaks up to"),
            (lambda cell: cell.bias.assign(np.full(4, 1e-4)), "biases are rounded"),
            (lambda cell: cell.kernel.assign(cell.kernel + 1e-3), "weights 0."),
        ],
    )
    def test_each_loss_is_named(self, change, loss):
        model = lattice()
        change(model.layers[0].cell)
        (layer,) = lava_export.check(model).layers
        assert layer.exact is False
        assert any(loss in text for text in layer.losses)

    def test_weights_too_far_apart_come_with_advice(self):
        model = sequential(rlif(threshold=[0.01, 1.0, 1.0, 30.0]))
        (layer,) = lava_export.check(model).layers
        assert "unit 3 lose" in layer.advice[0]
        assert "max-norm" in layer.advice[0]
        assert "spikes change" not in layer.advice[0]  # the spikes are random


class TestOtherModels:
    @pytest.mark.parametrize("calibrated", [True, False])
    def test_graded_outputs_pass_on(self, calibrated):
        graded = LIF(8, bits=3, signed=True, return_sequences=True, name="graded")
        model = sequential(graded, layers.Dense(5), rlif(name="last"))
        report = lava_export.check(model, spikes_of() if calibrated else None)
        assert report.ok
        assert report.layers[0].becomes == "Dense 6x8, CurrentLIF (our process)"
        assert report.layers[2].quantization["weight_error"] < 0.1

    def adaptive(self, **options):
        inputs = keras.Input((None, 3))
        hidden = layers.Dense(4, AAN(), kernel_initializer="ones", name="hidden")(inputs)
        neuron = AdaptiveSpikingNeuron(**options)
        analog = keras.Model(inputs, layers.Dense(2)(hidden))
        return adaptive_lstm.convert(analog, neuron, time_window=50e-3, tolerance=1.0)

    @pytest.mark.parametrize("calibrated", [True, False])
    def test_a_converted_adaptive_network(self, calibrated):
        data = np.random.default_rng(0).random((4, 2, 3)) if calibrated else None
        report = lava_export.check(self.adaptive(stochastic=False), data)
        assert report.ok
        assert [layer.place for layer in report.layers] == ["chip", "host", "host", "host"]
        assert report.layers[0].name == "hidden"
        assert np.isfinite(report.layers[0].quantization["decoded_error"])
        decoded = any("decoded outputs" in loss for loss in report.layers[0].losses)
        assert decoded == calibrated

    def test_an_adaptive_network_that_is_refused(self):
        report = lava_export.check(self.adaptive(stochastic=True))
        assert "fire by chance" in report.errors[0]


class TestReport:
    def test_it_prints_as_a_table_with_all_problems(self):
        text = " ".join(str(lava_export.check(broken())).split())
        assert "cannot be exported: 9 problems" in text
        assert "9. Layer 'out' has the activation 'elu'" in text
        text = str(lava_export.check(lattice()))
        assert "can be exported" in text
        assert "random spikes" in text

    def test_names_are_no_markup(self):
        model = keras.Sequential([keras.Input((STEPS, INPUTS)), rlif(name="a[b]")], name="[x]")
        text = str(lava_export.check(model))
        assert "a[b]" in text
        assert "[x]" in text

    def test_json(self, tmp_path):
        report = lava_export.check(broken())
        path = tmp_path / "check.json"
        report.to_json(path)
        assert json.loads(path.read_text()) == json.loads(json.dumps(report.to_dict()))
        assert json.loads(path.read_text())["ok"] is False
        with pytest.raises(FileExistsError):
            report.to_json(path)


class TestCallback:
    def fit(self, model, callback, epochs=2):
        model.compile("sgd", "mse")
        x = spikes_of()
        y = np.zeros((len(x), *model.output_shape[1:]), "float32")
        watching = callback if isinstance(callback, list) else [callback]
        return model.fit(x, y, epochs=epochs, verbose=0, callbacks=watching).history

    def test_a_model_that_cannot_be_exported_is_not_trained(self):
        model = sequential(rlif(output_mode="analog", name="analog"))
        before = model.get_weights()
        with pytest.raises(ConversionError, match="(?s)1. .*output_mode"):
            self.fit(model, lava_export.CheckExport())
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        with pytest.warns(lava_export.QuantizationWarning, match="output_mode"):
            self.fit(model, lava_export.CheckExport(on_problem="warn"))

    def test_changed_spikes_are_in_the_logs(self):
        model = sequential(rlif(name="a"), rlif(3, name="b"))
        history = self.fit(model, lava_export.CheckExport(spikes_of(20), every=2), epochs=4)
        assert len(history["loss"]) == 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers_ = lava_export.export(model, spikes_of(20)).quantization.layers
        for layer in layers_:
            logged = history[f"{layer.name}_changed_spikes"]
            assert np.isnan(logged).tolist() == [True, False, True, False]
            assert logged[-1] == layer.cumulative_mismatches / max(layer.float_spikes, 1)

    def test_files_have_its_columns_whatever_the_first_epoch(self, tmp_path):
        model = sequential(rlif(name="a"))
        path = tmp_path / "log.csv"
        watch = lava_export.CheckExport(spikes_of(20), every=2)
        self.fit(model, [watch, keras.callbacks.CSVLogger(path)])
        header, first, second = (line.split(",") for line in path.read_text().splitlines())
        column = header.index("a_changed_spikes")
        assert first[column] == "nan"
        assert 0 <= float(second[column]) < 1

    def test_training_is_the_same_with_it(self):
        results = []
        for callback in (lava_export.CheckExport(spikes_of(20)), keras.callbacks.Callback()):
            keras.utils.set_random_seed(3)
            model = sequential(layers.Dropout(0.2), rlif(), TimeSum(), layers.Dense(2))
            self.fit(model, callback)
            results.append(model.get_weights())
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_problem_that_training_makes_is_noticed(self):
        model = sequential(rlif(leak_constraint=None, name="a"))

        class Grow(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.model.layers[0].cell.leak.assign(np.full(4, 1.5))

        model.compile("sgd", "mse")
        x = spikes_of()
        with pytest.raises(ConversionError, match="the leak of unit 0"):
            model.fit(
                x,
                np.zeros((len(x), STEPS, 4)),
                verbose=0,
                callbacks=[Grow(), lava_export.CheckExport(x)],
            )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"every": 0}, "every must be a positive integer"),
            ({"every": True}, "every must be"),
            ({"on_problem": "log"}, "on_problem must be"),
            ({"leak_groups": -1}, "leak_groups must be"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            callbacks.CheckExport(**arguments)


def test_the_rules_are_those_of_describe():
    """`describe` has no rules of its own: what `read` notes is what it raises."""
    model = broken()
    noted = convert.read(model)
    with pytest.raises(ConversionError) as caught:
        convert.describe(model)
    first = [*noted.problems, *(error for part in noted.parts for error in part.problems)][0]
    assert str(caught.value) == str(first)
