import keras
import pytest


@pytest.fixture(autouse=True)
def repeatable():
    """No test depends on what ran before it, or on luck."""
    keras.utils.set_random_seed(0)
