"""Training on many devices and machines, which goes on where it was killed.

`fit` trains a compiled model under any strategy of `tf.distribute`, and without one. Why not
`Model.fit`, with Keras 3.12 and TensorFlow 2.21:

- Under `MultiWorkerMirroredStrategy` it fails: `_maybe_symbolic_build` reduces a batch that is
  spread over the workers before there is a model. `fit` here builds the model from the shapes.
- Keras clips gradients, accumulates them, and in float16 looks for overflows, before it adds those
  of the replicas up: what that does depends on the number of devices, and a worker that alone has
  an overflow leaves the others waiting. Here they are added up first.
- Each replica draws the same random numbers: with dropout or noise, samples at one place of the
  parts of a batch are treated alike. Here each replica has numbers of its own.
- `BackupAndRestore` saves neither the state of the random numbers nor the order of the data.

What is computed in a step is Keras' own `train_step` and `test_step`, whatever the model.
"""

import contextlib
import io
import itertools
import json
import os
import re
import select
import socket
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import checks, files
from keras_spiking_rnn.callbacks import SpikingTensorBoard

PORT = 8888

# These only write: the chief alone has them. All others see each worker's epochs, because what
# they do, such as to stop or to change the learning rate, must be done by all.
WRITERS = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.TensorBoard,
    keras.callbacks.CSVLogger,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    SpikingTensorBoard,
)

# What `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` know of earlier epochs, numbers.
REMEMBERED = ("best", "best_epoch", "wait", "stopped_epoch", "cooldown_counter")

# Seconds for which a worker that has seen another one go stays, if there are others: to a third one
# it would look as if this one were the first.
LINGER = 10

# What workers say to each other before TensorFlow starts. Others that find the port do not.
_HELLO = b"keras_spiking_rnn.distributed"

# Between the seeds of one replica and the next: more than Keras draws seeds from.
_BETWEEN_REPLICAS = 1_000_000_007


class WorkerLost(RuntimeError):
    """Another worker is gone, or never came; `worker` has its name, such as `"worker 1"`."""

    def __init__(self, message, worker):
        super().__init__(message)
        self.worker = worker


# ------------------------------------------------------------------ which devices


def slurm_cluster(environ=None, port=PORT):
    """The cluster of a step of Slurm, as the `TF_CONFIG` of one of its tasks.

    TensorFlow's own `SlurmClusterResolver` sorts the names of the nodes as texts, so that from
    node 10 on the ranks are at other addresses than Slurm says, and fails without GPUs.

    Args:
        environ: Dictionary with `SLURM_PROCID`, `SLURM_STEP_NODELIST` and
            `SLURM_STEP_TASKS_PER_NODE`, which `srun` sets. By default `os.environ`.
        port: That of the first task of each node; the next ones follow.

    Returns:
        A dictionary, with all tasks as workers in the order of their ranks; or `None` outside of
        Slurm.

    Raises:
        ValueError: If the variables do not fit together.
    """
    environ = os.environ if environ is None else environ
    if "SLURM_STEP_NODELIST" not in environ:
        return None
    try:
        nodes = list(_hosts(environ["SLURM_STEP_NODELIST"]))
        counts = list(_counts(environ["SLURM_STEP_TASKS_PER_NODE"]))
        workers = [
            f"{node}:{port + i}"
            for node, count in zip(nodes, counts, strict=True)
            for i in range(count)
        ]
        rank = int(environ["SLURM_PROCID"])
        if not 0 <= rank < len(workers):
            raise ValueError(f"there are {len(workers)} tasks, and this is number {rank}")
    except (KeyError, ValueError) as error:
        found = {name: value for name, value in environ.items() if name.startswith("SLURM_STEP")}
        raise ValueError(
            f"The variables of Slurm do not say which tasks there are ({error!r}): start the "
            f"program with srun. Found: SLURM_PROCID={environ.get('SLURM_PROCID')}, {found}"
        ) from error
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}


def _hosts(text):
    """The names of `node[08-10,12],gpu1,rack[1-2]node[1-4]`."""
    for name in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        parts = re.split(r"\[([^\]]*)\]", name)  # every other one was in brackets
        choices = [list(_numbers(part)) if i % 2 else [part] for i, part in enumerate(parts)]
        yield from map("".join, itertools.product(*choices))


