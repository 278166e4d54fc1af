"""What runs in TensorFlow: this library, its cells in Keras' loop, Keras' layers, the products."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_rnn
from benchmarks.data import GATES, PLAIN, batch_of, is_recurrent, kernels_of
from benchmarks.workloads import SEED

VERSIONS = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}


def use_threads(count):
    """Has TensorFlow, and XLA with it, compute with so many threads."""
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


def build(name, workload, mode, batches):
    """Makes one of the subjects.

    Args:
        name: Its name in `benchmarks.subjects`.
        workload: A `Workload`.
        mode: `"training"`, a loss and the gradients of all weights of one batch, or `"inference"`,
            `model.predict`.
        batches: How many batches an inference has.

    Returns:
        A tuple of functions without arguments: one does one step; one returns the share of outputs
        other than 0 of each layer; one returns the largest gradient of an output with respect to
        the inputs three steps before. The last two are `None` for the products.
    """
    keras.utils.set_random_seed(SEED)
    if name == "products":
        return _products(workload, mode, batches), None, None
    compiled = name.endswith("_compiled")
    layer_of = {
        "fused": _fused,
        "cell": _cell,
        "keras_lstm": lambda workload, units: keras.layers.LSTM(units, return_sequences=True),
        "keras_gru": lambda workload, units: keras.layers.GRU(units, return_sequences=True),
    }[name.removesuffix("_compiled")]
    layers = [layer_of(workload, units) for units in workload.units]
    network = keras.Sequential([keras.Input((workload.steps, workload.inputs)), *layers])
    if workload.model in PLAIN and not name.startswith("keras"):
        for layer, kernel in zip(layers, kernels_of(workload), strict=True):
            layer.cell.kernel.assign(kernel)
    if mode == "training":
        step = _training(workload, network, compiled)
    else:
        step = _inference(workload, layers, compiled, batches)
    return (
        step,
        lambda: _activity(workload, layers),
        lambda: _gradient_through_time(workload, network),
    )


def _fused(workload, units):
    layer = getattr(keras_spiking_rnn, workload.model)
    # Outputs of all steps would take more memory than what is kept between checkpoints.
    sequences = "checkpoint_every" not in workload.options
    return layer(units, return_sequences=sequences, **workload.options)


def _cell(workload, units):
    cell = getattr(keras_spiking_rnn, workload.model + "Cell")
    return keras.layers.RNN(cell(units, **workload.options), return_sequences=True)


def _training(workload, network, compiled):
    x, labels = (tf.constant(each) for each in batch_of(workload))
    readout = keras.layers.Dense(10)
    readout.build((None, workload.units[-1]))
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(jit_compile=compiled)
    def train(x, labels):
        with tf.GradientTape() as tape:
            outputs = network(x, training=True)
            logits = readout(tf.reduce_mean(outputs, 1) if outputs.shape.rank == 3 else outputs)
            loss = loss_of(labels, logits)
        return loss, tape.gradient(loss, network.trainable_variables + readout.trainable_variables)

    def step():
        loss, _ = train(x, labels)
        loss.numpy()

    return step


def _inference(workload, layers, compiled, batches):
    x, _ = batch_of(workload, batches)
    inputs = keras.Input((workload.steps, workload.inputs))
    head = [keras_spiking_rnn.TimeSum(mean=True), keras.layers.Dense(10)]
    model = keras.Sequential([inputs, *layers, *head])
    model.compile(jit_compile=compiled)
    return lambda: model.predict(x, batch_size=workload.batch, verbose=0)


def _activity(workload, layers):
    @tf.function
    def shares(x):
        results = []
        for layer in layers:
            x = layer(x)
            results.append(tf.reduce_mean(tf.cast(x != 0, "float32")))
        return results

    return [float(share) for share in shares(tf.constant(batch_of(workload)[0]))]


def _gradient_through_time(workload, network):
    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = network(x)
            last = 3 if outputs.shape.rank == 3 else workload.steps - 1
            output = tf.reduce_sum(outputs[:, 3] if outputs.shape.rank == 3 else outputs)
        return tape.gradient(output, x)[:, last - 3]

    return float(np.abs(gradient(tf.constant(batch_of(workload)[0]))).max())


def _products(workload, mode, batches):
    """The matrix products that no implementation can do without, and nothing else.

    Forward: inputs by kernel, states by recurrent kernel. Backward: the gradient of each kernel,
    and that of the inputs of each layer but the first, and of the states. Products with states are
    one for all steps here; a loop must take them one by one.
    """
    gates = GATES[workload.model]
    recurrent = is_recurrent(workload)
    x, _ = batch_of(workload)
    rows = workload.batch * workload.steps
    widths = [workload.inputs, *workload.units]
    normal = tf.random.Generator.from_seed(SEED).normal
    inputs = [tf.constant(x.reshape(rows, -1)), *(normal((rows, w)) for w in widths[1:-1])]
    states = [normal((rows, units)) for units in workload.units if recurrent]
    kernels = [
        normal((before, gates * after)) for before, after in zip(widths, widths[1:], strict=False)
    ]
    feedback = [normal((units, gates * units)) for units in workload.units]

    @tf.function
    def once():
        results = []
        for i, kernel in enumerate(kernels):
            net = inputs[i] @ kernel
            results.append(net)
            if recurrent:
                results.append(states[i] @ feedback[i])
            if mode == "training":
                results.append(tf.matmul(inputs[i], net, transpose_a=True))
                if i > 0:
                    results.append(tf.matmul(net, kernel, transpose_b=True))
                if recurrent:
                    results.append(tf.matmul(states[i], net, transpose_a=True))
                    results.append(tf.matmul(net, feedback[i], transpose_b=True))
        return results

    def step():
        for _ in range(1 if mode == "training" else batches):
            once()

    return step
