"""The experiments of the SRC paper on their quick presets, and what can be wrong in them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples import experiment
from examples.src import depth, figures, gradients, images, networks, noise, response
from examples.src.leaky import Leaky, LeakyCell
from keras_spiking_rnn import RLIF, SRC, metrics

pytestmark = pytest.mark.xdist_group("src_experiments")  # one run for all

SMALL = {"hidden": 12, "steps": 20, "train": 60, "test": 20, "epochs": 1, "batch_size": 20}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Every experiment on its quick preset, as small as it gets: dictionary from name to record."""
    folder = tmp_path_factory.mktemp("src")

    def run(module, *arguments):
        name = module.__name__.rpartition(".")[2]
        options = ["--preset", "quick", "--output", folder / "runs" / name, "--results", folder]
        module.main([str(each) for each in (*options, *arguments)])

    run(images, "--dataset", "mnist", "--codings", "latency", "--layers", 2)
    run(depth, "--layers", 2)
    run(gradients, "--variants", "no-bypass")
    run(noise)
    run(response, "--images", folder / "images")
    return experiment.chosen(folder, "quick"), folder


def test_each_experiment_leaves_a_record(records):
    found, _ = records
    assert set(found) == {"images-mnist-latency", "depth", "gradients", "noise", "response"}
    for record in found.values():
        assert record["preset"] == "quick"
        assert record["command"].startswith("python -m examples.src.")
        assert "/" not in record["command"]
        assert all(row["ours"] for row in record["rows"])


def test_a_row_has_the_paper_s_numbers_ours_and_those_of_lif(records):
    record = records[0]["images-mnist-latency"]
    (row,) = record["rows"]
    assert row["what"] == "MNIST, latency code, 2 layers"
    assert row["published"] == "98.3 % (LIF 96.92 %)"
    assert row["ours"] == experiment.percent(record["numbers"]["2-src"]["accuracy"])
    assert row["beside"] == "LIF " + experiment.percent(record["numbers"]["2-lif"]["accuracy"])
    assert "200 images, 100 to test" in row["protocol"]
    assert "30 steps (paper 200)" in row["protocol"]
    assert "1 epochs (paper 100)" in row["protocol"]


def test_the_depth_record_has_the_gradient_of_each_layer(records):
    numbers = records[0]["depth"]["numbers"]
    assert set(numbers) == {"2-src", "2-lif", "2-leaky"}
    for found in numbers.values():
        assert list(found["gradients"]) == ["layer_1", "layer_2"]
        assert all(norm > 0 for norm in found["gradients"].values())


def test_a_run_that_is_finished_is_not_trained_again(records):
    found, folder = records
    before = found["depth"]
    options = ["--preset", "quick", "--output", folder / "runs" / "depth", "--results", folder]
    depth.main([str(each) for each in (*options, "--layers", 2)])
    assert json.loads((folder / "depth-quick-0.json").read_text()) == before


def test_figures_are_drawn_of_the_records_that_are_there(records):
    found, folder = records
    with pytest.raises(SystemExit):  # there are none of this seed
        figures.main(["--results", str(folder), "--seed", "9", "--images", str(folder / "none")])
    assert not (folder / "none").exists()
    drawn = figures.figures(found)
    assert set(drawn) == {"2", "4", "5", "7"}
    assert set(figures.figures({"noise": found["noise"]})) == {"7"}


def test_noise_is_that_of_training_and_is_tested_without_and_with_it(records):
    numbers = records[0]["noise"]["numbers"]
    assert list(numbers) == ["0", "0.2"]
    # The spikes of the rate code are drawn anew for the second, so that the two may differ.
    assert all(0 <= found["noisy_accuracy"] <= 1 for (found,) in numbers.values())


def test_the_neuron_fires_without_input_only_with_the_highest_bias(records):
    numbers = records[0]["response"]["numbers"]
    silent = [numbers[f"b {bias}, x 0"]["pulses"] == 0 for bias in (-6, -5, -4)]
    assert silent == [True, True, False]
    # Independently simulated with NumPy.
    assert [numbers[f"b -6, x {x}"]["pulses"] for x in range(4)] == [0, 0, 10, 14]
    assert numbers["z_s fixed"]["steps_a_pulse"] > numbers["z_s fast"]["steps_a_pulse"]


@pytest.mark.parametrize("neuron, layer_class", [("src", SRC), ("lif", RLIF), ("leaky", Leaky)])
def test_networks_are_those_of_appendix_a(neuron, layer_class):
    model = networks.network(neuron, "latency", 3, 12, 20, (784,))
    spiking = metrics.spiking_layers(model)
    layers = [model.get_layer(name) for name in spiking]
    assert [type(layer) for layer in layers] == [layer_class] * 3
    assert [layer.units for layer in layers] == [12, 12, 100]
    if neuron == "src":
        assert {layer.alpha for layer in layers} == {0.99}
    elif neuron == "leaky":
        names = [weight.name for weight in layers[0].trainable_weights]
        assert names == ["kernel", "leak", "threshold"]
        assert [float(layers[0].cell.leak), float(layers[0].cell.threshold)] == pytest.approx(
            [0.99, 1.0]
        )
    else:
        assert {layer.threshold for layer in layers} == {1.0}
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layers[0].cell.leak), 0.99)
        assert [weight.name for weight in layers[0].trainable_weights] == ["kernel", "leak"]
    assert model.output_shape == (None, 10)