def _numbers(ranges):
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{number:0{len(first)}d}"


def _counts(text):
    """The numbers of `2(x3),1`."""
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            raise ValueError(f"{part!r} is no number of tasks")
        count, times = found.groups()
        yield from [int(count)] * int(times or 1)


def strategy(port=PORT, timeout=600.0):
    """The strategy for where this process runs. Call it before anything else of TensorFlow.

    - `TF_CONFIG`, or Slurm, with more than one worker: `MultiWorkerMirroredStrategy`, which uses
      all GPUs that each worker sees.
    - Otherwise two or more GPUs, or logical devices of the CPU: `MirroredStrategy`.
    - Otherwise that of one device.

    Args:
        port: That of the first task of each node, with Slurm.
        timeout: Seconds for which to wait until all workers have been started.

    Returns:
        A `tf.distribute.Strategy`. Models are made in its `scope()`.

    Raises:
        ValueError: If `TF_CONFIG` is no cluster with a place for this process, or the variables of
            Slurm do not fit together.
        WorkerLost: If another worker has not come in time.
    """
    if "TF_CONFIG" not in os.environ:
        cluster = slurm_cluster(port=port)
        if cluster is not None and len(cluster["cluster"]["worker"]) > 1:
            os.environ["TF_CONFIG"] = json.dumps(cluster)
    _check_cluster()
    if len(_workers()) > 1:
        _wait_for_all(timeout)
        return tf.distribute.MultiWorkerMirroredStrategy()
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        if devices:
            break
    return tf.distribute.get_strategy()


def _cluster():
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    return config.get("cluster", {}), config.get("task", {})


def _check_cluster():
    """Refuses a `TF_CONFIG` with which TensorFlow would fail later, or wait for nobody."""
    try:
        cluster, task = _cluster()
        if not cluster:
            return
        if set(cluster) - {"chief", "worker"}:
            raise ValueError(f"its tasks must be workers, and a chief or none, not {set(cluster)}")
        addresses = list(_workers().values())
        wrong = [each for each in addresses if not re.fullmatch(r"\S+:\d+", each)]
        if wrong:
            raise ValueError(f"an address is HOST:PORT, and not {wrong[0]!r}")
        repeated = {each for each in addresses if addresses.count(each) > 1}
        if repeated:
            raise ValueError(f"two tasks have the address {repeated.pop()}")
        if task.get("index") not in range(len(cluster.get(task.get("type"), ()))):
            raise ValueError(f"it has no task {task}")
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"TF_CONFIG does not say where the workers are ({error}). Expected, the same for all "
            'but the index: {"cluster": {"worker": ["host-a:8888", "host-b:8888"]}, "task": '
            f'{{"type": "worker", "index": 0}}}}. Received: {os.environ["TF_CONFIG"]}'
        ) from error


def _workers():
    """Dictionary from the name of each worker, such as `"worker 1"`, to its address."""
    cluster, _ = _cluster()
    return {
        f"{job} {index}": address
        for job in ("chief", "worker")
        for index, address in enumerate(cluster.get(job, []))
    }


def _me():
    """The name of this worker."""
    _, task = _cluster()
    return f"{task.get('type')} {task.get('index')}"


def _wait_for_all(seconds):
    """Returns when all workers have been started.

    TensorFlow itself waits for an hour: deaf to signals, and it does not say for whom.
    """
    names, addresses = zip(*_workers().items(), strict=True)
    me = names.index(_me())
    deadline = time.monotonic() + seconds
    if me == 0:
        missing = _gather(int(addresses[0].rpartition(":")[2]), len(addresses), deadline)
    else:
        missing = [] if _report(addresses[0], me, deadline) else [0]
    if missing:
        first = names[missing[0]]
        raise WorkerLost(
            f"{first} ({addresses[missing[0]]}) has not come: it was not started, has failed, or "
            f"cannot be reached. This is {names[me]}, which has waited for {seconds:g} seconds. "
            f"Not there: {len(missing)} of {len(addresses)}.",
            first,
        )


