"""A Lava runtime that cannot hang.

Lava runs each process of a network in a worker, a forked child, and waits for it without limit:
if a worker raises, dies or blocks, `run`, `stop`, `Var.get`, `Var.set` and even the exit of the
interpreter wait forever. Here each wait of the parent is bounded and watches all workers, a
worker reports its exceptions as text, and a session ends in one way only, however it went: its
workers are killed. All memory they share is anonymous, so that nothing has to be cleaned up.
"""

import atexit
import gc
import logging
import mmap
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from contextlib import contextmanager

from lava.magma.compiler.channels import pypychannel
from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.process.process import LogConfig, ProcessServer
from lava.magma.core.process.variable import VarServer
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.runtime import runtime as lava_runtime
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing
from lava.magma.runtime.mgmt_token_enums import MGMT_RESPONSE, enum_equal

POLL = 0.05  # seconds between two looks at the workers while the parent waits
LARGEST_PIECE = 16  # Lava steps of a fast network between two signs of life
SLOW = 0.5  # seconds for a piece, from which on the network gives a sign of life every step
GRACE = 2.0  # seconds for the traceback of a worker to arrive after its failure was noticed
REPORT_BYTES = 4000  # a report of less than PIPE_BUF (4096) bytes is written at once or not at all

_fork = multiprocessing.get_context("fork")
# Lava takes these from the default context, whose start method belongs to the caller.
pypychannel.Semaphore = _fork.Semaphore
lava_runtime.Queue = _fork.Queue


class LavaError(RuntimeError):
    """A Lava run failed: a worker raised, died, or made no progress."""


class LavaSession:
    """One run of a Lava network, from building its processes to the end of all its workers.

    Build the processes inside the `with` block, so that what Lava keeps of them is dropped at
    its end. After `start`, `Var.get` and `Var.set` are bounded like `run`.

    Example:
        >>> with LavaSession(timeout=60.0) as session:
        ...     lif = LIF(shape=(3,), bias_mant=5)
        ...     session.start(lif)
        ...     session.run(10)
        ...     lif.v.get()

    Args:
        timeout: Seconds without progress after which the network is killed.
    """

    _live = set()

    def __init__(self, timeout=60.0):
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0.")
        self.timeout = timeout
        self._runtime = None
        self._piece = 1  # Lava steps that `run` asks for at once

    def __enter__(self):
        self._handlers = list(logging.getLogger().handlers)
        self._processes = list(ProcessServer().processes)
        self._vars = list(VarServer().vars)
        LavaSession._live.add(self)
        return self

    def __exit__(self, *exception):
        self.kill()
        LavaSession._live.discard(self)
        _forget_since(self._processes, ProcessServer().processes)
        _forget_since(self._vars, VarServer().vars)
        _remove_log_handlers(self._handlers)
        gc.collect()  # Lava's objects refer to each other in circles

    def start(self, process, channel_size=64):
        """Compile `process` and all that is connected to it, and start the workers.

        Args:
            process: Any process of the network.
            channel_size: Messages that fit into a channel between two workers.

        Raises:
            LavaError: If a worker fails, or is not ready within `timeout` seconds.
        """
        with _models_found_once():
            executable = process.compile(
                Loihi2SimCfg(select_tag="fixed_pt"), {"pypy_channel_size": channel_size}
            )
        self._runtime = _Runtime(executable, self.timeout)
        executable.assign_runtime_to_all_processes(self._runtime)
        self._runtime.initialize()

    def run(self, steps):
        """Run for `steps` steps.

        Raises:
            LavaError: If a worker fails, or there is no progress for `timeout` seconds.
        """
        if self._runtime is None:
            raise LavaError("The session has ended or was not started: there is nothing to run.")
        while steps > 0:
            piece = min(steps, self._piece)
            start = time.monotonic()
            self._runtime.advance(piece)
            slow = time.monotonic() - start > SLOW
            self._piece = 1 if slow else min(2 * piece, LARGEST_PIECE)
            steps -= piece

    def kill(self):
        """End all workers at once; a second call does nothing."""
        if self._runtime is not None:
            self._runtime.stop()
            self._runtime = None


@atexit.register
def _kill_all():
    for session in list(LavaSession._live):
        session.kill()


