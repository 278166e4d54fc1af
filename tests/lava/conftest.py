import os
import threading
import time

import psutil
import pytest
from hypothesis import Phase, settings

# No shrinking: with half a second for each Lava run, a failure would take minutes to report.
settings.register_profile(
    "lava",
    deadline=None,
    derandomize=True,
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("lava")


def leftovers():
    """Child processes, threads, open files and shared memory, as comparable values."""
    process = psutil.Process()
    return {
        "children": {
            child.pid
            for child in process.children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE or child.ppid() == process.pid
        },
        "threads": set(threading.enumerate()),
        "files": process.num_fds(),
        "shared memory": set(os.listdir("/dev/shm")),
    }


@pytest.fixture
def nothing_left():
    """Fails the test if it leaves a child, a thread, an open file or shared memory."""
    before = leftovers()
    yield
    deadline = time.monotonic() + 5
    while leftovers() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers() == before