def _gather(port, count, deadline):
    """The first worker waits for the others to report: the numbers of those that do not."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    here = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            socket.create_server(("", port), family=family, dualstack_ipv6=both)
        )
        while True:
            missing = sorted(set(range(1, count)) - set(here.values()))
            # When all are there: is none of them gone again?
            left = max(0.0, deadline - time.monotonic()) if missing else 0.0
            ready, _, _ = select.select([server, *here], [], [], left)
            if not ready:
                break
            for each in ready:
                if each is not server:  # it was killed while it waited
                    del here[each]
                    each.close()
                    continue
                other = stack.enter_context(server.accept()[0])
                other.settimeout(5)
                with contextlib.suppress(OSError):
                    said = other.recv(len(_HELLO) + 4, socket.MSG_WAITALL)
                    if said.startswith(_HELLO):
                        here[other] = int.from_bytes(said[len(_HELLO) :], "big")
        if missing:
            return missing
        for other in here:
            with contextlib.suppress(OSError):
                other.sendall(_HELLO)
    return []


def _report(address, me, deadline):
    """Another worker says that it is there: whether the first one knows of all in time."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.strip("[]"), int(port)), timeout=left) as first,
        ):
            first.sendall(_HELLO + me.to_bytes(4, "big"))
            if first.recv(len(_HELLO), socket.MSG_WAITALL) == _HELLO:
                return True
        time.sleep(0.2)
    return False


def is_chief(strategy=None):
    """Whether this process is the one that writes files."""
    resolver = (strategy or tf.distribute.get_strategy()).cluster_resolver
    if resolver is None or len(_workers()) < 2:
        return True
    has_chief = "chief" in _cluster()[0]
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


# ------------------------------------------------------------------ which data


