"""What the experiments share: training that goes on after it was killed, and records."""

import argparse
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from examples import experiment
from keras_spiking_rnn import OnOffPoissonEncoder, SpikingLSTM

RECORD = {
    "experiment": "a, b",
    "preset": "quick",
    "seed": 0,
    "config": {},
    "command": "python -m a",
    "seconds": 1.0,
    "numbers": {"accuracy": 0.5},
    "rows": [],
}


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Ends a run in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.epoch == self.at and batch == 1:
            raise Killed


def model():
    keras.utils.set_random_seed(0)
    result = keras.Sequential(
        [
            keras.Input((5, 3)),
            OnOffPoissonEncoder(off=None, seed=1),
            SpikingLSTM(4, dropout=0.2, seed=2),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 12)
    result.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    return result


random = np.random.default_rng(0)
X, Y = random.random((32, 5, 3), "float32"), random.integers(0, 2, 32)


def train(folder, callbacks=()):
    trained = model()
    history = experiment.train(
        trained, X, Y, folder, "net", 3, 16, seed=0, validation=(X, Y), callbacks=callbacks
    )
    return trained, history


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A folder of checkpoints, the trained model and its history."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(folder)


class TestTrain:
    def test_a_run_that_was_killed_ends_as_one_that_was_not(self, tmp_path, uninterrupted):
        _, whole, whole_history = uninterrupted
        with pytest.raises(Killed):
            train(tmp_path / "killed", [KillAt(2)])
        again, history = train(tmp_path / "killed")
        for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert history["loss"] == whole_history["loss"]
        assert history["val_accuracy"] == whole_history["val_accuracy"]
        assert len(history["seconds"]) == 3

    def test_what_is_trained_is_loaded(self, uninterrupted):
        folder, whole, history = uninterrupted
        again, same = train(folder, [KillAt(0)])
        assert same == history
        for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("when", ["weights", "replace", "unlink"])
    def test_wherever_a_checkpoint_is_cut_off_the_one_before_is_there(
        self, tmp_path, monkeypatch, uninterrupted, when
    ):
        """While it is written, before it has its name, and before the one before it is deleted."""
        _, whole, whole_history = uninterrupted
        calls = []

        def killed(method):
            def at_the_second(*args, **options):
                calls.extend([] if options else [args])  # what may be missing is not deleted
                if len(calls) == (1 if when == "unlink" else 2):
                    if when == "weights":
                        Path(args[1]).write_bytes(b"half of it")
                    raise Killed
                return method(*args, **options)

            return at_the_second

        owner, name = {
            "weights": (keras.Model, "save_weights"),
            "replace": (os, "replace"),
            "unlink": (Path, "unlink"),
        }[when]
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, killed(getattr(owner, name)))
            with pytest.raises(Killed):
                train(tmp_path / "killed")
        folder = tmp_path / "killed" / "net"
        (folder / ".0123.weights.h5").write_bytes(b"half of it")  # of a process without an end
        again, history = train(tmp_path / "killed")
        assert history["loss"] == whole_history["loss"]
        for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["3.weights.h5", "log.csv"]

    def test_without_a_validation_there_are_no_metrics_of_it(self, tmp_path):
        log = tmp_path / "net" / experiment.LOG
        log.parent.mkdir()
        log.write_text("epoch,loss,val_loss\n0,2.5,NA\n1,2.0,NA\n1,1.5,NA\n")
        assert experiment.history(tmp_path, "net") == {"loss": [2.5, 1.5]}

    def test_without_an_epoch_there_is_no_history(self, tmp_path):
        assert experiment.history(tmp_path, "net") == {}

    def test_each_epoch_has_all_samples_in_an_order_of_its_own(self):
        batches = experiment.Batches(np.arange(10), np.arange(10), 4, seed=0)
        orders = []
        for batches.epoch in (0, 1, 0):
            orders.append(np.concatenate([batches[i][0] for i in range(len(batches))]))
        assert sorted(orders[0]) == list(range(10))
        assert (orders[0] != orders[1]).any()
        np.testing.assert_array_equal(orders[0], orders[2])