def test_a_leaky_neuron_takes_no_input_after_a_spike():
    layer = Leaky(1, leak=0.5, threshold=1.0)
    layer.build((1, 5, 1))
    layer.cell.kernel.assign([[1.0]])
    # At the threshold it does not fire: 0.75 / 2 + 0.625 = 1, then 1 / 2 + 0.75 > 1.
    x = np.reshape([0.75, 0.625, 0.75, 5.0, 1.5], (1, 5, 1))
    assert np.ravel(layer(x)).tolist() == [0, 0, 1, 0, 1]


def test_the_compiled_loop_of_leaky_neurons_is_that_of_the_cell():
    random = np.random.default_rng(0)
    x = (random.random((3, 15, 20)) < 0.3).astype("float32")
    upstream = random.normal(size=(3, 15, 6)).astype("float32")
    layers = Leaky(6), keras.layers.RNN(LeakyCell(6), return_sequences=True)
    kernel = random.normal(0, 0.4, (20, 6))
    results = []
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights([kernel, np.float32(0.8), np.float32(0.9)])
        with tf.GradientTape() as tape:
            spikes = layer(x)
            loss = tf.reduce_sum(spikes * upstream)
        results.append((spikes, tape.gradient(loss, layer.trainable_weights)))
    (spikes, gradients_of_loop), (expected, of_cell) = results
    assert 0.05 < np.mean(spikes) < 0.5
    np.testing.assert_array_equal(spikes, expected)
    for got, wanted in zip(gradients_of_loop, of_cell, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_together_or_each():
    model = networks.network("src", "rate", 1, 4, 10, (5,))
    for protocol, each in (({}, None), ({"clip_each": True}, 1.0)):
        networks.compile_for(model, 10, {"epochs": 1, "batch_size": 5, **protocol})
        assert model.optimizer.clipnorm == each
        assert model.optimizer.global_clipnorm == (None if each else 1.0)


def test_a_tenth_of_the_training_validates():
    train, validation, test = networks.parts_of("mnist", SMALL, seed=1)
    assert [len(x) for x, _ in (train, validation, test)] == [54, 6, 20]
    assert train[0].shape == (54, 784)


def test_recordings_become_frames_of_equal_duration():
    events = np.zeros(4, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
    events["t"] = 0, 9, 10, 39
    events["x"], events["y"], events["p"] = (0, 1, 2, 33), (0, 0, 0, 33), (1, 0, 1, 1)
    x, y = networks.framed([(events, 7)], steps=4, count=None, seed=0)
    assert x.shape == (1, 4, 34 * 34 * 2 / 8)
    assert x.dtype == np.uint8
    assert y.tolist() == [7]
    frames = networks.Bits(x)[:].reshape(4, 34, 34, 2)
    assert [tuple(place) for place in np.argwhere(frames)] == [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (1, 0, 2, 1),
        (3, 33, 33, 1),
    ]


def test_synthetic_recordings_of_digits_train(tmp_path):
    protocol = {**SMALL, "train": 20, "test": 10}
    parts = networks.parts_of("nmnist", protocol, seed=0)
    (x, _), validation, test = parts
    assert x.shape == (18, 20, 2312)
    assert x.packed.nbytes == 18 * 20 * 2312 / 8
    assert 0.001 < x[:].mean() < 0.2
    case = {"neuron": "src", "coding": "events", "layers": 2}
    model, found = networks.measured(parts, protocol, case, tmp_path, "net", seed=0)
    # What is evaluated batch by batch is what it is all at once.
    for (frames, labels), key in ((validation, "val_accuracy"), (test, "accuracy")):
        right = (model.predict(frames[:], verbose=0).argmax(axis=1) == labels).mean()
        shown = found["history"][key][-1] if key in found["history"] else found[key]
        assert shown == pytest.approx(right, abs=1e-4)


def test_bits_are_chosen_as_of_an_array():
    frames = np.random.default_rng(0).integers(0, 2, (5, 3, 16), "uint8")
    bits = networks.Bits(np.packbits(frames, axis=-1))
    assert (len(bits), bits.shape) == (5, (5, 3, 16))
    for chosen in (slice(None), slice(1, 3), np.array([4, 0])):
        np.testing.assert_array_equal(bits[chosen], frames[chosen])


def test_events_need_a_folder_for_tonic():
    with pytest.raises(FileNotFoundError, match="needs a data folder"):
        networks.parts_of("nmnist", SMALL, source="tonic")


def test_tonic_reads_the_recordings_of_n_mnist(tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic.datasets")
    # Its check wants all 70 000 files.
    monkeypatch.setattr(tonic.NMNIST, "_check_exists", lambda self: True)
    for part, t in (("Train", 70000), ("Test", 9)):
        for digit in (3, 8):
            folder = tmp_path / "NMNIST" / part / str(digit)
            folder.mkdir(parents=True)
            events = [(1, 2, 1, 0), (digit, 4, 0, t)]
            content = [
                (x, y, polarity << 7 | time >> 16, time >> 8 & 255, time & 255)
                for x, y, polarity, time in events
            ]
            (folder / "00001.bin").write_bytes(bytes(sum(content, ())))
    train, test = networks.recorded(tmp_path)
    for recordings in (train, test):
        x, y = networks.framed(recordings, steps=3, count=None, seed=0)
        frames = networks.Bits(x)[:].reshape(2, 3, 34, 34, 2)
        for digit, each in zip(y, frames, strict=True):
            assert [tuple(place) for place in np.argwhere(each)] == [
                (0, 2, 1, 1),
                (2, 4, digit, 0),
            ]