def batches(x, y, batch_size, seed=0):
    """Batches of arrays for `fit`, in an order that depends on the seed and the epoch alone.

    Each worker makes its own part of each batch only. What does not fill a batch at the end of an
    epoch is left out, other samples in each epoch.

    Args:
        x: Inputs, an array.
        y: Targets, an array.
        batch_size: Number of samples in a batch of all replicas.
        seed: An integer, at least 0.

    Returns:
        A function of an epoch and a `tf.distribute.InputContext`, for `fit`.

    Raises:
        ValueError: If there are fewer samples than `batch_size`; when it is called, if that cannot
            be divided among the replicas.
    """
    checks.positive_integer("batches", "batch_size", batch_size)
    if len(x) != len(y) or len(x) < batch_size:
        raise ValueError(
            "`x` and `y` must have the same number of samples, at least one batch. Received: "
            f"{len(x)} and {len(y)}, batch_size={batch_size}"
        )

    def data(epoch, context):
        order = np.random.default_rng([seed, epoch]).permutation(len(x))
        parts = np.split(order[: len(x) // batch_size * batch_size], len(x) // batch_size)
        size = context.get_per_replica_batch_size(batch_size)
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        begin = context.input_pipeline_id * replicas * size
        chosen = np.concatenate([part[begin : begin + replicas * size] for part in parts])
        indices = tf.data.Dataset.from_tensor_slices(chosen).batch(size, drop_remainder=True)
        like = [tf.TensorSpec((size, *each.shape[1:]), each.dtype) for each in (x, y)]

        def take(index):
            taken = tf.numpy_function(
                lambda at: (x[at], y[at]), [index], [each.dtype for each in like]
            )
            return tuple(tf.ensure_shape(a, b.shape) for a, b in zip(taken, like, strict=True))

        return indices.map(take).prefetch(2)

    return data


def _distributed(strategy, data, epoch, skip=0):
    """The batches of an epoch, spread over the replicas, without the first ones."""
    if isinstance(data, tf.data.Dataset):
        options = tf.data.Options()
        policy = data.options().experimental_distribute.auto_shard_policy
        if policy == tf.data.experimental.AutoShardPolicy.AUTO:
            # By files the batches would be others than those of one process.
            policy = tf.data.experimental.AutoShardPolicy.DATA
            options.experimental_distribute.auto_shard_policy = policy
        return strategy.experimental_distribute_dataset(data.skip(skip).with_options(options))

    def of_worker(context):
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return data(epoch, context).skip(skip * replicas)

    return strategy.distribute_datasets_from_function(of_worker)


def _check_data(name, data):
    if not isinstance(data, tf.data.Dataset) and not callable(data):
        raise TypeError(
            f"`{name}` must be a tf.data.Dataset of batches, or what distributed.batches(x, y, "
            f"batch_size) or records.batches return. Received: {type(data).__name__}"
        )


def _check_training(dataset, strategy):
    """Refuses batches whose parts would not be of one size."""
    replicas = strategy.num_replicas_in_sync
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The batches for training have no end: leave out .repeat().")
    sizes = {spec.shape[0] for spec in tf.nest.flatten(dataset.element_spec)}
    if replicas > 1 and (None in sizes or any(size % replicas for size in sizes)):
        raise ValueError(
            f"The batches for training must be of one size that {replicas} replicas can share, so "
            "that the mean of their gradients is that of the batch. Make them with "
            f".batch(size, drop_remainder=True). Received: {dataset.element_spec}"
        )


# ------------------------------------------------------------------ the loop


def fit(
    model,
    data,
    epochs=1,
    validation_data=None,
    callbacks=(),
    initial_epoch=0,
    verbose="auto",
    backup=None,
    save_freq="epoch",
):
    """Trains a compiled model, as `Model.fit` does, on the devices of the strategy of its scope.

    With `backup` it goes on where an earlier call was killed, on as many devices or on others; a
    training that is done already is loaded. The result is that of one that was not killed, if the
    data of an epoch is always the same.

    Args:
        model: A `keras.Model`, made and compiled in the scope of a strategy, or without one. Its
            loss is a mean over the batch. Metrics in the logs of a batch are means of those of all
            replicas.
        data: A `tf.data.Dataset` of batches for all replicas; or a function of the epoch and a
            `tf.distribute.InputContext`, such as `batches` and `keras_spiking_rnn.records.batches`
            return, that makes a dataset of this worker's batches, each for one of its replicas.
        epochs: Number of the last epoch.
        validation_data: A `tf.data.Dataset` of batches to evaluate after each epoch, or `None`.
        callbacks: List of callbacks of Keras. The chief alone has those that only write, see
            `WRITERS`. With a backup those of Keras go on with the numbers that they had, but the
            weights that `EarlyStopping` keeps for its end are not saved.
        initial_epoch: Number of the first epoch, from 0; not used if there is a backup.
        verbose: As for `Model.fit`; the other workers are silent.
        backup: Path of a file, or `None`. The chief writes it, whole or not at all, and tells the
            other workers what is in it: they need not see the same disk.
        save_freq: `"epoch"`, or a number of batches after which it is written as well.

    Returns:
        The `keras.callbacks.History`.

    Raises:
        TypeError: If the data is of another kind.
        ValueError: If the model is not compiled, its optimizer was not made in its scope, there are
            no batches or they cannot be shared, a layer is stateful, or the backup is not whole, of
            another model, or of an epoch of another number of batches.
        OSError: If the folder of the backup cannot be made, or the backup cannot be written.
        WorkerLost: If another worker is gone, was stopped or cannot be reached. Start all again.
    """
    if not model.compiled:
        raise ValueError(f"Model '{model.name}' must be compiled: model.compile(optimizer, loss).")
    _check_data("data", data)
    if validation_data is not None:
        _check_data("validation_data", validation_data)
    if save_freq != "epoch":
        checks.positive_integer("fit", "save_freq", save_freq, "or 'epoch'")
    strategy = model.distribute_strategy
    chief = is_chief(strategy)
    _check_model(model, strategy)
    callbacks = _callbacks(callbacks, chief)
    # Callbacks are called outside of the scope: when Keras saves a model it makes variables, which
    # in the scope all workers would have to make.
    with naming_the_lost(), _summed_first(model.optimizer, strategy):
        if isinstance(data, tf.data.Dataset):
            first, batches = data, 1
            _check_training(data, strategy)
        else:
            context = _context(strategy)
            first = data(0, context)
            # Each replica of this worker takes one in a step.
            batches = max(1, context.num_replicas_in_sync // context.num_input_pipelines)
        _build(model, strategy, first.element_spec)
        steps = int(first.cardinality()) // batches
        backup = _Backup(model, strategy, backup, chief, callbacks, steps)
        state = backup.restore() or {"epoch": initial_epoch, "step": 0}
        epoch, done, history = state["epoch"], state["step"], state.get("history", {})
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=chief and verbose != 0,
            verbose=verbose if chief else 0,
            epochs=epochs,
            steps=steps if steps > 0 else None,
            model=model,
        )
        train, test = _function(model, strategy, True), _function(model, strategy, False)
        callbacks.on_train_begin()
        model.stop_training = state.get("stopped", False)
        backup.remind(state.get("callbacks", {}))
        model.history.epoch = list(range(epoch - len(history.get("loss", ())), epoch))
        model.history.history = history
        logs = None
        while epoch < epochs and not model.stop_training:
            if not done:
                model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            for batch in _distributed(strategy, data, epoch, done):
                callbacks.on_train_batch_begin(done)
                logs = _first(strategy, train(batch))
                callbacks.on_train_batch_end(done, logs)
                done += 1
                if model.stop_training:
                    break
                if save_freq != "epoch" and done % save_freq == 0:
                    backup.save(epoch, done)
            if not done:
                raise ValueError("There are no batches to train on.")
            logs = _results(model)
            if validation_data is not None:
                results = _evaluated(model, strategy, test, validation_data, callbacks)
                logs |= {f"val_{name}": value for name, value in results.items()}
            epoch, done = epoch + 1, 0
            callbacks.on_epoch_end(epoch - 1, logs)
            backup.save(epoch, done)
        model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end(logs)
    return model.history


def evaluate(model, data):
    """Loss and metrics of a compiled model on a `tf.data.Dataset`, on the devices of its strategy.

    Unlike in `Model.evaluate` the last batch may be smaller than the number of replicas.

    Returns:
        A dictionary from the name of a metric to its value.

    Raises:
        ValueError: If there are no batches.
        WorkerLost: See `fit`.
    """
    strategy = model.distribute_strategy
    with naming_the_lost():
        _build(model, strategy, data.element_spec)
        return _evaluated(model, strategy, _function(model, strategy, False), data)


def _evaluated(model, strategy, test, data, callbacks=None):
    model.reset_metrics()
    if callbacks is not None:
        callbacks.on_test_begin()
    empty = True
    for batch in _distributed(strategy, data, 0):
        test(batch)
        empty = False
    if empty:
        raise ValueError("There are no batches to evaluate.")  # The loss would be 0.
    results = _results(model)
    if callbacks is not None:
        callbacks.on_test_end(results)
    return results


def _results(model):
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _first(strategy, logs):
    return {name: strategy.experimental_local_results(each)[0] for name, each in logs.items()}


def _function(model, strategy, training):
    """One batch of training or of evaluation on all replicas, compiled."""
    states = [each for each in model.variables if each.path.endswith("seed_generator_state")]

    def spread(sign):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state in states:
            seed, number = tf.unstack(state.value)
            shift = tf.cast(replica, seed.dtype) * tf.constant(sign * _BETWEEN_REPLICAS, seed.dtype)
            state.assign(tf.stack([seed + shift, number]))

    def one(batch):
        several = strategy.num_replicas_in_sync > 1
        if not training:
            count = tf.shape(tf.nest.flatten(batch)[0])[0]
            # A replica that gets nothing of the last batch would add the mean of nothing, NaN.
            tf.cond(count > 0, lambda: _done(model.test_step(batch)), lambda: tf.constant(True))
            return {}
        # Outside of a step all replicas have the same state, which is what is saved.
        if several:
            spread(1)
        logs = model.train_step(batch)
        if several:
            spread(-1)
            # All workers must see the same: one that alone saw a NaN, and stopped, would leave the
            # others waiting.
            values = tf.stack([tf.cast(each, tf.float32) for each in logs.values()])
            replica = tf.distribute.get_replica_context()
            values = replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)
            logs = dict(zip(logs, tf.unstack(values), strict=True))
        return logs

    def everywhere(batch):
        return strategy.run(one, args=(batch,))

    return tf.function(everywhere, autograph=False, reduce_retracing=True)


def _done(results):
    with tf.control_dependencies(tf.nest.flatten(results)):
        return tf.constant(True)


@contextlib.contextmanager
def _summed_first(optimizer, strategy):
    """Has an optimizer add gradients of replicas up before it does anything else with them."""
    if strategy.num_replicas_in_sync == 1:
        yield
        return
    # In float16 the optimizer is in another one, which scales.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    apply, summed = optimizer.apply, inner._all_reduce_sum_gradients

    def sum_and_apply(gradients, trainable_variables):
        pairs = summed(zip(gradients, trainable_variables, strict=True))
        return apply([gradient for gradient, _ in pairs], trainable_variables)

    # Keras has no public place between the gradients and what it does with them.
    optimizer.apply, inner._all_reduce_sum_gradients = sum_and_apply, list
    try:
        yield
    finally:
        del optimizer.apply, inner._all_reduce_sum_gradients


def _context(strategy):
    """What a function of `fit` is called with to see its first batch."""
    workers = max(1, len(_workers()))
    return tf.distribute.InputContext(workers, 0, strategy.num_replicas_in_sync)


def _build(model, strategy, spec):
    """Creates all variables, from the shapes of a batch: within a step it would be too late."""
    with strategy.scope():
        model._symbolic_build(data_batch=tf.nest.map_structure(_symbolic, spec))


def _symbolic(spec):
    return keras.KerasTensor((spec.shape[0] or 1, *spec.shape[1:]), spec.dtype.name)


def _check_model(model, strategy):
    stateful = [
        layer.name
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.RNN) and layer.stateful
    ]
    if stateful and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            f"The layers {', '.join(stateful)} are stateful: they continue with the states of the "
            "batch before, whose sequences another replica may have had. Train on one device, or "
            "carry the states yourself with return_state=True."
        )
    if getattr(model.optimizer, "_distribution_strategy", strategy) is not strategy:
        raise ValueError(
            f"Model '{model.name}' was made in the scope of a strategy and its optimizer was not: "
            "make both `with strategy.scope():`."
        )