class _Runtime(lava_runtime.Runtime):
    """Lava's runtime, with our workers and with ports that do not wait forever."""

    def __init__(self, executable, timeout):
        super().__init__(executable, ActorType.MultiProcessing)
        self._timeout = timeout
        self._pid = os.getpid()

    def _build_message_infrastructure(self):
        names = {
            id(builder): f"{type(process).__name__} {process.name!r}"
            for process, builder in self._executable.proc_builders.items()
        }
        self._messaging_infrastructure = _Workers(names)
        self._messaging_infrastructure.start()

    def _start_ports(self):
        super()._start_ports()
        self.runtime_to_service = [_Port(port, self.wait_for) for port in self.runtime_to_service]
        self.service_to_runtime = [_Port(port, self.wait_for) for port in self.service_to_runtime]
        self.exception_q = []  # which `initialize` would read; our workers report differently
        self.wait_for(self._messaging_infrastructure.are_built)

    def wait_for(self, event):
        """Wait until `event(seconds)`, which may wait for that long, is true."""
        deadline = time.monotonic() + self._timeout
        while not event(POLL):
            self._messaging_infrastructure.check()
            if time.monotonic() > deadline:
                raise LavaError(
                    f"Lava made no progress for {self._timeout:g} seconds and was stopped: "
                    "pass a longer timeout if the network is large or the machine is busy."
                )

    def advance(self, steps):
        """Run for `steps` steps and wait until they are done."""
        self.start(RunSteps(steps, blocking=False))
        for port in self.service_to_runtime:
            response = port.recv()
            if not enum_equal(response, MGMT_RESPONSE.DONE):
                self._messaging_infrastructure.raise_failure()
        self._is_running = False

    def stop(self):
        """Kill the workers. Lava's own `stop` asks them, and waits for the answer forever."""
        if os.getpid() != self._pid:
            return  # a forked child has this object too, but not the workers
        self._is_started = self._is_running = False
        if self._messaging_infrastructure is not None:
            self._messaging_infrastructure.stop()
        threads = [port.thread for port in self._open_ports if port.thread is not None]
        self.join()
        for thread in threads:
            thread.join(GRACE)
        for process in self._executable.process_list:
            process.runtime = None

    def __del__(self):
        """Nothing: the session ends the workers."""


class _Port:
    """A port of the runtime whose `send` and `recv` end when `wait_for` raises."""

    def __init__(self, port, wait_for):
        self._port = port
        self._wait_for = wait_for

    def send(self, data):
        if not self._port.probe():
            self._wait_for(self._has_space)
        self._port.send(data)

    def recv(self):
        if not self._port.probe():
            self._wait_for(self._has_data)
        return self._port.recv()

    def _has_space(self, seconds):
        free = self._port._semaphore.acquire(timeout=seconds)
        if free:
            self._port._semaphore.release()
        return free

    def _has_data(self, seconds):
        try:
            self._port._queue.get(timeout=seconds, peek=True)
        except queue.Empty:
            return False
        return True


class _Workers(MultiProcessing):
    """Lava's message infrastructure: starts the workers and makes the memory of the channels."""

    def __init__(self, names):
        super().__init__()
        self._names = names  # of the processes, by the id of their builder

    def start(self):
        self._smm = _AnonymousMemory()

    def build_actor(self, target_fn, builder, exception_q=None):
        name = self._names.get(id(builder), "the runtime service")
        worker = _Worker(name, target_fn, builder)
        self._actors.append(worker)
        return worker

    def are_built(self, seconds):
        """Whether all workers are built; waits for up to `seconds`."""
        missing = [worker.reports for worker in self._actors if not worker.is_built()]
        if missing:
            multiprocessing.connection.wait(missing, seconds)
        return not missing

    def check(self):
        """Raise LavaError if a worker has ended: while the network runs, none does."""
        if any(worker.read_failure() or worker.has_ended() for worker in self._actors):
            self.raise_failure()

    def raise_failure(self):
        """Raise LavaError with what is known of the worker that failed."""
        deadline = time.monotonic() + GRACE
        while True:
            # The worker that raised knows more than those that ended because of it.
            for worker in self._actors:
                if worker.read_failure():
                    raise LavaError(f"{worker.name} raised an exception:\n{worker.failure}")
            for worker in self._actors:
                if (worker.process.exitcode or 0) < 0:
                    raise LavaError(f"{worker.name} was killed by {worker.signal()}.")
            if time.monotonic() > deadline:
                ended = [worker.name for worker in self._actors if worker.has_ended()]
                raise LavaError(f"{', '.join(ended) or 'Lava'} ended without giving a reason.")
            time.sleep(POLL)

    def stop(self):
        for worker in self._actors:
            worker.kill()
        for worker in self._actors:
            worker.close()
        self._actors.clear()
        self._smm.shutdown()


