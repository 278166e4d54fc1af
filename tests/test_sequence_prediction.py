"""The sequence prediction of the adaptive LSTM: training, checkpoints, and its small preset."""

import json

import numpy as np
import pytest
import tensorflow as tf

from examples.adaptive_lstm import records, sequence_prediction
from examples.adaptive_lstm.sequence_prediction import BLOCK, Config, Training
from keras_spiking_rnn.adaptive_lstm import NetworkResponse

pytestmark = pytest.mark.xdist_group("sequence_prediction")  # one run for all


def config(**arguments):
    given = {"task": "sequence", "variant": "published", "length": 6, "networks": 2, "trials": 800}
    return Config(**{**given, "learning_rate": 0.5, "hardening": 3000, **arguments})


class Scripted:
    """A network whose losses and errors are known, `(trials, networks)`, and which learns not."""

    def __init__(self, losses, errors):
        self.losses, self.errors = losses, errors
        self.rates, self.included, self.noise = [], [], []

    def train_symbols(self, weights, symbols, targets, rates, included, scored, noise):
        block = slice(len(self.rates) * BLOCK, (len(self.rates) + 1) * BLOCK)
        self.rates.append(rates)
        self.included.append(included)
        self.noise.append(noise)
        steps = np.arange(scored) == scored - 1
        losses, errors = (
            tf.constant(values[block, :, None] * steps) for values in (self.losses, self.errors)
        )
        return weights, losses, errors


class TestTask:
    def test_the_first_symbol_is_the_last_one(self):
        symbols, following = sequence_prediction.sequences(config(), 50, np.random.default_rng(0))
        assert symbols.shape == following.shape == (50, 2, 6)
        assert set(symbols[..., 0].ravel()) == {5, 6}
        np.testing.assert_array_equal(following[..., -1], symbols[..., 0])
        np.testing.assert_array_equal(following[..., :-1], symbols[..., 1:])
        assert (symbols[..., 1:] == np.arange(5)).all()

    def test_in_the_noisy_task_only_the_last_symbol_counts(self):
        noisy = config(task="noisy-sequence", length=20)
        symbols, following = sequence_prediction.sequences(noisy, 50, np.random.default_rng(0))
        assert following.shape == (50, 2, 1)
        np.testing.assert_array_equal(following[..., 0], symbols[..., 0])
        assert set(symbols[..., 1:].ravel()) == set(range(19))

    def test_both_sequences_are_simulated(self):
        x, targets = sequence_prediction.test_sequences(config(task="noisy-sequence"), draws=3)
        assert x.shape == (6, 6, 7) and (x.sum(axis=-1) == 1).all()
        assert targets.tolist() == [5, 5, 5, 6, 6, 6]
        assert x[:, 0].argmax(axis=-1).tolist() == targets.tolist()

    def test_at_the_start_a_sequence_writes_the_first_cec(self):
        for variant in ("published", "refitted"):
            start = config(variant=variant, length=100, first_cec=0.5)
            once = float(start.activation(np.float64(start.offset)))
            assert 100 * once**2 == pytest.approx(0.5, rel=0.02)


