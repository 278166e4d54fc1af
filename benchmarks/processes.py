"""Workers, and what is measured with them."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import random
import select
import shlex
import subprocess
import sys
import tempfile
import time

import psutil

from benchmarks.subjects import SUBJECTS
from benchmarks.workloads import SEED

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
THREADS = 2
SECONDS_TO_READY = 300
IDLE_SHARE = 0.05
"""Of a processor: what a worker that waits may use at most before the result says so."""
FOREIGN_SHARE = 0.05
"""Of all processors: what others may use during a visit at most before it is repeated."""
VISIT_SECONDS = 0.1
"""A subject does as many steps at once as fit: a single short one would time its waking up."""
PATIENCE = 60
"""Seconds that repeated visits may take in all."""


class WorkerError(RuntimeError):
    """A worker ended or did not answer; the message has the end of its standard error."""


def python_of(name, peers_python):
    """The interpreter that runs a subject.

    Raises:
        FileNotFoundError: If the subject needs the environment of the peers, which is not there.
    """
    if SUBJECTS[name].framework == "tensorflow":
        return sys.executable
    if not pathlib.Path(peers_python).exists():
        raise FileNotFoundError(
            f"{name} needs the environment of the peers, but there is no {peers_python}. "
            "`make bench` makes it; or pass another one with --peers-python, or `--peers none`."
        )
    return str(peers_python)


class Worker:
    """A process with one subject: see `benchmarks.worker`.

    Args:
        name: Name of the subject.
        workload: A `Workload`.
        mode: `"training"` or `"inference"`.
        peers_python: Interpreter of the environment of the peers.
        memory: Whether its memory is measured instead of its time.
        seconds_to_ready: How long it may take to build, compile and warm up.
    """

    def __init__(
        self,
        name,
        workload,
        mode="training",
        peers_python=PEERS_PYTHON,
        memory=False,
        seconds_to_ready=SECONDS_TO_READY,
    ):
        self.name = name
        self.deadline = time.monotonic() + seconds_to_ready
        self._stderr = tempfile.TemporaryFile("w+")
        job = {
            "subject": name,
            "workload": workload.to_json(),
            "mode": mode,
            "memory": memory,
            "threads": THREADS,
            "batches": workload.batches,
        }
        command = [python_of(name, peers_python), "-m", "benchmarks.worker", json.dumps(job)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(memory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Ends by itself at the end of its input, if it is not stuck.
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._stderr.close()

    def answer(self):
        """The next answer, a dictionary.

        Raises:
            WorkerError: If there is none.
        """
        left = max(0.0, self.deadline - time.monotonic())
        if not select.select([self.process.stdout], [], [], left)[0]:
            raise WorkerError(f"{self.name} did not answer in time.\n{self._last_words()}")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise WorkerError(f"{self.name} ended with code {code}.\n{self._last_words()}")
        return json.loads(line)

    def seconds(self, steps):
        """Mean time of some steps."""
        self.deadline = time.monotonic() + SECONDS_TO_READY
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` says why.
        return self.answer()["seconds"]

    def processor_seconds(self):
        """Processor time so far, in seconds, with that of its children."""
        process = psutil.Process(self.process.pid)
        every = [process, *process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in every)

    def _last_words(self):
        self._stderr.seek(0)
        return "".join(self._stderr.readlines()[-20:])


def _environment(memory):
    # Not OMP_WAIT_POLICY: OpenMP's threads spin for a moment only, and PyTorch is slower without.
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(counts, str(THREADS)),
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # A pool of compiling processes would be one more thing that may not be idle.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    if memory:
        # With oneDNN TensorFlow never gives back what it has allocated: what steps need could not
        # be told from what compiling needed.
        environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
        # The limit above which freed memory goes back to the system at once. glibc's own, which it
        # raises up to 32 MiB unless it is given: what is kept then depends on the order of steps.
        environment["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    return environment


def measure(
    jobs,
    repeats,
    mode="training",
    peers_python=PEERS_PYTHON,
    patience=PATIENCE,
    report=lambda text: None,
):
    """Times jobs side by side: in each round each of them, in a new order, while the others wait.

    A visit during which other processes are busy is repeated, as long as there is patience left.

    Args:
        jobs: Dictionary from a key to a tuple `(name, workload)`.
        repeats: Number of rounds.
        mode: `"training"` or `"inference"`.
        peers_python: Interpreter of the environment of the peers.
        patience: Seconds that repeated visits may take in all.
        report: Function that is told what happens.

    Returns:
        Dictionary from the keys to what was measured, as the results have it. That of a variant
        which cannot be compiled has an `"error"` instead.

    Raises:
        WorkerError: If a worker dies that is not a compiled variant.
    """
    workers, results = {}, {}
    try:
        for key, (name, workload) in jobs.items():
            workers[key] = Worker(name, workload, mode, peers_python)
        for key, worker in list(workers.items()):
            report(f"starts {worker.name}")
            try:
                results[key] = {**worker.answer(), "seconds": []}
            except WorkerError as error:
                if not worker.name.endswith("_compiled"):
                    raise
                results[key] = {"error": str(error).strip()}
                workers.pop(key).__exit__()
        check_gradients(results)
        for key, worker in workers.items():
            # While the others were starting, it was slower.
            alone = min(worker.seconds(1) for _ in range(3))
            results[key]["steps"] = max(1, round(VISIT_SECONDS / alone))
        _rounds(workers, results, repeats, patience, report)
    finally:
        for worker in workers.values():
            worker.__exit__()
    return results


def check_gradients(results):
    """Raises a `WorkerError` if a subject takes no gradient through time."""
    cut = [key for key, result in results.items() if result.get("gradient_through_time") == 0]
    if cut:
        raise WorkerError(
            f"{', '.join(cut)}: no gradient flows from an output to the inputs three steps before. "
            "This is less work than that of the others, or all units are silent."
        )


def _rounds(workers, results, repeats, patience, report):
    shuffle = random.Random(SEED).shuffle
    idle = dict.fromkeys(workers, 0.0)
    waited = dict.fromkeys(workers, 0.0)
    processor = {key: worker.processor_seconds() for key, worker in workers.items()}
    left = {key: time.monotonic() for key in workers}
    for round_ in range(repeats):
        order = list(workers)
        shuffle(order)
        for key in order:
            report(f"round {round_ + 1} of {repeats}: {workers[key].name}")
            waited[key] += time.monotonic() - left[key]
            idle[key] += workers[key].processor_seconds() - processor[key]
            seconds, foreign = _visit(workers[key], results[key]["steps"])
            while foreign > FOREIGN_SHARE and patience > 0:
                start = time.monotonic()
                time.sleep(0.5)
                seconds, foreign = _visit(workers[key], results[key]["steps"])
                patience -= time.monotonic() - start
            results[key]["seconds"].append(seconds)
            results[key].setdefault("foreign", []).append(round(foreign, 3))
            processor[key] = workers[key].processor_seconds()
            left[key] = time.monotonic()
    for key in workers:
        # Threads that spin for a moment after a step count as well.
        results[key]["idle"] = idle[key] / waited[key]


def _visit(worker, steps):
    """Mean seconds of a step, and the share of the processors that others used meanwhile."""
    start = time.monotonic(), _busy_seconds() - worker.processor_seconds()
    seconds = worker.seconds(steps)
    duration = time.monotonic() - start[0]
    foreign = _busy_seconds() - worker.processor_seconds() - start[1]
    return seconds, max(0.0, foreign / duration / psutil.cpu_count())


def _busy_seconds():
    times = psutil.cpu_times()
    return times.user + times.system + getattr(times, "steal", 0.0)


def surroundings():
    """When, where and with what command a result was measured."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": _command(sys.argv),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": THREADS,
        "seed": SEED,
        "load": os.getloadavg()[0],
    }


def _command(argv):
    """What was typed, without the paths of one machine: of the command and of an interpreter."""
    module, *arguments = argv
    option = "--peers-python"
    kept = [
        each
        for before, each in zip(argv, arguments, strict=False)
        if option not in (before, each) and not each.startswith(option + "=")
    ]
    return shlex.join(["python", "-m", "benchmarks." + pathlib.Path(module).stem, *kept])


def _processor():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.processor()


def write(content, name, directory=RESULTS):
    """Writes a result as JSON and returns its path."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def versions_of(results):
    """The versions of all packages that the workers told."""
    merged = {}
    for key, result in results.items():
        framework = SUBJECTS[key].framework if key in SUBJECTS else "tensorflow"
        merged.setdefault(framework, {}).update(result.pop("versions", {}))
    return merged