def _callbacks(callbacks, chief):
    callbacks = keras.tree.flatten(list(callbacks or ()))
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore would load the weights on one worker and not on the others: pass "
                "backup=PATH to `fit` in its place."
            )
    return [each for each in callbacks if chief or not isinstance(each, WRITERS)]


# ------------------------------------------------------------------ failures


@contextlib.contextmanager
def naming_the_lost():
    """Turns TensorFlow's error of a worker that is gone into a `WorkerLost`.

    `fit` and `evaluate` do so themselves. A program that makes its model in the scope of a strategy
    has this around all: the workers talk to each other then, too.

    Raises:
        WorkerLost: In place of the errors that TensorFlow has for it.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        lost = _lost(str(error))
        if lost is None:
            raise
        if len(_workers()) > 2:
            time.sleep(LINGER)
        raise lost from error


def _lost(text):
    """The `WorkerLost` of the text of an error, or `None` if it names no other worker."""
    # What stopped sending heartbeats is surer than the one whose connection was closed.
    _, _, unhealthy = text.partition("unhealthy")
    found = re.findall(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", unhealthy or text)
    others = [name for name in map(" ".join, found) if name != _me()]
    if not others:
        return None
    lost = others[0]
    return WorkerLost(
        f"{lost} ({_workers()[lost]}) is gone: it was killed, has failed, or cannot be reached; "
        f"look at its own output. This is {_me()}, which stops as well. Start all workers again: "
        "they go on from the backup.",
        lost,
    )


class _Backup:
    """All that a training goes on from, in a file that the chief writes.

    Args:
        model: The model, built, with its optimizer and metrics.
        strategy: Its strategy.
        path: The file, or `None` for no backup.
        chief: Whether this is the worker that writes.
        callbacks: List of callbacks, of which the numbers in `REMEMBERED` are saved.
        steps: Number of batches in an epoch, as `tf.data` says it.
    """

    def __init__(self, model, strategy, path, chief, callbacks, steps):
        self.model, self.strategy, self.chief, self.steps = model, strategy, chief, steps
        names = [type(callback).__name__ for callback in callbacks]
        self.callbacks = {
            f"{name} {names[:i].count(name)}": callback
            for i, (name, callback) in enumerate(zip(names, callbacks, strict=True))
        }
        self.path = None if path is None else Path(path)
        if path is not None and chief:  # what cannot be written is found before the first epoch
            self.path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def _variables(self):
        metrics = [each for metric in self.model.metrics for each in metric.variables]
        return [*self.model.variables, *self.model.optimizer.variables, *metrics]

    def _names(self):
        # Keras numbers models and layers: those of a second model of the same kind differ.
        return [[re.sub(r"_\d+", "", v.path), list(v.shape)] for v in self._variables]

    def save(self, epoch, step):
        """Writes that `step` batches of an epoch are done."""
        if self.path is None:
            return
        # All workers read: a metric is the sum of what each of them has.
        with self.strategy.scope():
            values = [np.asarray(variable) for variable in self._variables]
        if not self.chief:
            return
        state = {
            "epoch": epoch,
            "step": step,
            "steps": self.steps,
            "stopped": bool(self.model.stop_training),
            "history": self.model.history.history,
            "callbacks": self._remembered(),
            "variables": self._names(),
        }
        with files.replacing(self.path) as part, part.open("wb") as file:
            arrays = {f"{i:05d}": value for i, value in enumerate(values)}
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def restore(self):
        """Puts the variables back: the rest of what was saved, a dictionary, or `None`."""
        if self.path is None:
            return None
        content = self.path.read_bytes() if self.chief and self.path.exists() else b""
        content = _told_by_chief(self.strategy, content)
        if not content:
            return None
        try:
            with np.load(io.BytesIO(content)) as saved:
                state = json.loads(str(saved["state"]))
                values = [saved[f"{i:05d}"] for i in range(len(state["variables"]))]
        except (EOFError, KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is no backup, or not a whole one ({error}): delete it to begin anew, "
                "or put one there that is."
            ) from error
        here = self._names()
        if state["variables"] != here:
            pairs = zip([*state["variables"], None], [*here, None], strict=False)
            was, now = next((a, b) for a, b in pairs if a != b)
            raise ValueError(
                f"{self.path} is the backup of another model: it has {was}, where model "
                f"'{self.model.name}' has {now}. Delete it, or name another file."
            )
        if state["step"] and state["steps"] != self.steps:
            raise ValueError(
                f"{self.path} was written after {state['step']} batches of an epoch of "
                f"{state['steps']}, which now has {self.steps}: go on with the data and the batch "
                "size that it was begun with, delete it, or name another file."
            )
        with self.strategy.scope():
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
        return state

    def _remembered(self):
        return {
            name: {
                key: None if value is None else float(value)
                for key, value in vars(callback).items()
                if key in REMEMBERED
            }
            for name, callback in self.callbacks.items()
        }

    def remind(self, remembered):
        """Tells the callbacks, which have begun anew, what they knew when it was saved."""
        for name, callback in self.callbacks.items():
            vars(callback).update(remembered.get(name, {}))


def _told_by_chief(strategy, content):
    """The bytes that the chief has, on all workers."""
    if len(_workers()) < 2:
        return content

    def of_first(values):
        replica = tf.distribute.get_replica_context()
        is_first = replica.replica_id_in_sync_group == 0
        own = tf.where(is_first, values, tf.zeros_like(values))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)

    @tf.function(autograph=False, reduce_retracing=True)
    def everywhere(values):
        return strategy.run(of_first, args=(values,))

    def summed(values):
        return strategy.experimental_local_results(everywhere(values))[0].numpy()

    size = int(summed(tf.constant([len(content)], tf.int32))[0])
    words = np.zeros(-(-size // 4), np.int32)
    if content:
        words.view(np.uint8)[:size] = np.frombuffer(content, np.uint8)
    return summed(tf.constant(words)).tobytes()[:size] if size else b""
