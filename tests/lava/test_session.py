import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import psutil
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

from faulty_processes.relay.process import Relay  # noqa: E402
from lava.magma.core.process.process import ProcessServer  # noqa: E402
from lava.magma.core.process.variable import VarServer  # noqa: E402
from lava.proc.io.sink import RingBuffer as Sink  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402

from lava_export.lava.session import LavaError, LavaSession  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")

STEPS = 10


def chain(fault=None, step=-1, consumer=True):
    """source -> relay -> sink; without a consumer, the relay's output goes nowhere."""
    source = Source(data=np.arange(3 * STEPS).reshape(3, STEPS))
    relay = Relay((3,), fault, step)
    sink = Sink(shape=(3,), buffer=STEPS)
    source.s_out.connect(relay.a_in)
    if consumer:
        relay.s_out.connect(sink.a_in)
    return source, relay, sink


def raise_error():
    raise ValueError("wrong number of pigeons")


def raise_what_cannot_be_pickled():
    class Unpicklable(Exception):
        def __init__(self, a, b):
            super().__init__(lambda: a)

    raise Unpicklable(1, 2)


def raise_long_error():
    raise ValueError("pigeon" * 10_000)


def block():
    time.sleep(3600)


def wait_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(0)


def failure(fault, step, consumer=True, timeout=30.0):
    """The LavaError of a session with a fault, and the seconds it took."""
    start = time.monotonic()
    with pytest.raises(LavaError) as error, LavaSession(timeout) as session:
        session.start(chain(fault, step, consumer)[1])
        session.run(STEPS)
    return str(error.value), time.monotonic() - start


def test_run_get_and_set():
    with LavaSession() as session:
        source, _, sink = chain()
        session.start(source)
        session.run(STEPS)
        np.testing.assert_array_equal(sink.data.get(), np.arange(3 * STEPS).reshape(3, STEPS))
        source.data.set(np.full((3, STEPS), 7))
        session.run(4)
        np.testing.assert_array_equal(sink.data.get()[:, :4], 7)


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize("consumer", [True, False])
def test_exception_in_a_worker(step, consumer):
    message, seconds = failure(raise_error, step, consumer)
    assert "Relay 'faulty'" in message
    assert "Traceback" in message and "raise_error" in message
    assert "ValueError: wrong number of pigeons" in message
    assert seconds < 10


def test_exception_that_cannot_be_pickled():
    message, seconds = failure(raise_what_cannot_be_pickled, 5)
    assert "Relay 'faulty'" in message and "Unpicklable" in message
    assert seconds < 10


def test_long_message_is_cut_at_its_start():
    message, seconds = failure(raise_long_error, 5)
    assert message.rstrip().endswith("pigeonpigeon") and len(message) < 5000
    assert seconds < 10


def test_sys_exit_in_a_worker():
    message, seconds = failure(sys.exit, 3)
    assert "Relay 'faulty'" in message and "SystemExit" in message
    assert seconds < 10


@pytest.mark.parametrize("fault", [block, wait_for_a_lock])
@pytest.mark.parametrize("step", [0, 5])
def test_worker_that_blocks(fault, step):
    message, seconds = failure(fault, step, timeout=1.0)
    assert "no progress for 1 seconds" in message and "longer timeout" in message
    assert 1 < seconds < 10


@pytest.mark.parametrize("step", [0, 5])
def test_worker_that_is_killed(step):
    message, seconds = failure(kill_itself, step)
    assert "Relay 'faulty' was killed by SIGKILL" in message
    assert seconds < 10


def test_worker_that_leaves():
    message, seconds = failure(leave, 5)
    assert "Relay 'faulty'" in message
    assert seconds < 10


def test_slow_network_makes_progress():
    def slow():
        time.sleep(0.4)

    with LavaSession(timeout=1.5) as session:
        source = Source(data=np.zeros((3, 8)))
        previous = source.s_out
        for step in range(1, 9):  # one relay sleeps at each step: 3.2 s together
            relay = Relay((3,), slow, step)
            previous.connect(relay.a_in)
            previous = relay.s_out
        session.start(source)
        session.run(8)


def kill_workers(wait=False):
    for child in psutil.Process().children():
        child.kill()
        if wait:
            child.wait()


@pytest.mark.parametrize("access", ["get", "set", "run"])
@pytest.mark.parametrize("wait", [False, True])
def test_workers_killed_between_runs(access, wait):
    # Who waits for a child takes its exit code from us.
    message = "ended without giving a reason" if wait else "killed by SIGKILL"
    with pytest.raises(LavaError, match=message), LavaSession() as session:
        source, _, sink = chain()
        session.start(source)
        session.run(2)
        kill_workers(wait)
        if access == "get":
            sink.data.get()
        elif access == "set":
            source.data.set(np.zeros((3, STEPS)))
        else:
            session.run(1)


