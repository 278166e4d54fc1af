"""Training on several devices and processes, and through failures, with real workers."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import distributed_worker as worker
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import RLIF, TimeSum, distributed
from keras_spiking_rnn.callbacks import AtomicModelCheckpoint

# All tests of a launch run in one process of pytest.
pytestmark = pytest.mark.xdist_group("distributed")

SCRIPT = Path(worker.__file__)
MULTI = "CollectiveAllReduceStrategy"
SLURM = {"SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": "2"}


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def start(folder, *jobs, **environ):
    """A process that does jobs; its output is in a file."""
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environ}
    environ["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parents[2]), *sys.path])
    log = Path(folder, f"{time.monotonic_ns()}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, SCRIPT, folder, *jobs], stdout=output, stderr=output, env=environ
        )
    process.log = log
    return process


def start_workers(folder, *jobs):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        start(
            folder,
            *jobs,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}}
            ),
        )
        for i in range(2)
    ]


def wait(process, seconds=600):
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
    return code, process.log.read_text()


def load(folder, job, strategy, number):
    with np.load(Path(folder, f"{job}-{strategy}-{number}.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def first_launch(tmp_path_factory):
    """Two workers, of which the second is killed in the end; one process with two devices."""
    folder = tmp_path_factory.mktemp("distributed")
    both = start_workers(folder, "steps", "whole", "killed")
    devices = start(folder, "steps", "killed-while-writing", DEVICES="2")
    killed, killed_log = wait(both[1])
    since = time.monotonic()
    code, log = wait(both[0])
    written = {
        "folder": folder,
        "killed": (killed, killed_log),
        "left": (code, log, time.monotonic() - since),
        "devices": wait(devices),
    }
    if not Path(folder, f"whole-{MULTI}-0.npz").exists():
        pytest.fail(f"The workers ended early:\n{log}\n{killed_log}")
    return written


@pytest.fixture(scope="module")
def one_process():
    clip = {"rlif": {"global_clipnorm": 0.1}}
    return {name: worker.after_steps(name, **clip.get(name, {})) for name in worker.LAYERS}


WHO = [(MULTI, 0), (MULTI, 1), ("MirroredStrategy", 0)]


@pytest.mark.parametrize(("strategy", "number"), WHO)
@pytest.mark.parametrize("name", worker.LAYERS)
def test_gradients_and_weights_are_those_of_one_process(
    first_launch, one_process, name, strategy, number
):
    """After a step of plain descent, whose weights differ by the gradient, and after ten.

    Among the weights of GatedLIF is the moving average of V_max, and RLIF clips its gradients.
    """
    found, expected = load(first_launch["folder"], "steps", strategy, number), one_process[name]
    moved = 0
    for key, value in expected.items():
        if key.startswith(("0", "1/", "10/")):
            np.testing.assert_allclose(found[f"{name}/{key}"], value, rtol=2e-4, atol=2e-6)
            moved += key.startswith("1/") and np.abs(value - expected[f"0{key[1:]}"]).max() > 1e-3
    assert moved >= 3


@pytest.mark.parametrize(("strategy", "number"), WHO)
def test_the_history_is_that_of_all_replicas(first_launch, one_process, strategy, number):
    """That of the epochs, and what callbacks see of a batch: they must decide alike everywhere."""
    found = load(first_launch["folder"], "steps", strategy, number)
    expected = one_process["spiking_lstm"]["seen/loss"]
    assert expected.shape == (10,)
    np.testing.assert_allclose(found["spiking_lstm/seen/loss"], expected, rtol=1e-4)
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        expected = one_process["gated_lif"][f"log/{key}"]
        assert expected.shape == (2,)
        np.testing.assert_allclose(found[f"gated_lif/log/{key}"], expected, rtol=1e-4)


def test_the_worker_that_is_left_stops_and_names_the_one_that_is_gone(first_launch):
    assert first_launch["killed"][0] == -signal.SIGKILL
    code, log, seconds = first_launch["left"]
    assert code != 0
    assert re.search(r"WorkerLost: worker 1 \(127\.0\.0\.1:\d+\) is gone", log), log
    assert seconds < 120  # on a busy machine, too


def test_workers_that_are_started_again_end_where_they_would_have_ended(first_launch):
    folder, (port, *_) = first_launch["folder"], free_ports(1)
    with np.load(folder / "killed.npz") as backup:
        state = json.loads(str(backup["state"]))
    # It is killed after batch 4 of epoch 2, before or while the backup is written by the other one.
    assert state["epoch"] == 1
    assert state["step"] in (2, 4)
    slurm = {**SLURM, "PORT": str(port)}
    both = [start(folder, "goes-on", SLURM_PROCID=str(i), **slurm) for i in range(2)]
    for each in both:
        code, log = wait(each)
        assert code == 0, log
    for number in range(2):
        whole = load(folder, "whole", MULTI, number)
        again = load(folder, "goes-on", MULTI, number)
        assert whole.keys() == again.keys()
        for key, value in whole.items():
            # Of metrics the sum of all workers is saved, not the parts: the last bit may differ.
            close = {"rtol": 1e-6 if key.startswith("log/") else 0}
            np.testing.assert_allclose(again[key], value, **close, err_msg=key)


def test_the_chief_alone_writes(first_launch):
    """Both name a file, and of the files of one name only the chief's is there."""
    written = {path.name for path in first_launch["folder"].iterdir() if path.suffix != ".log"}
    for suffix in (".npz", ".csv", ".weights.h5"):
        assert f"whole-{MULTI}-0-backup{suffix}" in written
        assert f"whole-{MULTI}-1-backup{suffix}" not in written