class TestTraining:
    def advanced(self, losses, errors, blocks, **arguments):
        training, network = Training.start(config(**arguments)), Scripted(losses, errors)
        for _ in range(blocks):
            training.advance([network, network])
        return training, network

    def test_the_criterion_is_the_mean_of_100_trials(self):
        errors = np.ones((400, 2))
        errors[130:, 0] = 0
        training, network = self.advanced(np.ones((400, 2)), errors, 4)
        # After 206 trials 24 of the last 100 errors are 1.
        assert training.converged.tolist() == [206, -1]

    def test_after_it_a_network_learns_on_with_noise(self):
        errors = np.full((600, 2), [0.2, 1.0])
        training, network = self.advanced(np.ones((600, 2)), errors, 5, hardening=200, noise=0.5)
        assert training.converged.tolist() == [100, -1]
        noise = np.stack(network.noise)
        assert (noise[:, :, 0, -1].std(axis=(1, 2)) > 0.4).tolist() == [False] + [True] * 4
        assert (noise[:, :, 1] == 0).all() and (noise[:, :, :, :-1] == 0).all()
        assert [rates.tolist() for rates in network.rates] == [
            [0.5, 0.5],
            [0.5, 0.5],
            [0.25, 0.5],
            [0, 0.5],
            [0, 0.5],
        ]
        assert training.done.tolist() == [True, False] and not training.finished

    def test_at_last_another_network_may_take_over(self):
        errors = np.full((500, 2), [0.2, 1.0])
        training = Training.start(config(hardening=200, tuning=200))
        first, second = Scripted(np.ones((500, 2)), errors), Scripted(np.ones((500, 2)), errors)
        for _ in range(5):
            training.advance([first, second])
        assert [rates[0] for rates in first.rates] == [0.5, 0.5, 0.25, 0, 0]
        assert [rates[1] for rates in first.rates] == [0.5] * 5
        assert [rates.tolist() for rates in second.rates] == [[0.2, 0], [0.1, 0]]
        assert training.done.tolist() == [True, False]

    def test_lstms_come_when_the_loss_has_stopped_falling(self):
        of_blocks = np.array([[8.0, 8.0], [4, 4], [2, 3.9], [1.99, 3.8], [1, 1]])
        losses = np.repeat(of_blocks, BLOCK, axis=0)
        training, network = self.advanced(losses, np.ones((500, 2)), 5)
        assert training.included.tolist() == [400, 300]
        assert [included.tolist() for included in network.included] == [
            [False, False],
            [False, False],
            [False, False],
            [False, True],
            [True, True],
        ]

    def test_a_killed_run_goes_on_with_the_same_numbers(self, tmp_path):
        given, path = config(trials=500), tmp_path / "c.npz"
        whole = sequence_prediction.train(given, tmp_path / "whole.npz", progress=False)
        part = Training.start(given)
        for _ in range(2):
            part.advance([given.network(given.activation)] * 2)
        part.save(path)
        resumed = sequence_prediction.train(given, path, progress=False)
        assert resumed.trials == whole.trials == 500
        for name, value in whole.weights.items():
            np.testing.assert_array_equal(resumed.weights[name], value)
            assert not np.array_equal(part.weights[name], value)
        for name in ("recent", "loss", "included", "converged", "done"):
            np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
        again = sequence_prediction.train(given, path, progress=False)
        assert (again.trials, again.seconds) == (500, resumed.seconds)

    def test_the_checkpoint_of_another_run_is_refused(self, tmp_path):
        path = tmp_path / "c.npz"
        Training.start(config()).save(path)
        with pytest.raises(ValueError, match="c.npz is the checkpoint of a run with another conf"):
            Training.load(path, config(seed=1))


class TestSpikes:
    def test_the_model_is_the_trained_network_with_neurons_for_its_inputs(self):
        given = config()
        weights = Training.start(given).weights
        x, _ = sequence_prediction.test_sequences(given, 1)
        model = sequence_prediction.to_keras(given, weights, 1)
        without = given.network(given.activation).to_keras(
            {n: tf.constant(w) for n, w in weights.items()}, 1
        )
        # All that differs is A(0) of the inputs that are 0.
        A = given.activation
        leak = float(A(np.float64(0)) / A(np.float64(sequence_prediction.INPUT_CURRENT)))
        kernel = weights["output_kernel"][1, :7]
        difference = np.abs(model.predict(x, verbose=0) - without.predict(x, verbose=0)).max()
        steepest = 0.8822
        assert 0 < difference < steepest * leak * np.abs(kernel).sum(axis=0).max()

    def test_rates_are_those_of_neurons_that_are_active(self):
        inputs = np.zeros((1, 400, 3), bool)
        inputs[0, 0:20:2, 0] = True  # 10 spikes in the first window
        inputs[0, 250, 1] = True  # one by chance in the second
        gate = np.zeros((1, 400, 1), bool)
        gate[0, 300:306] = True  # 6 in the second
        response = NetworkResponse(
            np.zeros((1, 400, 3)),
            {},
            {"inputs/neurons": inputs, "memory/input_gate": gate},
            dt=1e-3,
            window=200,
            state=None,
        )
        # 16 spikes; an input is active in one window, and the gate in both: 3 * 0.2 s.
        assert sequence_prediction.active_rate(response)[0] == pytest.approx(16 / 0.6)


