"""The experiments of the paper on inherent recurrence, quick, and what can be wrong in them."""

import json

import keras
import numpy as np
import pytest

from examples import data, experiment
from examples.inherent_recurrence import (
    bits,
    chip,
    figures,
    gradients,
    networks,
    speech,
    table,
    thresholds,
    vowels,
)
from keras_spiking_rnn import metrics

pytestmark = pytest.mark.xdist_group("inherent_recurrence_examples")  # one run for all

SMALL = {"epochs": 2, "batch": 8, "rates": [0.01], "jit": False}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with files like those of JapaneseVowels, of series that are told apart easily."""
    folder = tmp_path_factory.mktemp("vowels")
    random = np.random.default_rng(0)
    for name, each in zip(vowels.FILES, (4, 2), strict=True):
        lines = ["@problemName JapaneseVowels", "@data"]
        for speaker in np.repeat(np.arange(9), each):
            steps = random.integers(3, 7)
            values = random.normal(np.cos(speaker * np.arange(12))[:, None], 0.1, (12, steps))
            features = [",".join(f"{value:.3f}" for value in row) for row in values]
            lines.append(":".join([*features, str(speaker + 1)]))
        (folder / name).write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory, recordings):
    """The experiments on their quick presets: dictionary from name to record, and the folder."""
    folder = tmp_path_factory.mktemp("inherent_recurrence")

    def run(module, *arguments):
        name = module.__name__.rpartition(".")[2]
        options = ["--preset", "quick", "--output", folder / "runs" / name, "--results", folder]
        module.main([str(each) for each in (*options, *arguments)])

    run(table, "--data-dir", recordings, "--bits", 6, "--neurons", "gru", "v2")
    run(bits, "--data-dir", recordings)
    run(thresholds, "--data-dir", recordings)
    run(gradients)
    run(chip, "--data-dir", recordings, "--neurons", "v2", "--bits", 3)
    return experiment.chosen(folder, "quick"), folder


def test_each_experiment_leaves_a_record(records):
    found, _ = records
    assert set(found) == {
        "table-vowels",
        "bits",
        "thresholds-vowels",
        "gradients",
        "chip",
    }
    for record in found.values():
        assert record["command"].startswith("python -m examples.inherent_recurrence.")
        assert "/" not in record["command"]
        assert record["rows"]
        assert all(row["paper"] == "002" and row["ours"] for row in record["rows"])


def test_the_table_has_what_the_paper_s_has(records):
    numbers = records[0]["table-vowels"]["numbers"]
    gru, v2 = numbers.values()
    assert list(numbers) == ["gru-full", "v2-6"]
    # Two layers of 8 units, the first with 12 inputs.
    assert gru["parameters"] == 3 * (12 * 8 + 3 * 8 * 8)
    assert v2["parameters"] == 2 * (12 * 8 + 3 * 8 * 8)
    assert gru["zeros"] < 0.01 < v2["zeros"]
    assert len(v2["accuracies"]) == 2
    assert v2["accuracy"] == pytest.approx(np.mean(v2["accuracies"]), abs=1e-4)
    # Inputs are dense: 12 of the first layer, and 8 of all others of the GRU.
    assert gru["multiplications"] == 3 * 12 * 8 + 3 * 3 * 8 * 8 + 2 * 12 * 8 + 8 * 9
    # No fewer than with outputs that are all 0.
    assert 2 * 12 * 8 + 2 * 8 * 8 < v2["multiplications"] < gru["multiplications"]
    row = records[0]["table-vowels"]["rows"][-1]
    saved = gru["multiplications"] / v2["multiplications"]
    assert f"{saved:.1f} times fewer than GRU" in row["beside"]


def test_a_run_that_is_finished_is_not_trained_again(records, recordings):
    found, folder = records
    options = ["--preset", "quick", "--output", folder / "runs" / "bits", "--results", folder]
    bits.main([str(each) for each in (*options, "--data-dir", recordings)])
    assert json.loads((folder / "bits-quick-0.json").read_text()) == found["bits"]


def test_networks_on_the_chip_do_what_lava_does(records):
    numbers = records[0]["chip"]["numbers"]
    assert list(numbers) == ["v2-3"]
    for found in numbers.values():
        assert found["mismatches"] == 0
        assert found["integers"] == found["aware"]


def test_figures_are_drawn_of_the_records_that_are_there(records):
    assert set(figures.figures(records[0])) == {"gradients", "bits", "cost"}
    assert figures.figures({}) == {}


def test_validation_is_a_part_of_the_training():
    x, y = np.arange(36.0)[:, None], np.arange(36)
    (kept, kept_y), (held, held_y) = networks.held_out((x, y), 0)
    assert (len(kept), len(held)) == (29, 7)
    assert sorted([*kept[:, 0], *held[:, 0]]) == list(range(36))
    np.testing.assert_array_equal(held[:, 0], held_y)
    np.testing.assert_array_equal(kept[:, 0], kept_y)
    assert list(held_y) != sorted(held_y)


def toy():
    """What is easily told, and a function that builds a network for it."""
    y = np.arange(40) % 2
    x = np.random.default_rng(0).normal(2 * y[:, None] - 1, 0.3, (40, 3)).astype("float32")

    def build(seed):
        keras.utils.set_random_seed(seed)
        layers = [
            keras.layers.Dense(4, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=seed),
            keras.layers.Dense(2),
        ]
        return keras.Sequential([keras.Input((3,)), *layers])

    return (x, y), build


def test_a_network_of_a_later_seed_is_that_of_its_own_run():
    training, build = toy()
    trainer = networks.Trainer(build, SMALL)
    trainer(training, 0.03, 3)
    after = trainer(training, 0.01, 4).get_weights()
    alone = networks.Trainer(build, SMALL)(training, 0.01, 4).get_weights()
    for one, other in zip(after, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Killed(Exception):
    pass


class TestKilled:
    """A training that ends within an epoch, and is begun again."""

    PROTOCOL = {**SMALL, "epochs": 4}

    def killed_at(self, monkeypatch, epoch):
        """From now on trainings end within an epoch."""
        falling = networks.falling

        def dies(rate, epochs):
            callback = falling(rate, epochs)

            def on_train_batch_begin(batch, logs=None):
                if callback.model.optimizer.iterations.numpy() == 5 * epoch + 2:
                    raise Killed

            callback.on_train_batch_begin = on_train_batch_begin
            return callback

        monkeypatch.setattr(networks, "falling", dies)

    @pytest.mark.parametrize("epoch", [1, 3])
    def test_it_goes_on_to_the_same_weights(self, tmp_path, monkeypatch, epoch):
        (training, build), protocol = toy(), self.PROTOCOL
        whole = networks.Trainer(build, protocol)(training, 0.01, 3).get_weights()
        saved = networks.Saved(tmp_path / "a" / "0.01-3.npz")
        with monkeypatch.context() as patched, pytest.raises(Killed):
            self.killed_at(patched, epoch)
            networks.Trainer(build, protocol)(training, 0.01, 3, saved)
        again = networks.Saved(saved.path)
        trained = networks.Trainer(build, protocol)(training, 0.01, 3, again).get_weights()
        assert again.before > 0
        for one, other in zip(whole, trained, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_what_was_finished_before_is_not_trained_again(self, tmp_path, monkeypatch):
        (training, build), protocol = toy(), self.PROTOCOL

        def run(folder):
            measure = networks.accuracy
            return networks.compared(
                folder,
                build,
                training,
                lambda model: {"accuracy": measure(model, *training)},
                {**protocol, "rates": [0.003, 0.03]},
                [0, 1],
            )

        whole = run(tmp_path / "whole")
        folder = tmp_path / "killed"
        with monkeypatch.context() as patched, pytest.raises(Killed):
            self.killed_at(patched, 2)
            run(folder)
        assert [path.name for path in folder.iterdir()] == ["0.003-validated.npz"]
        again = run(folder)
        for key in ("accuracies", "validated", "rate"):
            assert again[key] == whole[key]
        assert sorted(path.suffix for path in folder.iterdir()) == [".json"] * 4


def test_a_training_has_a_bar(tmp_path, capsys):
    training, build = toy()
    networks.compared(
        tmp_path / "v1-6", build, training, lambda model: {"accuracy": 0.5}, SMALL, [7]
    )
    said = capsys.readouterr().out
    assert "v1-6, 0.01-7" in said and "2/2" in said and "loss" in said


def test_the_learning_rate_is_the_best_in_validation(tmp_path):
    training, build = toy()
    protocol = {**SMALL, "epochs": 10, "rates": [1e-9, 0.03]}
    found = networks.compared(
        tmp_path, build, training, lambda model: {"accuracy": 0.5}, protocol, [0, 1]
    )
    assert found["rate"] == 0.03
    assert found["validated"][1] == 1
    assert found["validated"][0] < 1
    assert found["accuracies"] == [0.5, 0.5]


@pytest.mark.parametrize("neuron", ["traditional", "v2"])
def test_outputs_in_full_precision_are_the_potential_from_the_threshold_on(neuron):
    keras.utils.set_random_seed(1)
    layer = networks.layer(neuron, 6, "full", 32, 0)
    x = np.random.default_rng(1).normal(size=(2, 20, 3)).astype("float32")
    layer(x, training=True)
    found = metrics.trace(layer, x)
    v_max = float(layer.cell.v_max)
    fired = found["membrane"] >= v_max / 8
    assert 0.02 < fired.mean() < 0.98
    expected = np.where(fired, np.minimum(found["membrane"], v_max), 0)
    np.testing.assert_allclose(found["spikes"], expected, rtol=1e-5)


class TestGradients:
    @pytest.mark.parametrize("neuron", ["traditional", "v1"])
    def test_closed_forms_are_those_of_automatic_differentiation(self, neuron):
        model = gradients.network(neuron, 5, 12, seed=2)
        layer = model.get_layer("layer")
        x, _ = gradients.recall(4, 12, seed=0)
        layer(x, training=True)  # of v_max
        for found, expected in zip(
            gradients.jacobians(layer, x), gradients.closed_form(layer, x), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    def test_the_current_of_a_traditional_neuron_is_forgotten_by_its_decay(self):
        layer = gradients.network("traditional", 5, 12, seed=2).get_layer("layer")
        x, _ = gradients.recall(4, 12, seed=0)
        sizes = gradients.sizes(gradients.jacobians(layer, x)[0])
        np.testing.assert_allclose(sizes, 0.9 ** np.arange(13), rtol=1e-5)

    def test_units_of_version_2_are_connected(self):
        layer = gradients.network("v2", 5, 12, seed=2).get_layer("layer")
        x, _ = gradients.recall(4, 12, seed=0)
        layer(x, training=True)
        (found, _), (along, _) = gradients.jacobians(layer, x), gradients.closed_form(layer, x)
        np.testing.assert_allclose(np.abs(found[:, -1]), 1)
        assert np.abs(np.abs(found) - along)[:, :-2].max() > 1e-3

    @pytest.mark.parametrize("anywhere", [False, True])
    def test_one_symbol_is_marked(self, anywhere):
        x, y = gradients.recall(200, 7, 0, anywhere)
        assert x.shape == (200, 8, 5)
        np.testing.assert_array_equal(x[:, :, :4].sum(axis=-1), 1)
        np.testing.assert_array_equal(np.sort(x[..., 4], axis=-1)[:, -2:], [[-1, 1]] * 200)
        marked = x[..., 4].argmax(axis=-1)
        assert set(marked) == (set(range(8)) if anywhere else {0})
        np.testing.assert_array_equal(x[np.arange(200), marked, :4].argmax(axis=-1), y)
        assert set(y) == set(range(4))


def test_spikes_of_a_coefficient_are_those_of_the_quantiles_below_it():
    training = np.arange(1, 101, dtype="float32").reshape(1, 100, 1)
    x = np.array([[[1], [50], [100], [0]]], "float32")
    found = chip.spikes(x, training)
    assert found.shape == (1, 4, chip.LEVELS)
    assert found.sum(axis=-1).tolist() == [[0, 2, 5, 0]]


def spoken(folder):
    """Sentences of two sounds in the layout of TIMIT."""
    import soundfile

    random = np.random.default_rng(0)
    for part, speaker in (("TRAIN", "FAAA0"), ("TEST", "MBBB0")):
        place = folder / part / "DR2" / speaker
        place.mkdir(parents=True)
        for number in range(4):
            time = np.arange(8000) / 16000
            tone, noise = 0.5 * np.sin(2 * np.pi * 300 * time), 0.1 * random.normal(size=8000)
            samples = np.concatenate([noise, tone, noise])
            soundfile.write(place / f"SX{number}.WAV", samples, 16000, subtype="PCM_16")
            (place / f"SX{number}.PHN").write_text(
                "0 8000 s\n8000 16000 iy\n16000 24000 s\n",
            )


def test_phones_are_told_frame_by_frame(tmp_path, monkeypatch):
    spoken(tmp_path / "timit")
    learns = {**speech.PRESETS["quick"], "epochs": 10, "batch": 4, "train": None}
    learns["test"] = None
    monkeypatch.setitem(speech.PRESETS, "quick", learns)
    options = ["--preset", "quick", "--source", "timit", "--neurons", "v2", "--results", tmp_path]
    options += ["--data-dir", tmp_path / "timit", "--output", tmp_path / "runs"]
    speech.main([str(each) for each in options])
    record = json.loads((tmp_path / "speech-timit-quick-0.json").read_text())
    assert record["numbers"]["v2-6"]["accuracy"] > 0.8
    assert record["numbers"]["v2-6"]["phone_error_rate"] < 0.5
    assert "MFCC and not fMLLR" in record["rows"][0]["protocol"]


def test_features_may_be_mel_bands(tmp_path):
    spoken(tmp_path / "timit")
    options = ["--preset", "quick", "--source", "timit", "--neurons", "v1", "--results", tmp_path]
    options += ["--data-dir", tmp_path / "timit", "--output", tmp_path / "runs"]
    speech.main([str(each) for each in (*options, "--features", "mel")])
    record = json.loads((tmp_path / "speech-timit-quick-0.json").read_text())
    # Two layers of 8 units, 40 bands with two derivatives.
    assert record["numbers"]["v1-6"]["parameters"] == 2 * (120 * 8 + 8 * 8)
    assert "logarithms of mel bands and not fMLLR" in record["rows"][0]["protocol"]
    assert record["command"].endswith("--data-dir DIR --neurons v1 --features mel")
    with pytest.raises(ValueError, match="another configuration"):
        speech.main([str(each) for each in options])


def test_characters_are_learned_by_ctc(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    found = [
        {"speech": random.integers(-999, 999, 16000 + 800 * i), "text": text}
        for i, text in enumerate((b"A CAT", b"DON'T"))
    ]
    asked = []

    def load(name, data_dir, split):
        asked.append((name, split))
        return found

    monkeypatch.setattr(data, "load_tfds", load)
    monkeypatch.setattr(speech, "load_tfds", load)
    options = ["--preset", "quick", "--source", "librispeech", "--neurons", "v1"]
    speech.main([*options, "--results", str(tmp_path), "--output", str(tmp_path / "runs")])
    record = json.loads((tmp_path / "speech-librispeech-quick-0.json").read_text())
    assert asked == [("librispeech", "train_clean100"), ("librispeech", "test_clean")]
    for numbers in record["numbers"].values():
        assert numbers["word_error_rate"] > 0
        assert 0 < numbers["character_error_rate"]
