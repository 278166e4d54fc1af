"""`verify` without Lava, and what a report says and writes."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import lava_export
from keras_spiking_rnn import (
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    GatedLIF,
    PoissonEncoder,
    SpikingLSTM,
    TimeSum,
)
from lava_export import convert, page, parity, reference, resources
from lava_export.network import Network
from lava_export.parity import ParityError
from lava_export.report import LavaStage
from lava_export.synapses import Dense

STEPS, INPUTS = 12, 9


def model_of(*layers, shape=(STEPS, INPUTS)):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input(shape), *layers])


def rlif(units, name, **options):
    return RLIF(
        units, threshold=1.0, leak_initializer=0.8, return_sequences=True, name=name, **options
    )


@pytest.fixture(scope="module")
def spikes():
    return (np.random.default_rng(0).random((30, STEPS, INPUTS)) < 0.5).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    return model_of(rlif(16, "first"), rlif(5, "second"), TimeSum())


@pytest.fixture(scope="module")
def network(model, spikes):
    return lava_export.export(model, calibration=spikes)


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(0, 5, 30)


def with_weights_halved(network):
    dense, *rest = network.layers
    return Network([Dense(dense.weights // 2, dense.exponent), *rest], head=network.head)


def with_first_weights_halved(network):
    """As `with_weights_halved`, but with all that is known of how it was made."""
    dense, *rest = network.layers
    half = Dense(dense.weights // 2, dense.exponent)
    return dataclasses.replace(network, layers=(half, *rest))


def test_counts_are_those_of_keras_own_layers(model, network, spikes, labels):
    network = with_weights_halved(network)
    report = lava_export.verify(model, network, spikes, labels, modes=())
    stage = report.float_stage
    _, states = network.run(spikes, record=("spikes",))
    x, first = spikes, []
    for i, name in enumerate(("first", "second")):
        x = np.asarray(model.get_layer(name)(x))
        differs = x != states["spikes"][i]
        assert stage.float_spikes[i] == x.sum()
        assert stage.mismatches[i] == differs.sum() > 0
        assert stage.slots[i] == x.size
        first += [(s, t, i, u) for s, t, u in np.argwhere(differs)]
    sample, step, layer, unit = min(first)
    found = stage.first
    assert (found.sample, found.step, found.layer, found.unit) == (
        sample,
        step,
        ("first", "second")[layer],
        unit,
    )
    assert stage.float_accuracy == np.mean(np.asarray(model(spikes)).argmax(1) == labels)
    assert stage.integer_accuracy == np.mean(network.predict(spikes) == labels)


@pytest.mark.parametrize("samples", [10, 100])
def test_a_dataset_gives_the_report_of_the_same_data_in_one_array(
    model, network, spikes, labels, monkeypatch, samples
):
    monkeypatch.setattr(parity, "CHUNK", samples * STEPS * sum(map(sum, network.sizes)))
    network = with_weights_halved(network)
    data = tf.data.Dataset.from_tensor_slices((spikes, labels)).batch(7)
    whole = lava_export.verify(model, network, spikes, labels, modes=()).to_dict()
    assert lava_export.verify(model, network, data, modes=()).to_dict() == whole


def test_a_dataset_has_its_own_labels_and_one_number_of_steps(model, network, spikes, labels):
    data = tf.data.Dataset.from_tensor_slices(spikes).batch(7)
    with pytest.raises(ValueError, match="labels of a stream are in it"):
        lava_export.verify(model, network, data, labels, modes=())
    model = model_of(rlif(16, "first"), rlif(5, "second"), TimeSum(), shape=(None, INPUTS))
    network = lava_export.export(model, calibration=spikes)
    with pytest.raises(ValueError, match="Pad them to as many steps"):
        lava_export.verify(model, network, iter([spikes, spikes[:, 1:]]), modes=())


def test_divergence_tells_how_close_a_call_it_was(model, network, spikes):
    network = with_weights_halved(network)
    first = lava_export.verify(model, network, spikes, modes=()).float_stage.first
    kernel, bias, leak, membrane_bias = map(np.asarray, model.get_layer("first").cell.weights)
    assert first.layer == "first"
    u = np.zeros(16)
    for t in range(first.step + 1):
        v = spikes[first.sample, t] @ kernel + bias + u
        u = leak * np.where(v >= 1, 0, v) + membrane_bias
    assert first.membrane == pytest.approx(v[first.unit], abs=1e-5)
    assert first.threshold == 1.0
    assert first.margin == pytest.approx(first.membrane - 1.0)
    assert first.keras_spike == (first.membrane >= 1.0)


def test_chunks_change_nothing(model, network, spikes, labels, monkeypatch):
    network = with_weights_halved(network)
    whole = lava_export.verify(model, network, spikes, labels, modes=()).to_dict()
    monkeypatch.setattr("lava_export.parity.CHUNK", 11 * STEPS * (INPUTS + 16 + 16 + 5))
    assert lava_export.verify(model, network, spikes, labels, modes=()).to_dict() == whole


def test_equal_networks_have_no_divergence(spikes):
    model = model_of(rlif(4, "lattice", leak_constraint=None))
    layer = model.get_layer("lattice")
    layer.cell.kernel.assign(np.random.default_rng(2).integers(-2, 3, (INPUTS, 4)))
    layer.cell.leak.assign(np.ones(4))
    network = lava_export.export(model, calibration=spikes)
    report = lava_export.verify(model, network, spikes, modes=())
    assert report.float_stage.float_spikes[0] > 0
    assert report.float_stage.mismatches == [0]
    assert report.float_stage.first is None
    assert "agree on every spike" in str(report)


def test_model_with_its_own_encoder_and_last_step_only():
    model = model_of(
        PoissonEncoder(STEPS, seed=3),
        rlif(8, "hidden"),
        RLIF(5, threshold=1.0, name="last"),
        keras.layers.Dense(4),
        shape=(INPUTS,),
    )
    x = np.random.default_rng(0).random((20, INPUTS), dtype="float32")
    network = lava_export.export(model, calibration=x)
    report = lava_export.verify(model, network, x, np.zeros(20, int), modes=())
    assert report.steps == STEPS
    assert report.layers == ["hidden", "last"]
    assert 0 <= report.float_stage.float_accuracy <= 1


def test_overflows_of_the_integers_are_counted(model, network, spikes):
    dense, lif, *rest = network.layers
    wild = Network([Dense(np.full(dense.weights.shape, 254), 7), lif, *rest], head=network.head)
    stage = lava_export.verify(model, wild, spikes, modes=()).float_stage
    # 254 * 2**7 * 64 is 2 080 768: five spikes or more leave the 24 bits of the current.
    inputs = spikes.sum(axis=2)
    assert stage.wraps == [16 * np.count_nonzero(inputs >= 5), 0]
    assert stage.wraps[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((2, STEPS, INPUTS + 1))}, "must have the shape"),
        ({"x": np.zeros((0, STEPS, INPUTS))}, "nothing to run"),
        ({"x": np.full((2, STEPS, INPUTS), 0.5)}, "must be 0 or 1"),
        ({"y": np.zeros(7, int)}, r"y must have the shape \(30,\)"),
        ({"modes": ("chip",)}, "modes of Lava are"),
        ({"samples_stock": 0}, "samples_stock must be at least 1"),
    ],
)
def test_bad_arguments(model, network, spikes, arguments, message):
    arguments = {"x": spikes, "modes": (), **arguments}
    with pytest.raises(ValueError, match=message):
        lava_export.verify(model, network, **arguments)


def test_network_of_another_model(network, spikes):
    with pytest.raises(ValueError, match="exported from another model"):
        lava_export.verify(model_of(rlif(3, "other")), network, spikes, modes=())


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ([keras.layers.Dense(3)], r"\(30, 12, 3\)"),
        ([TimeSum(), keras.layers.Dense(1, "sigmoid")], r"\(30, 1\)"),
    ],
)
def test_scores_that_give_no_labels_give_no_accuracy(spikes, head, shape):
    model = model_of(rlif(4, "hidden"), *head)
    network = lava_export.export(model, calibration=spikes)
    assert lava_export.verify(model, network, spikes, modes=()).float_stage.float_accuracy is None
    with pytest.raises(ValueError, match=f"scores of shape {shape}.*one score for each class"):
        lava_export.verify(model, network, spikes, np.zeros(30, int), modes=())
    with pytest.raises(ValueError, match=f"scores of shape {shape}"):
        network.predict(spikes)


def test_float_accuracy_is_that_of_the_model(model, network, spikes):
    labels = model.predict(spikes, verbose=0).argmax(axis=1)
    report = lava_export.verify(model, network, spikes, labels, modes=())
    assert report.float_stage.float_accuracy == 1.0


def test_report_prints_as_a_table(model, network, spikes, labels):
    text = str(lava_export.verify(model, network, spikes, labels, modes=()))
    for part in ("first", "second", "spikes changed", "Accuracy", "not verified on"):
        assert part in text
    assert "Lava was not run" in text


def test_report_as_json(model, network, spikes, labels, tmp_path):
    report = lava_export.verify(model, network, spikes, labels, modes=())
    path = tmp_path / "report.json"
    report.to_json(path)
    values = json.loads(path.read_text())
    assert values == report.to_dict()
    assert values["network"] == network.digest()
    assert values["hardware"] == (
        "Loihi 2-compatible arithmetic, here not verified on the CPU simulator; "
        "not run on hardware."
    )
    assert values["float_stage"]["mismatches"] == report.float_stage.mismatches
    with pytest.raises(FileExistsError, match="overwrite=True"):
        report.to_json(path)


def test_report_as_a_page_that_needs_no_other_file(model, network, spikes, labels, tmp_path):
    pytest.importorskip("matplotlib")
    report = lava_export.verify(model, with_weights_halved(network), spikes, labels, modes=())
    path = tmp_path / "report.html"
    report.to_html(path)
    page = path.read_text()
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    assert f"sample {report.float_stage.first.sample}, step" in page
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        report.to_html(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_layer_names_are_escaped_in_the_page(spikes, tmp_path):
    pytest.importorskip("matplotlib")
    model = model_of(rlif(3, "a<b>&c"))
    network = lava_export.export(model, calibration=spikes)
    report = lava_export.verify(model, network, spikes, modes=())
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page


def test_a_stage_is_equal_only_if_spikes_and_states_are():
    assert LavaStage("stock").equal
    assert not LavaStage("stock", spike_mismatches=1).equal
    assert not LavaStage("stock", state_mismatches=1).equal


def test_parity_error_is_public():
    assert lava_export.ParityError is ParityError


class TestWholeModel:
    """The layers, called one after the other, against the model."""

    def test_they_agree(self, model, network, spikes, monkeypatch):
        monkeypatch.setattr("lava_export.parity.COMPARED", 13)
        monkeypatch.setattr("lava_export.parity.CHUNK", 11 * STEPS * (INPUTS + 16 + 16 + 5))
        stage = lava_export.verify(model, network, spikes, modes=()).float_stage
        assert (stage.compared, stage.unlike_model) == (13, 0)

    def test_without_a_head(self, spikes):
        model = model_of(rlif(16, "first"), rlif(5, "second"))
        network = lava_export.export(model, calibration=spikes)
        stage = lava_export.verify(model, network, spikes, modes=()).float_stage
        assert (stage.compared, stage.unlike_model) == (30, 0)

    def test_spikes_that_are_drawn_anew_are_not_compared(self):
        model = model_of(PoissonEncoder(STEPS), rlif(8, "hidden"), shape=(INPUTS,))
        x = np.random.default_rng(0).random((20, INPUTS), dtype="float32")
        network = lava_export.export(model, calibration=x)
        assert lava_export.verify(model, network, x, modes=()).float_stage.compared == 0

    def test_a_model_that_does_more_is_refused(self, model, network, spikes, monkeypatch):
        right = keras.Sequential.call
        monkeypatch.setattr(
            keras.Sequential, "call", lambda self, *args, **kwargs: 2 * right(self, *args, **kwargs)
        )
        with pytest.raises(lava_export.ConversionError, match="other scores than its layers"):
            lava_export.verify(model, network, spikes, modes=())

    def test_a_few_flipped_spikes_are_counted_only(self, model, network, spikes, monkeypatch):
        right = convert.Description.scores

        def flipped(self, outputs, network):
            scores = np.array(right(self, outputs, network))
            scores[4] += 1
            return scores

        monkeypatch.setattr(convert.Description, "scores", flipped)
        stage = lava_export.verify(model, network, spikes, modes=()).float_stage
        assert (stage.compared, stage.unlike_model) == (30, 1)


class TestTrace:
    def test_both_membranes_are_in_the_scale_of_keras(self, model, network, spikes):
        halved = with_first_weights_halved(network)
        report = lava_export.verify(model, halved, spikes, modes=())
        trace, first = report.example.trace, report.float_stage.first
        assert (first.layer, trace.threshold) == ("first", 1.0)
        assert trace.first == max(0, first.step - 10)
        assert len(trace.keras) == len(trace.integer) == min(STEPS, first.step + 11) - trace.first
        assert trace.keras[first.step - trace.first] == pytest.approx(first.membrane)
        dense, scale = halved.layers[0], halved.quantization.layers[0].scale
        kernel = dense.weights[first.unit] // 2 * 2 * 2.0**dense.exponent / scale  # even ones
        v, integer = 0.0, []
        for step in range(trace.first + len(trace.keras)):
            v = 0.8 * v + spikes[first.sample, step] @ kernel
            integer.append(v)
            v = 0.0 if v >= 1 else v
        assert trace.integer == pytest.approx(integer[trace.first :], abs=2e-3)
        assert np.abs(np.subtract(trace.keras, trace.integer)).max() > 0.1

    def test_of_gates_it_shows_the_one_that_came_closest(self, spikes):
        layer = SpikingLSTM(
            16,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1),
            return_sequences=True,
        )
        model = model_of(layer)
        network = with_first_weights_halved(lava_export.export(model, calibration=spikes))
        report = lava_export.verify(model, network, spikes, modes=())
        trace, first = report.example.trace, report.float_stage.first
        assert len(trace.keras) == len(trace.integer) > 1
        at = first.step - trace.first
        assert trace.keras[at] == pytest.approx(first.membrane)
        assert (trace.keras[at] > trace.threshold) != (trace.integer[at] > trace.threshold)

    @pytest.mark.parametrize(
        ("kind", "tolerance"),
        [(RLIF, 0.05), (GatedLIF, 0.05), (SpikingLSTM, 0.05), (LIFLSTM, 0.01), (SRC, 0.05)]
        + [(LIF, 0.15)],  # which adds up the rounding of its weights, as its reset is soft
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_each_layer_has_one(self, kind, tolerance, spikes):
        """Until the first spike that differs the potentials of all units are close."""
        keras.utils.set_random_seed(0)
        description = convert.describe(model_of(kind(8, return_sequences=True)))
        (spec,), x = description.spiking, spikes[:4]
        synapses, units, record, outputs = spec.quantize(x.astype(np.int8))
        everything = ("spikes", *units.states)
        result = reference.simulate_layer(synapses, units, x.astype(np.int8), everything)
        traced = description.trace(0, x)
        compared = 0
        for sample in range(len(x)):
            inside = {name: values[0][sample] for name, values in result.states.items()}
            lines = x[sample].astype(np.int8)
            inside["weighted"] = reference.weighted_inputs(synapses, units, lines, inside)
            differs = (inside["spikes"] != outputs[sample]).any(axis=1)
            same = int(np.argmax(differs)) if differs.any() else len(differs)
            for unit in range(8):
                looked_at = spec.looks_at(traced, (sample, 0, unit))
                found = spec.dequantized(units, inside, record, looked_at)
                wanted = [spec.potential(traced, (sample, t, unit), looked_at) for t in range(same)]
                np.testing.assert_allclose(found[:same], wanted, rtol=2e-3, atol=tolerance)
            compared += same
        assert compared >= 8

    def test_a_network_written_by_hand_has_none(self, model, network, spikes):
        report = lava_export.verify(model, with_weights_halved(network), spikes, modes=())
        assert report.float_stage.first is not None
        assert report.example.trace is None


class TestPage:
    @pytest.fixture(scope="class")
    def halved(self, network):
        return with_first_weights_halved(network)

    @pytest.fixture(scope="class")
    def report(self, model, halved, spikes, labels):
        return lava_export.verify(model, halved, spikes, labels, modes=())

    def test_it_has_all_parts(self, report, tmp_path):
        pytest.importorskip("matplotlib")
        report.to_html(tmp_path / "report.html")
        text = (tmp_path / "report.html").read_text()
        assert text.count("data:image/png;base64,") == 4
        for part in (
            "Accuracy",
            "saturations",
            "bits of range",
            "synaptic operations a sample",
            "ESTIMATE from published constants, not a measurement",
            "IEEE Micro",
            "NOT VERIFIED",
        ):
            assert part in text
        for name in ("first", "second"):
            assert text.count(f"<td>{name}</td>") == 4

    def test_the_activity_is_that_of_the_integers(self, report, spikes, halved):
        expected = resources.estimate(halved, resources.measure(halved, spikes))
        assert report.resources == expected
        assert report.to_dict()["resources"] == expected.to_dict()
        assert report.to_dict()["trace"]["threshold"] == 1.0

    def test_pictures_show_what_they_should(self, report):
        pytest.importorskip("matplotlib")
        (ax,) = page.accuracies(report).axes
        widths = [bar.get_width() for bar in ax.patches]
        assert widths == [report.float_stage.float_accuracy, report.float_stage.integer_accuracy]
        (ax,) = page.membranes(report).axes
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        np.testing.assert_array_equal(lines["Keras"], report.example.trace.keras)
        heights = sum(bar.get_height() for bar in page.histograms(report).axes[0].patches)
        assert heights == 16 * INPUTS
