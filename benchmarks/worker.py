"""One subject in a process of its own: `python -m benchmarks.worker JOB`, JOB in JSON.

It answers in lines of JSON. The first one says that the subject is built and warm, and what it is
like. Then for each number n that it reads it does n steps and answers with their mean time. A job
with `"memory": true` has one answer, see `memory_of_a_step`.
"""

import ctypes
import gc
import importlib
import json
import os
import sys
import time

from benchmarks.subjects import SUBJECTS
from benchmarks.workloads import Workload

WARM_UP = 3


def main():
    """Does a job."""
    job = json.loads(sys.argv[1])
    # Libraries write to the standard output, too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])

    def answer(**content):
        print(json.dumps(content), file=answers, flush=True)

    framework = SUBJECTS[job["subject"]].framework
    subjects = importlib.import_module(f"benchmarks.{framework}_subjects")
    subjects.use_threads(job["threads"])
    step, activity, gradient_through_time = subjects.build(
        job["subject"], Workload.from_json(job["workload"]), job["mode"], job["batches"]
    )
    if job["memory"]:
        answer(**memory_of_a_step(step), versions=subjects.VERSIONS)
        return

    about = {"versions": subjects.VERSIONS}
    if activity:
        about["activity"] = activity()
    if gradient_through_time and job["mode"] == "training":
        about["gradient_through_time"] = gradient_through_time()
    for _ in range(WARM_UP):
        step()
    answer(**about)
    gc.freeze()
    for line in sys.stdin:
        answer(seconds=timed(step, int(line)))


def timed(step, count):
    """Mean time of some steps in seconds."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def memory_of_a_step(step):
    """Resident memory in MiB: after building, after warm-up, and the peak of the steps after it.

    The difference of the last two is what a step needs: the first steps compile, which takes memory
    that has nothing to do with the size of the batch. What the allocator keeps for later is given
    back to the system before; how much that was is in `kept`.
    """
    gc.collect()
    built = _status("VmRSS")
    for _ in range(WARM_UP):
        step()
    gc.collect()
    before = _status("VmRSS")
    ctypes.CDLL(None).malloc_trim(0)
    warm = _status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Resets VmHWM.
    for _ in range(WARM_UP):
        step()
    peak = _status("VmHWM")
    return {"built": built, "kept": before - warm, "warm": warm, "peak": peak}


def _status(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}: memory is measured on Linux only.")


if __name__ == "__main__":
    main()
