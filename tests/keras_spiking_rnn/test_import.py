"""Importing the library: what it exports, and what it says about other backends."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import keras_spiking_rnn

ROOT = str(pathlib.Path(keras_spiking_rnn.__file__).parents[1])


def run(code, home, **environment):
    """Runs Python code in a fresh process that reads `keras.json` from `home`."""
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": ROOT, "KERAS_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_refused(process, backend):
    assert process.returncode != 0
    last_line = process.stderr.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"ImportError: [^.]*'{backend}'[^.]*KERAS_BACKEND=tensorflow[^.]*\.", last_line
    )


# Neither need be installed: the import must not get as far as looking for them.
@pytest.mark.parametrize("backend", ["jax", "torch", "no_such_backend"])
def test_another_backend_in_the_environment(tmp_path, backend):
    process = run("import keras_spiking_rnn", tmp_path, KERAS_BACKEND=backend)
    assert_refused(process, backend)


def test_another_backend_in_keras_json(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert_refused(run("import keras_spiking_rnn", tmp_path), "torch")


def test_keras_already_imported_with_another_backend(tmp_path):
    # A stand-in for Keras, since no other backend need be installed.
    code = """
import sys, types
keras = sys.modules["keras"] = types.ModuleType("keras")
keras.config = types.SimpleNamespace(backend=lambda: "jax")
import keras_spiking_rnn
"""
    assert_refused(run(code, tmp_path, KERAS_BACKEND="tensorflow"), "jax")


def test_the_environment_goes_before_keras_json_and_matplotlib_is_not_needed(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["tonic"] = None  # As if they were not installed.
import keras_spiking_rnn
try:
    keras_spiking_rnn.plots.surrogate("rectangular")
except ImportError as error:
    print(error)
"""
    process = run(code, tmp_path, KERAS_BACKEND="tensorflow")
    assert process.returncode == 0, process.stderr
    assert process.stdout == ("Pictures need Matplotlib: pip install keras-spiking-rnn[viz]\n")


@pytest.mark.parametrize("text", [None, "", "not json", "{}", '{"backend": "tensorflow"}'])
def test_a_keras_json_that_chooses_nothing_else(tmp_path, monkeypatch, text):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "keras.json").write_text(text)
    assert keras_spiking_rnn._backend.configured_backend() == "tensorflow"


def test_exports():
    assert keras_spiking_rnn.__version__ == "0.1.0"
    for name in keras_spiking_rnn.__all__:
        assert hasattr(keras_spiking_rnn, name)