def test_replicas_drop_different_inputs(first_launch, tmp_path):
    """With the same numbers everywhere two workers would lose what one process does not."""
    whole = load(first_launch["folder"], "whole", MULTI, 0)
    alone = worker.train(tmp_path / "alone.npz")
    differs = np.abs(whole["weight/00"] - alone["weight/00"]).max()
    assert 1e-4 < differs < 1


def test_a_process_killed_while_it_writes_has_the_backup_before(first_launch):
    code, log = first_launch["devices"]
    assert code == -signal.SIGKILL, log
    path = first_launch["folder"] / "writing.npz"
    with np.load(path) as backup:
        state = json.loads(str(backup["state"]))
    # Written after batches 2 and 4, and after the epoch; then came the fourth time.
    assert (state["epoch"], state["step"]) == (1, 0)
    assert len(state["history"]["loss"]) == 1
    # On one device in the place of two, it goes on.
    history = worker.train(path)
    assert history["log/loss"].shape == (3,)
    assert history["log/loss"][0] == state["history"]["loss"][0]


class TestOneDevice:
    def test_it_is_fit(self, tmp_path):
        """The numbers of `Model.fit`, and callbacks that are called as it does."""

        def trained(fit, **arguments):
            model = worker.model_of("rlif", lambda: keras.optimizers.Adam(0.01))
            data = tf.data.Dataset.from_tensor_slices((worker.X, worker.Y)).batch(16)
            stop = keras.callbacks.EarlyStopping("val_loss", patience=0)
            calls = []
            seen = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: calls.append(("epoch", epoch)),
                on_train_batch_end=lambda batch, logs: calls.append(("batch", batch)),
                on_epoch_end=lambda epoch, logs: calls.append(sorted(logs)),
                on_train_end=lambda logs: calls.append("end"),
            )
            history = fit(
                model, data, epochs=4, validation_data=data.take(1), callbacks=[stop, seen],
                initial_epoch=1, verbose=0, **arguments,
            )  # fmt: skip
            return history.history, history.epoch, calls, model.get_weights()

        ours, keras_own = trained(distributed.fit), trained(keras.Model.fit)
        assert ours[0].keys() == keras_own[0].keys()
        for name, values in keras_own[0].items():
            np.testing.assert_allclose(ours[0][name], values, rtol=1e-5)
        assert ours[1:3] == keras_own[1:3]
        for a, b in zip(ours[3], keras_own[3], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)

    def test_a_finished_training_is_loaded(self, tmp_path):
        first = worker.train(tmp_path / "backup.npz")
        again = worker.train(tmp_path / "backup.npz", callbacks=[worker.KillAt()])
        for key, value in first.items():
            np.testing.assert_array_equal(again[key], value)

    def test_callbacks_go_on_with_what_they_knew(self, tmp_path):
        def fit(epochs):
            model = worker.model_of("rlif", lambda: keras.optimizers.SGD(0.0))
            stop = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=1e-3)
            backup = tmp_path / "backup.npz"
            data = distributed.batches(worker.X, worker.Y, 8)
            history = distributed.fit(
                model, data, epochs, callbacks=[stop], backup=backup, verbose=0
            )
            return stop, len(history.epoch)

        # Without learning the loss is the same in each epoch, but for rounding.
        first, epochs = fit(2)
        assert (first.wait, epochs) == (1, 2)
        second, epochs = fit(9)
        assert (second.stopped_epoch, epochs) == (2, 3)
        assert second.best == pytest.approx(first.best, rel=1e-5)
        assert fit(9)[1] == 3

    def test_the_backup_of_another_model_is_refused(self, tmp_path):
        worker.train(tmp_path / "backup.npz", epochs=1)
        other = worker.model_of("gated_lif")
        data = distributed.batches(worker.X, worker.Y, 8)
        with pytest.raises(ValueError, match="is the backup of another model: it has"):
            distributed.fit(other, data, backup=tmp_path / "backup.npz", verbose=0)

    @pytest.mark.parametrize("part", [slice(None, 900), slice(900, None)])
    def test_a_backup_that_is_not_whole_is_refused(self, tmp_path, part):
        path = tmp_path / "backup.npz"
        worker.train(path, epochs=1)
        path.write_bytes(path.read_bytes()[part])
        with pytest.raises(ValueError, match="backup.npz is no backup, or not a whole one"):
            worker.train(path)

    def test_a_folder_that_cannot_be_made_is_found_before_the_first_batch(self, tmp_path):
        (tmp_path / "file").touch()
        data, begun = distributed.batches(worker.X, worker.Y, 8), []
        note = keras.callbacks.LambdaCallback(on_train_begin=begun.append)
        backup = tmp_path / "file" / "backup.npz"
        with pytest.raises(OSError, match="file"):
            distributed.fit(worker.model_of("rlif"), data, callbacks=[note], backup=backup)
        assert not begun

    def test_an_epoch_goes_on_with_as_many_batches_as_it_was_begun_with(self, tmp_path):
        path, killed = tmp_path / "backup.npz", RuntimeError("in place of a kill")

        def fail(batch, logs):
            if batch == 2:
                raise killed

        def fit(batch_size, *callbacks):
            model = worker.model_of("rlif")
            data = distributed.batches(worker.X, worker.Y, batch_size)
            distributed.fit(model, data, callbacks=callbacks, backup=path, save_freq=2, verbose=0)

        with pytest.raises(RuntimeError, match="in place of a kill"):
            fit(8, keras.callbacks.LambdaCallback(on_train_batch_end=fail))
        with pytest.raises(ValueError, match="2 batches of an epoch of 5, which now has 2: go on"):
            fit(20)
        fit(8)

    @pytest.mark.parametrize("policy", ["mixed_float16", "float32"])
    def test_the_gradient_is_summed_first_whatever_the_policy(self, policy):
        """Seen by an optimizer that scales the loss, and by one that does not."""
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        weight = keras.Variable(np.zeros(2, "float32"))
        optimizer.build([weight])
        # Alone, (3, 4) would be clipped to a norm of 1; with the other replica's it is (0.5, 0.5).
        other = tf.constant([-2.5, -3.5])
        inner._all_reduce_sum_gradients = lambda pairs: [(g + other, v) for g, v in pairs]
        two = types.SimpleNamespace(num_replicas_in_sync=2)
        with distributed._summed_first(optimizer, two):
            optimizer.apply_gradients([(tf.constant([3.0, 4.0]), weight)])
        np.testing.assert_allclose(np.asarray(weight), [-0.5, -0.5])

    def test_no_batches_are_refused(self):
        """Their loss would be 0, and the best."""
        model = worker.model_of("rlif")
        data = tf.data.Dataset.from_tensor_slices((worker.X, worker.Y)).batch(16)
        with pytest.raises(ValueError, match="no batches to train on"):
            distributed.fit(model, data.take(0), verbose=0)
        with pytest.raises(ValueError, match="no batches to evaluate"):
            distributed.fit(model, data, 1, data.take(0), verbose=0)
        with pytest.raises(ValueError, match="no batches to evaluate"):
            distributed.evaluate(model, data.filter(lambda x, y: False))
        with pytest.raises(ValueError, match=r"have no end: leave out .repeat\(\)"):
            distributed.fit(model, data.repeat(), verbose=0)

    def test_data_of_another_kind_is_refused(self):
        model = worker.model_of("rlif")
        with pytest.raises(TypeError, match="`data` must be .* Received: ndarray"):
            distributed.fit(model, worker.X, worker.Y)
        data = distributed.batches(worker.X, worker.Y, 8)
        with pytest.raises(TypeError, match="`validation_data` must be .* Received: tuple"):
            distributed.fit(model, data, validation_data=(worker.X, worker.Y))
        with pytest.raises(ValueError, match="`save_freq` must be a positive integer"):
            distributed.fit(model, data, save_freq=0)

    def test_what_is_not_compiled_or_restores_on_one_worker_only_is_refused(self, tmp_path):
        model = keras.Sequential([keras.Input((6, 5)), RLIF(2), TimeSum()])
        with pytest.raises(ValueError, match="must be compiled"):
            distributed.fit(model, None)
        keeps = keras.callbacks.BackupAndRestore(tmp_path)
        data = distributed.batches(worker.X, worker.Y, 8)
        with pytest.raises(ValueError, match="pass backup=PATH"):
            distributed.fit(worker.model_of("rlif"), data, callbacks=[keeps])

    def test_evaluate_is_that_of_keras(self):
        model = worker.model_of("rlif")
        data = tf.data.Dataset.from_tensor_slices((worker.X, worker.Y)).batch(16)
        expected = model.evaluate(data, verbose=0, return_dict=True)
        assert distributed.evaluate(model, data) == pytest.approx(expected, rel=1e-5)


