"""The check that Keras runs on TensorFlow, made without importing Keras."""

import json
import os
import sys


def _keras_home():
    """Returns the folder of `keras.json`, found as Keras finds it."""
    if "KERAS_HOME" in os.environ:
        return os.environ["KERAS_HOME"]
    home = os.path.expanduser("~")
    return os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def configured_backend():
    """Returns the backend that Keras uses, or would use were it imported now."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        return keras.config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    try:
        with open(os.path.join(_keras_home(), "keras.json"), encoding="utf-8") as file:
            return json.load(file).get("backend", "tensorflow")
    except (OSError, ValueError):
        return "tensorflow"


def require_tensorflow():
    """Raises an `ImportError` unless Keras' backend is TensorFlow.

    It runs before Keras is imported, because importing Keras with a backend that is not
    installed fails with an error about that backend.
    """
    backend = configured_backend()
    if backend != "tensorflow":
        raise ImportError(
            "keras_spiking_rnn needs the TensorFlow backend of Keras but the backend is "
            f"'{backend}': set the environment variable KERAS_BACKEND=tensorflow before Python "
            "first imports keras."
        )
