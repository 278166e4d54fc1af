"""The command line on Lava."""

import json

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import RLIF, TimeSum
from lava_export.__main__ import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 5)),
            keras.layers.Dense(7),
            RLIF(4, threshold=0.4, return_sequences=True),
            TimeSum(),
        ]
    )
    x = np.random.default_rng(0).integers(0, 2, (5, 6, 5)).astype("float32")
    monkeypatch.chdir(tmp_path)
    model.save("model.keras")
    np.savez("data.npz", x=x, y=np.zeros(5, int))
    lava_export.export(model, x).save("network.h5")
    return tmp_path


def test_verify_and_run(folder, capsys):
    arguments = ["verify", "model.keras", "network.h5", "data.npz", "--samples-stock", "2"]
    assert main([*arguments, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["lava"]
    assert [(stage["mode"], stage["samples"]) for stage in stages] == [("stock", 2), ("batched", 5)]
    assert all(stage["spike_mismatches"] == stage["state_mismatches"] == 0 for stage in stages)
    assert main(["run", "network.h5", "data.npz", "--backend", "lava", "--output", "a.npz"]) == 0
    network, data = lava_export.load("network.h5"), np.load("data.npz")
    fired = np.load("a.npz")["spikes"]
    np.testing.assert_array_equal(fired, network.run(data["x"]))
    assert fired.any()


def test_a_run_that_fails_is_a_problem(folder, capsys, monkeypatch):
    from lava_export import lava

    def fails(*_, **__):
        raise lava.LavaError("a worker died\nwith a traceback")

    monkeypatch.setattr(lava.Simulator, "run", fails)
    assert main(["run", "network.h5", "data.npz", "--backend", "lava"]) == 1
    assert capsys.readouterr().err == "error: a worker died with a traceback\n"
