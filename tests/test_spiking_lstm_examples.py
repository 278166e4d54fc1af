"""The experiments of paper 003: their quick presets, and the parts that can be wrong."""

import json
import re

import keras
import numpy as np
import pytest
import soundfile

from examples import experiment
from examples.on_chip import quantile_spikes
from examples.spiking_lstm import (
    ablation,
    alphas,
    chip,
    chip_periodic,
    chip_speech,
    chip_text,
    figures,
    images,
    periodic,
    speech,
    text,
)

pytestmark = pytest.mark.xdist_group("spiking_lstm_examples")  # one run for all

NO_DROPOUT = {"dropout": 0.0, "input_dropout": 0.0}
STORY = "the cat sat on the mat. the dog sat on the log. a cat and a dog sat. " * 130


def on_lava(folder):
    """What a program of the chip has measured, if Lava does what was trained in integers."""
    numbers = record_of(folder)["numbers"]
    assert numbers["mismatches"] == numbers["changed"] == 0
    assert (folder / numbers["report"]).read_text().startswith("<!DOCTYPE html>")
    return numbers


def record_of(folder):
    (record,) = experiment.load(folder).values()
    json.dumps(record)
    assert record["preset"] == "quick"
    assert record["seconds"] > 0
    return record


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    images.main(["--preset", "quick", "--output", str(folder), "--results", str(folder / "r")])
    return folder, record_of(folder / "r")


class TestImages:
    def test_both_models_learn(self, digits):
        _, record = digits
        for name in images.MODELS:
            assert record["numbers"][name]["accuracy"] > 0.2  # 10 classes
            assert len(record["numbers"][name]["training_accuracy"]) == 3
        # Four gates of 28 and 32 inputs and a bias, and the readout.
        assert record["numbers"]["LSTM"]["parameters"] == 4 * 32 * (28 + 32 + 1) + 33 * 10

    def test_the_row_has_what_was_measured(self, digits):
        _, record = digits
        (row,) = record["rows"]
        accuracy = record["numbers"]["SpikingLSTM"]["accuracy"]
        assert row["ours"].startswith(f"{100 * accuracy:.2f} %")
        assert "600 images to train on and 200 to test on" in row["protocol"]
        assert record["command"] == (
            "python -m examples.spiking_lstm.images --preset quick --seed 0"
        )


class TestChip:
    def test_the_network_of_images_runs_on_lava(self, digits):
        pytest.importorskip("lava")
        folder, record = digits
        chip.main(["--preset", "quick", "--output", str(folder), "--results", str(folder / "c")])
        numbers = on_lava(folder / "c")
        assert numbers["lava_samples"] == chip.TUNING["quick"]["lava"]
        assert abs(numbers["float"] - record["numbers"]["SpikingLSTM"]["accuracy"]) < 0.15


class TestPeriodic:
    def test_the_target_is_the_next_sample(self):
        inputs, targets = periodic.samples()
        assert inputs.shape == targets.shape == (100,)
        np.testing.assert_array_equal(inputs[1:], targets[:-1])
        np.testing.assert_allclose(inputs[0], targets[-1], atol=1e-6)  # one period
        assert periodic.RANGE[0] <= inputs.min() and inputs.max() <= periodic.RANGE[1]

    def test_the_loss_is_half_the_sum_of_squares(self):
        y = np.arange(6.0).reshape(2, 3, 1)
        loss = periodic.half_squared_error(y, np.zeros_like(y))
        np.testing.assert_allclose(loss, [(0 + 1 + 4) / 2, (9 + 16 + 25) / 2])

    def test_quick(self, tmp_path):
        results = tmp_path / "results"
        periodic.main(["--preset", "quick", "--output", str(tmp_path), "--results", str(results)])
        numbers = record_of(results)["numbers"]
        for name in periodic.MODELS:
            first, last = numbers[name]["stages"]
            assert last["squared_error"] < first["squared_error"]
            assert len(last["sequence"]) == periodic.STEPS
        # Of each neuron and its complement one spikes at each step.
        assert len(numbers["spikes"]) == periodic.STEPS * periodic.INPUTS // 2
        figures.main(["--preset", "quick", "--results", str(results), "--images", str(tmp_path)])
        for name in ("spiking_lstm_spikes", "spiking_lstm_sequences"):
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert not (tmp_path / "spiking_lstm_alphas.png").exists()
        pytest.importorskip("lava")
        on_chip = tmp_path / "chip"
        chip_periodic.main(
            ["--preset", "quick", "--output", str(tmp_path), "--results", str(on_chip)]
        )
        found = on_lava(on_chip)
        last = numbers["SpikingLSTM"]["stages"][-1]["squared_error"]
        assert found["float"] == pytest.approx(last, rel=0.2)  # another draw
        assert found["lava"] == pytest.approx(found["integers"], rel=0.2)
        assert found["lava_samples"] == chip_periodic.TUNING["quick"]["lava"]