@pytest.mark.parametrize("access", ["get", "set"])
def test_stopped_worker_bounds_var_access(access):
    with pytest.raises(LavaError, match="no progress"), LavaSession(timeout=1.0) as session:
        source, _, _ = chain()
        large = Source(data=np.zeros(200))  # more numbers than a channel has room for
        session.start(large if access == "set" else source)
        session.run(2)
        for child in psutil.Process().children():
            child.suspend()
        if access == "get":
            source.data.get()
        else:
            large.data.set(np.zeros(200))


def test_ctrl_c_is_for_the_parent():
    with LavaSession() as session:
        source, _, sink = chain()
        session.start(source)
        session.run(2)
        for child in psutil.Process().children():
            child.send_signal(signal.SIGINT)
        session.run(STEPS - 2)
        np.testing.assert_array_equal(sink.data.get(), np.arange(3 * STEPS).reshape(3, STEPS))


def test_workers_killed_before_the_end():
    with LavaSession() as session:
        session.start(chain()[0])
        session.run(2)
        kill_workers()


@pytest.mark.parametrize("exception", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("started", [True, False])
def test_exception_in_the_body(exception, started):
    with pytest.raises(exception), LavaSession() as session:
        source = chain()[0]
        if started:
            session.start(source)
            session.run(1)
        raise exception


def test_session_that_has_ended():
    with LavaSession() as session:
        session.start(chain()[0])
    with pytest.raises(LavaError, match="has ended"):
        session.run(1)
    session.kill()


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_timeout_must_be_positive(timeout):
    with pytest.raises(ValueError, match="timeout"):
        LavaSession(timeout)


def use_session(results=None):
    with LavaSession() as session:
        source, _, sink = chain()
        session.start(source)
        session.run(STEPS)
        value = sink.data.get()
    if results is not None:
        results.append(value)
    return value


def test_nested_sessions():
    with LavaSession() as session:
        source, _, sink = chain()
        inner = use_session()
        session.start(source)
        session.run(5)
        use_session()
        session.run(STEPS - 5)
        np.testing.assert_array_equal(sink.data.get(), inner)


def test_concurrent_sessions_in_threads():
    results = []
    threads = [threading.Thread(target=use_session, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, np.arange(3 * STEPS).reshape(3, STEPS))


def test_error_in_one_thread_leaves_the_other_alone():
    messages, results = [], []
    failing = threading.Thread(target=lambda: messages.append(failure(raise_error, 5)[0]))
    working = threading.Thread(target=use_session, args=(results,))
    failing.start()
    working.start()
    failing.join()
    working.join()
    assert "pigeons" in messages[0] and len(results) == 1


def test_log_handlers():
    root = logging.getLogger()
    before = list(root.handlers)
    own = logging.StreamHandler()
    try:
        with LavaSession() as session:
            session.start(chain()[0])
            root.addHandler(own)
            assert len(root.handlers) > len(before) + 1  # else there is nothing to remove
        assert root.handlers == [*before, own]
    finally:
        root.removeHandler(own)


def test_lava_forgets_the_processes():
    before = len(ProcessServer().processes), len(VarServer().vars)
    use_session()
    assert (len(ProcessServer().processes), len(VarServer().vars)) == before


def test_network_is_freed():
    gc.disable()  # else it may be freed by chance
    try:
        with LavaSession() as session:
            source = chain()[0]
            session.start(source)
            session.run(1)
            reference = weakref.ref(source)
            del source
        assert reference() is None
    finally:
        gc.enable()


def test_workers_do_not_finalize_what_is_the_parents(tmp_path):
    class Garbage:
        def __init__(self):
            self.itself = self

        def __del__(self):
            (tmp_path / str(os.getpid())).touch()

    gc.disable()
    try:
        with LavaSession() as session:
            source = chain(gc.collect, 2)[0]
            Garbage()
            session.start(source)
            session.run(3)
    finally:
        gc.enable()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_processes_of_the_caller_stay():
    own = chain()[0]
    use_session()
    other = chain()[0]
    assert own in ProcessServer().processes
    assert own.id != other.id and own.data.id != other.data.id


def test_memory_does_not_grow():
    for _ in range(5):
        use_session()
    before = psutil.Process().memory_info().rss
    for _ in range(15):
        use_session()
    assert psutil.Process().memory_info().rss - before < 4 << 20


def test_start_method_of_the_caller():
    method = multiprocessing.get_start_method(allow_none=True)
    try:
        for chosen in ("spawn", "forkserver", "fork", None):
            multiprocessing.set_start_method(chosen, force=True)
            use_session()
            assert multiprocessing.get_start_method(allow_none=True) == chosen
    finally:
        multiprocessing.set_start_method(method, force=True)


PROGRAM = """
    import multiprocessing, os, signal, sys, threading, time
    {before}
    from lava_export.lava.session import LavaError, LavaSession
    {after}
    from lava.proc.lif.process import LIF

    def session_of_a_lif(steps=10):
        with LavaSession(timeout=30.0) as session:
            lif = LIF(shape=(3,), bias_mant=5, du=4095)
            session.start(lif)
            session.run(steps)
            return lif.v.get()[0]

    {body}
"""


def start_program(body, before="", after=""):
    """A Python program of its own, in a process group of its own."""
    code = textwrap.dedent(PROGRAM).format(before=before, after=after, body=textwrap.dedent(body))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finish_program(program, timeout=60):
    try:
        output, errors = program.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        raise
    return output, errors


def in_group(group):
    """Processes that are left of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


def assert_group_ends(group, seconds=5):
    deadline = time.monotonic() + seconds
    while in_group(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = in_group(group)
    for process in left:
        process.kill()
    assert left == []


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "raise ValueError"])
def test_interpreter_exits_though_a_session_is_open(end):
    program = start_program(
        f"""
    session = LavaSession().__enter__()
    lif = LIF(shape=(3,))
    session.start(lif)
    session.run(3)
    print("running", flush=True)
    {end}
    """
    )
    output, errors = finish_program(program, 30)
    assert output == "running\n"
    assert errors == "" or end
    assert_group_ends(program.pid)


def test_interpreter_exits_though_a_session_is_started_in_a_thread():
    program = start_program(
        """
    def run():
        session = LavaSession().__enter__()
        session.start(LIF(shape=(3,)))
        session.run(3)
        print("running", flush=True)

    threading.Thread(target=run).start()
    """
    )
    assert finish_program(program, 30) == ("running\n", "")
    assert_group_ends(program.pid)


ENDLESS = """
    with LavaSession() as session:
        session.start(LIF(shape=(3,)))
        session.run(1)
        print("running", flush=True)
        session.run(1 << 40)
    """


@pytest.mark.parametrize("to", ["parent", "group"])
def test_ctrl_c(to):
    # What a shell starts in the background ignores it, and so do its children.
    program = start_program(ENDLESS, "signal.signal(signal.SIGINT, signal.default_int_handler)")
    assert program.stdout.readline() == "running\n"
    time.sleep(0.2)
    (os.kill if to == "parent" else os.killpg)(program.pid, signal.SIGINT)
    _, errors = finish_program(program, 30)
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    assert_group_ends(program.pid)


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_killed_parent(signal_):
    program = start_program(ENDLESS)
    assert program.stdout.readline() == "running\n"
    assert len(in_group(program.pid)) > 1
    program.send_signal(signal_)
    program.wait(30)
    assert_group_ends(program.pid)
    finish_program(program, 5)


@pytest.mark.parametrize(
    "before",
    [
        "multiprocessing.set_start_method('spawn')",
        "multiprocessing.set_start_method('fork')",
        "multiprocessing.Queue()",
        "",
    ],
)
def test_start_method_set_before_the_import(before):
    program = start_program(
        """
    print(multiprocessing.get_start_method(allow_none=True), session_of_a_lif())
    multiprocessing.set_start_method("spawn", force=False) if {none} else None
    """.format(none=before == ""),
        before,
    )
    method = {"": "None", "multiprocessing.set_start_method('spawn')": "spawn"}.get(before, "fork")
    assert finish_program(program) == (f"{method} 50.0\n", "")


@pytest.mark.parametrize("order", ["before", "after"])
def test_tensorflow_in_the_same_program(order):
    program = start_program(
        """
    import tensorflow as tf
    for _ in range(2):
        total = tf.linalg.matmul(tf.ones((200, 200)), tf.ones((200, 200)))
        print(session_of_a_lif(), float(total[0, 0]), flush=True)
    """,
        **{order: "import tensorflow as tf; tf.reduce_sum(tf.ones(10))"},
    )
    output, errors = finish_program(program, 120)
    assert output == "50.0 200.0\n" * 2, errors
    assert_group_ends(program.pid)


def test_session_in_a_process_of_the_caller():
    program = start_program(
        """
    def run(queue):
        queue.put(session_of_a_lif())
        session.kill()  # the workers belong to the parent

    with LavaSession() as session:
        lif = LIF(shape=(3,), bias_mant=5, du=4095)
        session.start(lif)
        session.run(5)
        queue = multiprocessing.get_context("fork").SimpleQueue()
        process = multiprocessing.get_context("fork").Process(target=run, args=(queue,))
        process.start()
        process.join()
        session.run(5)
        print(queue.get(), lif.v.get()[0])
    """
    )
    assert finish_program(program) == ("50.0 50.0\n", "")
    assert_group_ends(program.pid)