class TestTwoReplicas:
    """What is refused, without two devices."""

    two = types.SimpleNamespace(num_replicas_in_sync=2)

    @pytest.mark.parametrize(("size", "drop"), [(4, False), (3, True)])
    def test_batches_that_cannot_be_shared(self, size, drop):
        data = tf.data.Dataset.from_tensor_slices((worker.X, worker.Y)).batch(size, drop)
        with pytest.raises(ValueError, match="of one size that 2 replicas can share"):
            distributed._check_training(data, self.two)

    def test_an_optimizer_of_another_scope(self):
        with pytest.raises(ValueError, match="its optimizer was not: make both"):
            distributed._check_model(worker.model_of("rlif"), self.two)

    def test_stateful_layers(self):
        model = keras.Sequential([RLIF(2, stateful=True, name="carries"), TimeSum()])
        with pytest.raises(ValueError, match="The layers carries are stateful"):
            distributed._check_model(model, self.two)


class TestBatches:
    def test_parts_of_workers_are_those_of_one_batch(self):
        x = np.arange(23)
        data = distributed.batches(x, -x, 6, seed=2)
        (whole,) = self.parts(data, 0, 1, 1)
        for pipelines, replicas in ((1, 2), (3, 3), (3, 6)):
            parts = self.parts(data, 0, pipelines, replicas)
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
        (later,) = self.parts(data, 1, 1, 1)
        assert len(np.unique(whole)) == len(np.unique(later)) == 18
        assert (whole != later).any()

    def parts(self, data, epoch, pipelines, replicas):
        """What each worker gets of each batch, `(batches, samples)`."""
        found = []
        for i in range(pipelines):
            context = tf.distribute.InputContext(pipelines, i, replicas)
            x, y = map(np.stack, zip(*data(epoch, context).as_numpy_iterator(), strict=True))
            assert (x == -y).all()
            found.append(x.reshape(3, -1))
        return found

    def test_too_few_samples_are_refused(self):
        with pytest.raises(ValueError, match="at least one batch. Received: 3 and 3"):
            distributed.batches(np.zeros(3), np.zeros(3), 4)