class TestText:
    def test_symbols(self):
        assert text.tokens("Don't stop,\n Alice!", "word") == ["don't", "stop", ",", "alice", "!"]
        assert text.tokens("A  b\n", "character") == ["a", " ", "b", " "]

    def test_the_test_follows_validation_which_follows_training(self):
        assert text.parts_of("abcdefghij" * 10, 20, 3) == ("abcdefghijabcdefgh", "ij", "abc")
        assert [len(part) for part in text.parts_of("a" * 100, 1000, 1000)] == [72, 8, 20]

    def test_what_is_not_in_the_training_part_is_unknown(self):
        corpus = text.corpus(("aab", "cb", "bx"), "character")
        assert corpus.symbols == [text.UNKNOWN, "a", "b"]
        assert [part.tolist() for part in corpus[1:]] == [[1, 1, 2], [0, 2], [2, 0]]

    def test_rare_words_are_unknown(self):
        parts = "one two one <unk> two two <unk> three", "three three", "two three <unk>"
        corpus = text.corpus(parts, "word")
        assert corpus.symbols == [text.UNKNOWN, "one", "two"]
        assert corpus.train.tolist() == [1, 2, 1, 0, 2, 2, 0, 0]
        assert corpus.test.tolist() == [2, 0, 0]
        assert text.corpus(parts, "word", vocabulary=1).symbols == [text.UNKNOWN, "two"]

    def test_wikitext_2_with_its_part_to_train_on(self):
        found = {"train": "a" * 50, "validation": "b" * 50, "test": "c" * 50}
        parts, told = text.parts_of_wikitext2(found, 40, 30)
        assert parts == ("a" * 40, "b" * 30, "c" * 30)
        assert told.startswith("trained on its training part")

    def test_wikitext_2_without_it(self):
        found = {"validation": "a" * 90 + "b" * 10, "test": "c" * 50}
        parts, told = text.parts_of_wikitext2(found, 1000, 1000)
        assert parts == ("a" * 90, "b" * 10, "c" * 50)
        assert "for lack of its training part" in told
        with pytest.raises(FileNotFoundError, match="lacks wiki.test.tokens or wikitext2_test.txt"):
            text.parts_of_wikitext2({"train": "a", "validation": "b"}, 10, 10)

    def test_perplexity_is_the_inverse_of_the_geometric_mean(self):
        assert text.perplexity(np.full(7, 1 / 30)) == pytest.approx(30)
        assert text.perplexity(np.array([0.5, 0.125])) == pytest.approx(4)

    def test_pairs_know_what_follows(self):
        corpus = text.corpus(text.parts_of("ab" * 500, 800, 200), "character")
        found = text.counted(corpus)
        assert found["unigram"] == pytest.approx(2, rel=0.01)
        assert found["bigram"] < 1.1
        assert found["kneser_ney"] < 1.1
        assert found["unknown"] == 0

    def test_the_share_of_the_test_that_is_unknown_is_counted(self):
        corpus = text.corpus(("one two one two", "one", "two three one four"), "word")
        assert text.counted(corpus)["unknown"] == 0.5

    @pytest.mark.parametrize("model", [text.mixed_pairs, text.kneser_ney])
    def test_the_probabilities_of_what_follows_sum_to_1(self, model):
        read, symbols = np.array([0, 1, 2, 1, 2, 1, 3, 1, 2]), list("abcde")
        for before in range(5):  # 4 is never read, and nothing follows it
            chances = [
                1 / model(read, np.array([before, after]), symbols, 0.7) for after in range(5)
            ]
            assert sum(chances) == pytest.approx(1)
            assert min(chances) > 0

    def test_kneser_ney_counts_what_a_symbol_follows_and_not_how_often(self):
        # 1 occurs often and only after 0; 2 and 3 are seldom, each after two others.
        read = np.array([0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 0, 3])
        after_unseen = [
            text.kneser_ney(read, np.array([4, after]), list("abcde"), 0.5) for after in (1, 3)
        ]
        assert after_unseen[1] < after_unseen[0]

    def test_windows_are_shifted_by_one(self):
        x, y = text.windows(np.arange(10), 4, 3)
        assert x.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
        assert y.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]

    def test_the_perplexity_of_a_network_is_that_of_its_probabilities(self):
        model = text.build("SpikingLSTM", "character", np.full(5, 1 / 5), 8, NO_DROPOUT, seed=0)
        read = np.array([1, 4, 2, 0, 3])
        logits = model(read[None, :-1])
        chances = np.asarray(keras.ops.softmax(logits))[0]
        expected = np.prod([chances[t, read[t + 1]] for t in range(4)]) ** (-1 / 4)
        assert text.test_perplexity(model, read) == pytest.approx(expected, rel=1e-5)

    def test_a_long_test_is_read_in_pieces(self, monkeypatch):
        model = text.build("SpikingLSTM", "character", np.full(5, 1 / 5), 8, NO_DROPOUT, seed=0)
        read = np.random.default_rng(0).integers(0, 5, 24)
        monkeypatch.setattr(text, "READ", 10)
        monkeypatch.setattr(text, "READ_AT_ONCE", 2)
        logs = []
        for at in (0, 10, 20):
            piece = read[at : at + 11]
            chances = np.asarray(keras.ops.log_softmax(model(piece[None, :-1])))[0]
            logs += [chances[t, piece[t + 1]] for t in range(len(piece) - 1)]
        assert len(logs) == 23
        expected = np.exp(-np.mean(logs))
        assert text.test_perplexity(model, read) == pytest.approx(expected, rel=1e-5)

    def test_step_by_step_generation_is_what_the_network_says(self):
        model = text.build("SpikingLSTM", "character", np.full(4, 1 / 4), 8, NO_DROPOUT, seed=0)
        corpus = text.Corpus([text.UNKNOWN, "a", "b", "c"], None, None, None)
        # So cold that the likeliest symbol is always chosen.
        made = text.generate(model, corpus, "character", "abca", 6, 1e-6, seed=0)
        numbers = [corpus.symbols.index(each) for each in made]
        logits = np.array(model(np.array([numbers[:-1]])))[0]
        logits[:, 0] = -np.inf
        assert made.startswith("abca")
        assert numbers[4:] == logits[3:].argmax(axis=-1).tolist()

    def test_words_are_read_and_said_with_the_same_vectors(self):
        model = text.build("LSTM", "word", np.ones(5), 8, NO_DROPOUT, seed=0)  # biases of 0
        # Vectors, an LSTM, what maps its outputs to vectors, and the biases of the words.
        sizes = [5 * text.EMBEDDING, 4 * 8 * (text.EMBEDDING + 8 + 1), 8 * text.EMBEDDING, 5]
        assert model.count_params() == sum(sizes)
        read = np.array([[1, 3]])
        before = np.array(model(read))
        vectors = model.get_layer("words").embeddings
        vectors.assign(keras.ops.concatenate([vectors[:4], 2 * vectors[4:]]))  # never read
        np.testing.assert_allclose(model(read)[..., 4], 2 * before[..., 4], rtol=1e-5)
        np.testing.assert_allclose(model(read)[..., :4], before[..., :4], rtol=1e-5)

    @pytest.mark.parametrize("level", text.LEVELS)
    def test_one_hot_spikes_say_what_symbols_say(self, level):
        model = text.build("SpikingLSTM", level, np.full(5, 1 / 5), 8, NO_DROPOUT, seed=0)
        for weights in (model.get_layer("memory").trainable_variables, [model.weights[-1]]):
            for each in weights:
                each.assign(np.random.default_rng(0).normal(size=each.shape))
        read = np.array([[1, 3, 2, 0, 4, 4]])
        spiking = chip_text.on_spikes(model, level, 5)
        expected = np.asarray(model(read))
        found = np.asarray(spiking(chip_text.one_hot(read, 5).astype("float32")))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.ptp(expected) > 0

    def test_the_perplexity_of_pieces_is_that_of_the_text(self, monkeypatch):
        monkeypatch.setattr(text, "READ", 10)
        model = text.build("SpikingLSTM", "character", np.full(5, 1 / 5), 8, NO_DROPOUT, seed=0)
        read = np.random.default_rng(0).integers(0, 5, 24)
        x, y = chip_text.pieces(read)
        assert x.shape == y.shape == (3, 10)
        assert (y == chip_text.PADDING).sum() == 7
        found = chip_text.perplexity(y, model.predict(x, verbose=0))
        assert found == pytest.approx(text.test_perplexity(model, read), rel=1e-5)

    def test_before_training_words_are_as_likely_as_they_are_frequent(self):
        corpus = text.Corpus([text.UNKNOWN, "a", "b"], np.array([1, 1, 2, 1, 2]), None, None)
        model = text.build("SpikingLSTM", "word", text.shares_of(corpus), 8, NO_DROPOUT, seed=0)
        words = model.get_layer("words")
        words.embeddings.assign(np.zeros(words.embeddings.shape))
        said = keras.ops.softmax(model(np.array([[2, 1]])))
        np.testing.assert_allclose(said, np.broadcast_to([1 / 8, 4 / 8, 3 / 8], (1, 2, 3)), 1e-5)

    def test_a_temperature_of_0_is_refused(self):
        model = text.build("LSTM", "character", np.full(4, 1 / 4), 8, NO_DROPOUT, seed=0)
        corpus = text.Corpus([text.UNKNOWN, "a", "b", "c"], None, None, None)
        with pytest.raises(ValueError, match="`temperature` must be positive"):
            text.generate(model, corpus, "character", "a", 1, 0, seed=0)

    def test_quick(self, tmp_path, capsys):
        (tmp_path / "story.txt").write_text(STORY)
        arguments = ["--preset", "quick", "--data-dir", str(tmp_path), "--output", str(tmp_path)]
        text.main([*arguments, "--results", str(tmp_path / "r")])
        record = record_of(tmp_path / "r")
        spiking = record["numbers"]["SpikingLSTM"]
        assert spiking["perplexity"] < record["numbers"]["unigram"]
        assert 1 <= spiking["epoch"] <= 3
        assert record["command"].endswith("--seed 0 --data-dir DIR")
        assert "0.0 % of the test unknown" in record["rows"][0]["protocol"]
        # The trained network is loaded, that of its best epoch.
        text.main([*arguments, "--results", str(tmp_path / "again")])
        assert record_of(tmp_path / "again")["numbers"] == record["numbers"]
        capsys.readouterr()
        text.main([*arguments, "--generate", "The c", "--length", "10"])
        assert re.fullmatch(r"the c.{10}\n", capsys.readouterr().out)
        with pytest.raises(FileNotFoundError, match="0 of 3 epochs. Train it first: the same"):
            text.main([*arguments, "--generate", "The c", "--seed", "1"])
        pytest.importorskip("lava")
        chip_text.main([*arguments, "--results", str(tmp_path / "chip")])
        found = on_lava(tmp_path / "chip")
        assert found["float"] == pytest.approx(spiking["perplexity"], rel=1e-4)
        assert found["lava"] == found["integers"] == pytest.approx(found["aware"], rel=1e-4)
        assert found["lava"] < record["numbers"]["unigram"]

    def test_wikitext_2_from_the_published_files(self, tmp_path):
        for part in ("train", "valid", "test"):
            (tmp_path / f"wiki.{part}.tokens").write_text(f" = {part} = \n\n{STORY[:2000]}")
        folders = ["--data-dir", str(tmp_path), "--output", str(tmp_path)]
        chosen = ["--preset", "quick", "--level", "word", "--texts", "wikitext2"]
        text.main([*chosen, *folders, "--results", str(tmp_path / "r")])
        record = record_of(tmp_path / "r")
        assert record["rows"][0]["what"] == "Perplexity of words, wikitext2"
        assert record["rows"][0]["published"] == "90.17 (LSTM 86.16)"
        assert record["rows"][0]["protocol"].startswith("trained on its training part")
        sizes = record["config"]["texts"]["wikitext2"]
        assert sizes["train"] > sizes["validation"] == sizes["test"] > 300