def test_a_run_that_is_typed_twice_ends_with_the_same_numbers(tmp_path, monkeypatch):
    small = {"length": 6, "networks": 2, "trials": {"noisy-sequence": 300}, "seeds": 1}
    small |= {"hardening": {"noisy-sequence": 100}, "tuning": 100, "exported": 0, "on_lava": 0}
    monkeypatch.setitem(sequence_prediction.PRESETS, "quick", small)
    typed = ["--preset", "quick", "--tasks", "noisy-sequence", "--variants", "published"]
    found = []
    for _ in range(2):
        sequence_prediction.main([*typed, "--output", str(tmp_path)])
        found.append(records.load(tmp_path)["noisy-sequence", "published"]["networks"])
    assert found[0] == found[1]


def test_arguments_that_do_not_fit(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for wrong in (["--seed", "-1"], ["--results", str(tmp_path / "file")]):
        with pytest.raises(SystemExit):
            sequence_prediction.main(["--preset", "quick", "--output", str(tmp_path), *wrong])
    errors = capsys.readouterr().err
    assert "--seed must be at least 0" in errors and "Name another folder" in errors
    assert not list(tmp_path.glob("*.npz"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("sequence_prediction")
    sequence_prediction.main(["--preset", "quick", "--output", str(output)])
    return records.load(output), output


@pytest.mark.parametrize("task", sequence_prediction.TASKS)
def test_networks_converge_and_their_spikes_are_right(run, task):
    found, _ = run
    for variant in records.VARIANTS:
        record = found[task, variant]
        networks = [network for network in record["networks"] if network["converged"]]
        assert len(networks) == len(record["networks"]) == 5, (task, variant)
        assert all(network["included"] < network["iterations"] for network in networks)
        assert all(network["analog"] < 0.25 for network in networks)
        runs = [run for network in networks for run in network["spiking"]]
        assert np.mean([run["correct"] for run in runs]) >= 0.9, (task, variant)
        assert 10 < np.mean([run["rate"] for run in runs]) < 120
    lava = found[task, "deterministic"]["lava"]
    assert (lava["networks"], lava["correct"], lava["on_lava"]) == (1, 1, 0)


def test_records_are_complete(run):
    found, output = run
    record = found["sequence", "refitted"]
    assert record["preset"] == "quick"
    assert record["command"].endswith(
        "--preset quick --tasks sequence --variants refitted --seed 0"
    )
    assert record["config"]["length"] == 20 and record["seconds"]["training"] > 0
    assert set(record["versions"]) == {"keras", "tensorflow", "numpy", "keras_spiking_rnn"}
    json.dumps(record)
    arrays = records.load_arrays("sequence", "refitted", output)
    assert arrays["analog_outputs"].shape == (20, 21)
    assert arrays["spiking_outputs"].shape == (200, 21)
    assert arrays["analog_cec"].shape == (20, 1) and arrays["spiking_cec"].shape == (200, 1)
    assert abs(arrays["analog_cec"][-1, 0] - arrays["spiking_cec"][-1, 0]) < 0.5
    assert arrays["labels"].tolist()[-2:] == ["x", "y"]
    assert arrays["analog_outputs"][-1].argmax() == arrays["spiking_outputs"][-1].argmax() == 20