class _AnonymousMemory:
    """In place of Lava's shared memory manager, which needs a server and names in /dev/shm."""

    def __init__(self):
        self._blocks = []

    def create_shared_memory(self, size):
        self._blocks.append(_Block(size))
        return self._blocks[-1]

    def shutdown(self):
        self._blocks.clear()


class _Block:
    """Memory that the workers inherit; it ends with the last process that has it."""

    def __init__(self, size):
        self.buf = memoryview(mmap.mmap(-1, size))


class _Worker:
    """The forked child in which one Lava process, or the runtime service, runs."""

    def __init__(self, name, target, builder):
        self.name = name
        self.failure = ""
        self._built = self._ended = False
        self.reports, report = _fork.Pipe(duplex=False)
        try:
            self.process = _fork.Process(
                target=_work, args=(target, builder, report, os.getpid()), name=name, daemon=True
            )
            self.process.start()
        except BaseException:
            self.reports.close()
            raise
        finally:
            report.close()

    def is_built(self):
        self._read()
        return self._built

    def read_failure(self):
        """The traceback, or the empty string."""
        self._read()
        return self.failure

    def has_ended(self):
        # Not by the exit code alone: whoever else waits for children may have taken it.
        self._read()
        return self._ended or self.process.exitcode is not None

    def signal(self):
        try:
            return signal.Signals(-self.process.exitcode).name
        except ValueError:
            return f"signal {-self.process.exitcode}"

    def kill(self):
        if not self.reports.closed and not self.has_ended():
            self.process.kill()

    def close(self):
        if not self.reports.closed:
            self.process.join(GRACE)
            if self.has_ended():
                if self.process.exitcode is None:
                    self.process._popen.returncode = 0  # else multiprocessing keeps it forever
                    self.process.join()
                self.process.close()
            self.reports.close()

    def _read(self):
        if self.reports.closed:
            return
        try:
            while self.reports.poll():
                text = self.reports.recv_bytes().decode(errors="replace")
                self._built = self._built or not text
                self.failure = self.failure or text
        except EOFError:  # the other end is in the worker, as long as that lives
            self._ended = True


class _Announcement:
    """Takes the place of the queue in which Lava's `target_fn` puts None, or an exception."""

    def __init__(self, report):
        self._report = report

    def put(self, exception):
        if exception is None:
            self._report.send_bytes(b"")


def _work(target, builder, report, parent):
    """What a worker does; `target` is Lava's own function, which builds and runs a model."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which kills us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # what the parent had made is the parent's to finalize
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        target(builder=builder, exception_q=_Announcement(report))
    except BaseException:
        text = traceback.format_exc().encode()
        report.send_bytes(text if len(text) <= REPORT_BYTES else b"... " + text[-REPORT_BYTES:])


def _end_with(parent):
    """End this worker when its parent has ended without a chance to kill it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


_compiling = threading.Lock()
_found_models = {}


@contextmanager
def _models_found_once():
    """While compiling, look for the models of each class of processes only once.

    Lava executes all files beside the class anew for each process: 0.1 s for a small network.
    """
    find = ProcGroupDiGraphs._find_proc_models

    def find_once(proc):
        if type(proc) not in _found_models:
            _found_models[type(proc)] = find(proc)
        return _found_models[type(proc)]

    with _compiling:
        ProcGroupDiGraphs._find_proc_models = staticmethod(find_once)
        try:
            yield
        finally:
            ProcGroupDiGraphs._find_proc_models = staticmethod(find)


def _forget_since(before, registered):
    """Drop from a list of Lava's what was not there before; Lava itself never does."""
    known = set(map(id, before))
    registered[:] = [item for item in registered if id(item) in known]


def _remove_log_handlers(before):
    """Each Lava process adds a handler to the root logger, which multiplies all messages."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if (
            handler not in before
            and type(handler) is logging.StreamHandler
            and getattr(handler.formatter, "_fmt", None) == LogConfig.format
        ):
            root.removeHandler(handler)