class TestSlurm:
    def test_ranks_are_in_the_order_of_the_nodes(self):
        """From node 10 on another order than that of texts, which TensorFlow's resolver has."""
        environ = {
            "SLURM_STEP_NODELIST": "gpu[8-10],login-1,n[08,11]x,r[1-2]n[3,5]",
            "SLURM_STEP_TASKS_PER_NODE": "2,1(x4),3,1(x4)",
            "SLURM_PROCID": "4",
        }
        hosts = "gpu8:9000 gpu8:9001 gpu9:9000 gpu10:9000 login-1:9000 n08x:9000"
        expected = f"{hosts} n11x:9000 n11x:9001 n11x:9002 r1n3:9000 r1n5:9000 r2n3:9000 r2n5:9000"
        cluster = distributed.slurm_cluster(environ, 9000)
        assert cluster["cluster"]["worker"] == expected.split()
        assert cluster["task"] == {"type": "worker", "index": 4}

    def test_outside_of_slurm_there_is_no_cluster(self):
        assert distributed.slurm_cluster({}) is None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            {"SLURM_STEP_TASKS_PER_NODE": "two"},
            {"SLURM_PROCID": "2"},
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, wrong):
        with pytest.raises(ValueError, match="start the program with srun. Found: SLURM_PROCID"):
            distributed.slurm_cluster({**SLURM, "SLURM_PROCID": "0", **wrong})


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{cluster", "Expecting property name"),
        ('["a:1", "b:1"]', "has no attribute"),
        ('{"cluster": {"worker": ["a:1", "b"]}}', "an address is HOST:PORT, and not 'b'"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "two tasks have the address a:1"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "it has no task {}"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "it has no task {'type': 'worker', 'index': 2}",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "its tasks must be workers, and a chief or none",
        ),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(monkeypatch, config, reason):
    """TensorFlow would fail later, or wait for a worker that nobody is."""
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="TF_CONFIG does not say where the workers are") as error:
        distributed.strategy()
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("text", "worker"),
    [
        (
            "aborted by: Socket closed\nAdditional GRPC error information from remote target "
            "/job:worker/replica:0/task:2 while calling /tensorflow.WorkerService/RecvBuf:",
            "worker 2",
        ),
        (
            "aborted by: Error reported from /job:worker/task:1: The following tasks are "
            "unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:2\nThe tasks",
            "worker 2",
        ),
        ("something else, of /job:worker/replica:0/task:0", None),
    ],
)
def test_the_errors_of_tensorflow_name_a_worker(monkeypatch, text, worker):
    cluster = {"worker": ["a:1", "b:1", "c:1"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    lost = distributed._lost(text)
    assert (lost and lost.worker) == worker


class TestWaiting:
    """TensorFlow would wait for an hour for a worker that has never been started."""

    @pytest.fixture
    def join(self, monkeypatch):
        """Has this process be one of three workers; returns the port of the first one."""
        ports = free_ports(3)

        def join(number):
            task = {"type": "worker", "index": number}
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
            return ports[0]

        return join

    def say(self, port, text):
        """A connection to the port, on which something has been said."""
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError):
                connection = socket.create_connection(("127.0.0.1", port))
                connection.sendall(text)
                return connection
            time.sleep(0.05)
        pytest.fail("No one listens.")

    @pytest.mark.parametrize(("number", "missing"), [(0, "worker 1"), (1, "worker 0")])
    def test_who_never_comes_is_named(self, join, number, missing):
        join(number)
        since = time.monotonic()
        with pytest.raises(distributed.WorkerLost, match=rf"{missing} \(127.*has not come") as lost:
            distributed.strategy(timeout=0.5)
        assert lost.value.worker == missing
        assert time.monotonic() - since < 10

    def test_who_came_is_not_named_and_who_left_again_is(self, join):
        port = join(0)
        hello = [distributed._HELLO + bytes([0, 0, 0, number]) for number in (1, 2)]
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(distributed.strategy, timeout=6.0)
            self.say(port, hello[1]).close()  # has left before all could be there
            with self.say(port, hello[0]), self.say(port, b"GET / HTTP/1.1" + bytes(50)):
                with pytest.raises(distributed.WorkerLost, match="Not there: 1 of 3") as lost:
                    waiting.result()
        assert lost.value.worker == "worker 2"

    def test_all_go_on_when_the_last_one_has_come(self, join):
        port = join(0)
        deadline = time.monotonic() + 30
        with ThreadPoolExecutor() as pool:
            address = f"127.0.0.1:{port}"
            others = [pool.submit(distributed._report, address, i, deadline) for i in (1, 2)]
            assert distributed._gather(port, 3, deadline) == []
            assert [other.result() for other in others] == [True, True]


@pytest.mark.parametrize("name", ["model.weights.h5", "model.keras"])
def test_a_checkpoint_that_is_not_finished_leaves_the_one_before(tmp_path, monkeypatch, name):
    model = worker.model_of("rlif")
    path = tmp_path / "models" / name
    keep = AtomicModelCheckpoint(path, save_weights_only=name.endswith(".h5"))
    model.fit(worker.X, worker.Y, callbacks=[keep], verbose=0)
    before = path.read_bytes()

    def half(self, where, **arguments):
        Path(where).write_bytes(b"half")
        raise KeyboardInterrupt

    for method in ("save", "save_weights"):
        monkeypatch.setattr(keras.Sequential, method, half)
    with pytest.raises(KeyboardInterrupt):
        model.fit(worker.X, worker.Y, callbacks=[keep], verbose=0)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