class TestSpeech:
    @pytest.fixture(scope="class")
    @staticmethod
    def trained(tmp_path_factory):
        """Tones of two pitches, as digits 3 and 7."""
        folder = tmp_path_factory.mktemp("speech")
        random = np.random.default_rng(0)
        for digit, pitch in ((3, 300), (7, 1200)):
            for index in range(24):
                time = np.arange(random.integers(3000, 5000)) / 8000
                tone = np.sin(2 * np.pi * pitch * random.uniform(0.95, 1.05) * time)
                noisy = 0.5 * tone + 0.02 * random.normal(size=len(tone))
                soundfile.write(folder / f"{digit}_theo_{index}.wav", noisy, 8000)
        common = ["--preset", "quick", "--output", str(folder / "out")]
        results = folder / "results"
        speech.main([*common, "--data-dir", str(folder), "--results", str(results)])
        return folder, common, record_of(results)

    def test_tones_are_told_apart(self, trained):
        _, _, record = trained
        assert record["numbers"]["SpikingLSTM"]["accuracy"] > 0.6  # chance is 0.5
        assert (record["config"]["train"], record["config"]["test"]) == (38, 10)

    def test_candidates_are_compared_without_the_test(self, trained, tmp_path, monkeypatch):
        folder, common, _ = trained
        chosen = dict(list(speech.CANDIDATES.items())[-1:])
        monkeypatch.setattr(speech, "CANDIDATES", chosen)
        sizes = []
        monkeypatch.setattr(
            speech.images, "accuracies", lambda model, x, y, draws: [sizes.append(len(x)) or 0.5]
        )
        speech.main([*common, "--data-dir", str(folder), "--results", str(tmp_path), "--validate"])
        record = record_of(tmp_path)
        assert list(record["numbers"]) == list(chosen)
        assert sizes == [10]  # two digits, five indices
        assert record["rows"] == []

    def test_spikes_of_the_features_arrive_on_the_chip(self, trained):
        pytest.importorskip("lava")
        folder, common, _ = trained
        options = [*common, "--data-dir", str(folder), "--results", str(folder / "chip")]
        chip_speech.main(options)
        found = on_lava(folder / "chip")
        assert (found["samples"], found["lava_samples"]) == (10, 4)
        assert found["float"] > 0.6  # chance is 0.5

    def test_spikes_of_a_feature_are_those_of_the_quantiles_below_it(self):
        training = np.arange(60.0).reshape(60, 1, 1) * [[[1], [100]]]  # (60, 2 steps, 1 feature)
        x = np.array([[[0.0], [0.0]], [[25.0], [2500.0]], [[59.0], [5900.0]]])
        levels = chip_speech.LEVELS
        found = quantile_spikes(x, training, levels).astype(int)
        assert found.shape == (3, 2, levels)
        assert found[:, 0].tolist() == found[:, 1].tolist()  # each step has its own quantiles
        assert found.sum(axis=-1)[:, 0].tolist() == [0, 2, levels]
        assert found[1, 0].tolist() == [1, 1, 0, 0, 0]

    def test_from_a_file_to_a_label(self, trained, capsys):
        folder, common, _ = trained
        speech.main([*common, "--label", str(folder / "7_theo_2.wav")])
        assert capsys.readouterr().out.startswith("7 (")

    def test_without_a_trained_network_it_says_how_to_train_one(self, trained, tmp_path):
        folder, _, _ = trained
        with pytest.raises(FileNotFoundError, match="Train it first: python -m"):
            speech.main(
                ["--label", str(folder / "7_theo_2.wav"), "--output", str(tmp_path / "none")]
            )

    @pytest.mark.parametrize(
        "arguments, said",
        [
            (["--label", "no.wav"], "There is no file no.wav"),
            (["--label", "no.wav", "--validate"], "a run without --validate"),
        ],
    )
    def test_what_cannot_be_labelled_is_said_at_once(self, arguments, said, capsys):
        with pytest.raises(SystemExit):
            speech.main(arguments)
        assert said in capsys.readouterr().err

    def test_features_do_not_depend_on_loudness(self):
        tone = np.sin(np.arange(4000) / 3).astype("float32")
        loud, quiet = speech.scattering([tone, tone / 100], "mean")
        np.testing.assert_allclose(loud, quiet, atol=1e-3)
        assert loud.shape == (8, 42)

    @pytest.mark.parametrize("length", [1, 8191, 8192, 8193, 20000])
    def test_recordings_are_centred(self, length):
        assert speech.centred(np.ones(length)).shape == (speech.SAMPLES,)
        assert speech.centred(np.ones(length)).sum() == min(length, speech.SAMPLES)