class TestArguments:
    parser = staticmethod(
        lambda: experiment.parser("Does it.\n", "folder/it", ("reduced", "quick"), ("idx", "tfds"))
    )

    def test_the_command_has_no_folder_of_this_machine(self):
        parser = self.parser()
        parser.add_argument("--models", nargs="+", default=["LSTM"])
        parser.add_argument("--more", action="store_true")
        given = parser.parse_args(
            "--source idx --data-dir /a/b --output /c --more --models SRC LIF".split()
        )
        assert experiment.command("examples.it", given, parser) == (
            "python -m examples.it --preset reduced --seed 0 --source idx --data-dir DIR "
            "--models SRC LIF --more"
        )

    def test_of_one_source_there_is_nothing_to_choose(self):
        given = experiment.parser("Does it.\n", "it", ("quick",), ("folder",)).parse_args([])
        assert given.data_dir is None and not hasattr(given, "source")

    def test_checkpoints_of_another_configuration_are_refused(self, tmp_path):
        given = self.parser().parse_args(["--output", str(tmp_path), "--seed", "3"])
        folder = experiment.directory(given, "folder/it", {"units": 2})
        assert folder == tmp_path / "reduced-3"
        assert experiment.directory(given, "folder/it", {"units": 2}) == folder
        # Nothing was trained, for an error in the arguments: they may change.
        assert experiment.directory(given, "folder/it", {"units": 4}) == folder
        (folder / "net").mkdir()
        with pytest.raises(ValueError, match="checkpoints of another configuration.*--output"):
            experiment.directory(given, "folder/it", {"units": 3})

    @pytest.mark.parametrize("seed", ["-1", "1.5", "one"])
    def test_a_seed_is_an_integer_of_at_least_0(self, seed, capsys):
        with pytest.raises(SystemExit):
            self.parser().parse_args([f"--seed={seed}"])
        assert "must be an integer of at least 0" in capsys.readouterr().err

    def test_what_must_be_positive(self):
        assert experiment.positive("12") == 12
        with pytest.raises(argparse.ArgumentTypeError, match="at least 1, not '0'"):
            experiment.positive("0")

    @pytest.mark.parametrize("option", ["--output", "--results"])
    def test_a_folder_is_no_file(self, option, tmp_path, capsys):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(SystemExit):
                self.parser().parse_args([option, str(path)])
            assert f"argument {option}: {tmp_path / 'file'} is a file" in capsys.readouterr().err
        given = self.parser().parse_args([option, str(tmp_path / "new")])
        assert tmp_path / "new" in (given.output, given.results)


class TestRecords:
    def test_that_of_a_run_has_its_arguments_and_its_command(self, tmp_path, capsys):
        parser = TestArguments.parser()
        parser.add_argument("--units", type=int)
        given = parser.parse_args(["--seed", "3", "--units", "8", "--output", str(tmp_path)])
        of_run = {"config": {"units": 8}, "seconds": 1.26, "numbers": {"accuracy": 0.5}, "rows": []}
        path = experiment.record("folder.it, a", given, parser, name="it-a", **of_run)
        assert path == tmp_path / "it-a-reduced-3.json"
        assert str(path) in capsys.readouterr().out
        (record,) = experiment.load(tmp_path).values()
        assert tuple(record) == (*experiment.RECORD, "versions")
        assert record["experiment"] == "folder.it, a"
        assert (record["preset"], record["seed"], record["seconds"]) == ("reduced", 3, 1.3)
        assert record["command"] == (
            "python -m examples.folder.it --preset reduced --seed 3 --units 8"
        )
        given.results = tmp_path / "results"
        path = experiment.record("folder.it, a", given, parser, name="it-a", **of_run)
        assert path.parent == tmp_path / "results"

    def test_they_come_back_with_versions(self, tmp_path):
        path = experiment.save(RECORD, "it", tmp_path / "results")
        assert path == tmp_path / "results" / "it-quick-0.json"
        ((name, record),) = experiment.load(path.parent).items()
        assert name == "it-quick-0"
        assert record["numbers"] == {"accuracy": 0.5}
        assert record["versions"]["keras"] == keras.__version__
        assert [each.name for each in Path(path.parent).iterdir()] == ["it-quick-0.json"]

    def test_a_quick_run_leaves_a_longer_one_and_other_seeds_alone(self, tmp_path):
        for preset, seed in (("reduced", 0), ("quick", 0), ("reduced", 1)):
            experiment.save({**RECORD, "preset": preset, "seed": seed}, "it", tmp_path)
        assert len(experiment.load(tmp_path)) == 3
        ((name, record),) = experiment.chosen(tmp_path).items()
        assert (name, record["preset"], record["seed"]) == ("it", "reduced", 0)

    def test_what_is_missing_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="needs seconds, rows: published"):
            row = dict.fromkeys(experiment.ROW, "")
            del row["published"]
            record = {**RECORD, "rows": [row]}
            del record["seconds"]
            experiment.save(record, "it", tmp_path)
