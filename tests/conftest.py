import gc

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def quick_collections():
    """Leaves out what was imported, TensorFlow above all: each Lava session ends with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def repeatable():
    """No test depends on what ran before it, or on luck."""
    import keras  # Not above: the process that hands out the tests does not need it.

    keras.utils.set_random_seed(0)


def pytest_collection_modifyitems(items):
    """Lava first: it forks this process, which grows with each loop that XLA compiles.

    `--no-loadscope-reorder` keeps this order: xdist would begin with the largest groups.
    """
    items.sort(key=lambda item: "lava" not in item.path.parts)