class TestAblation:
    def test_quick(self, tmp_path):
        common = ["--preset", "quick", "--results", str(tmp_path / "r")]
        ablation.main([*common, "--output", str(tmp_path)])
        numbers = record_of(tmp_path / "r")["numbers"]
        assert list(numbers) == list(ablation.CHANGES)[:2]
        page = tmp_path / "page.md"
        page.write_text(f"{experiment.BEGIN}\n{experiment.END}\n")
        ablation.main([*common, "--page", str(page), "--table"])
        default = numbers[ablation.DEFAULTS]["accuracy"]
        assert f"| {ablation.DEFAULTS} | {100 * default:.1f} % |  |" in page.read_text()


class TestAlphas:
    def test_quick(self, tmp_path):
        alphas.main(
            ["--preset", "quick", "--output", str(tmp_path), "--results", str(tmp_path / "r")]
        )
        record = record_of(tmp_path / "r")
        first, second = record["numbers"]["pairs"]
        assert (first["alpha_1"], first["alpha_2"]) == alphas.PAPER
        assert first["loss"] != second["loss"]
        figures.main(
            ["--preset", "quick", "--results", str(tmp_path / "r"), "--images", str(tmp_path)]
        )
        assert (tmp_path / "spiking_lstm_alphas.png").exists()
