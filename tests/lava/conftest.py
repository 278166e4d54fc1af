import os
import threading
import time
from pathlib import Path

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


def shared_memory():
    """Names in /dev/shm, but for what the rest of the machine has in use."""
    names = set(os.listdir("/dev/shm"))
    if not names:
        return names
    this = psutil.Process()
    ours = {this.pid, *(child.pid for child in this.children(recursive=True))}
    for pid in set(psutil.pids()) - ours:
        try:
            mapped = Path(f"/proc/{pid}/maps").read_text()
        except OSError:  # it has ended
            continue
        names -= {name for name in names if f"/dev/shm/{name}" in mapped}
    return names


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
        "shared memory": shared_memory(),
    }


def left(before):
    """What is there now and was not before, by its kind."""
    after = leftovers()
    added = {kind: after[kind] - before[kind] for kind in before if kind != "files"}
    added["files"] = max(after["files"] - before["files"], 0)
    return {kind: those for kind, those in added.items() if those}


@pytest.fixture
def nothing_left():
    """Fails the test if it leaves a child, a thread, an open file or shared memory."""
    before = leftovers()
    yield
    deadline = time.monotonic() + 5
    # One look at a time: between two, another process may have created what it has not mapped yet.
    while (there := left(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not there
