"""The networks that classify frames of events, and what is measured of one that is trained.

The paper's network has layers of RLIF in its Conv pattern, a sum over the steps and a classifier;
how many, how wide and with which windows cannot be read from its figure 3. Here it is two layers
with strides of 2. Beside it: convolutional LIF neurons, which are RLIF whose leak is not learned
and without bias of the membrane, and a convolutional LSTM; and fully connected RLIF, LSTM and LIF,
the latter with a current that leaks, as that of `keras_spiking_rnn.LIF`.
"""

import keras
import numpy as np

from examples import experiment
from keras_spiking_rnn import LIF, RLIF, ConvRLIF2D, TimeSum, metrics

TITLES = {
    "conv-rlif": "ConvRLIF2D",
    "conv-lif": "convolutional LIF",
    "conv-lstm": "ConvLSTM2D",
    "rlif": "RLIF",
    "lif": "LIF",
    "lstm": "LSTM",
}
# Leak at the start, for the networks that learn it, and throughout for the others.
LEAK = 0.8
RATE = 0.003
# Samples that activity is measured on.
MEASURED = 500
BATCH = 64
# The second layer's size of a window; the first has 5.
WINDOWS = (5, 3)


def network(kind, inputs, protocol, classes):
    """A network from frames to scores of classes.

    Args:
        kind: A key of `TITLES`.
        inputs: Shape of one input: `(steps, height, width, 2)`.
        protocol: Dictionary with `filters` of the two layers of convolutions and `units` of the
            layer of the fully connected networks, and if there are any `of_lstm`, a dictionary of
            those of LSTM networks instead, `dropout` before the classifier, `shift` and `turn` as
            of `moved`.
        classes: Number of classes.

    Returns:
        A `keras.Sequential` that is not compiled.
    """
    if "lstm" in kind:
        protocol = {**protocol, **protocol.get("of_lstm", {})}

    def convolution(number):
        filters, window = protocol["filters"][number], WINDOWS[number]
        options = {
            "strides": 2,
            "padding": "same",
            "return_sequences": True,
            "name": f"layer_{number + 1}",
        }
        if kind == "conv-lstm":
            return keras.layers.ConvLSTM2D(filters, window, **options)
        if kind == "conv-lif":
            options |= {"learn_leak": False, "use_membrane_bias": False}
        return ConvRLIF2D(filters, window, leak_initializer=LEAK, **options)

    connected = {
        "rlif": lambda: RLIF(
            protocol["units"], leak_initializer=LEAK, return_sequences=True, name="layer_1"
        ),
        "lif": lambda: LIF(
            protocol["units"],
            use_bias=True,
            current_decay_initializer=LEAK,
            membrane_decay_initializer=LEAK,
            return_sequences=True,
            name="layer_1",
        ),
        "lstm": lambda: keras.layers.LSTM(protocol["units"], return_sequences=True, name="layer_1"),
    }
    layers = (
        [keras.layers.Reshape((inputs[0], -1)), connected[kind]()]
        if kind in connected
        else [convolution(0), convolution(1)]
    )
    return keras.Sequential(
        [
            keras.Input(inputs),
            *moved(inputs, protocol.get("shift", 0), protocol.get("turn", 0)),
            *layers,
            TimeSum(mean=True, name="sum"),
            keras.layers.Flatten(),
            *([keras.layers.Dropout(protocol["dropout"])] if protocol.get("dropout") else []),
            keras.layers.Dense(classes, name="classes"),
        ],
        name=kind.replace("-", "_"),
    )


def moved(inputs, shift, turn):
    """Layers that move each recording in training, all of its frames alike; none if they need not.

    That is what other places and angles before the camera would do. Pixels stay 0 or 1; what is
    moved out of the frame is lost. Keras' layers do so unless they are told `training=False`, as
    `fit` tells them in validation, `evaluate`, `predict` and `metrics.firing_rates`.

    Args:
        inputs: As of `network`.
        shift: Largest way up or down, and to a side, in pixels.
        turn: Largest angle in degrees.
    """
    steps, height, width, polarities = inputs
    options = {"fill_mode": "constant", "interpolation": "nearest"}
    layers = []
    if shift:
        layers.append(keras.layers.RandomTranslation(shift / height, shift / width, **options))
    if turn:
        layers.append(keras.layers.RandomRotation(turn / 360, **options))
    if not layers:
        return []
    return [
        # All steps as the channels of one image.
        keras.layers.Permute((2, 3, 1, 4)),
        keras.layers.Reshape((height, width, steps * polarities)),
        *layers,
        keras.layers.Reshape((height, width, steps, polarities)),
        keras.layers.Permute((3, 1, 2, 4)),
    ]


def compile_for(model, samples, epochs, rate=RATE):
    """Compiles with Adam whose learning rate falls along a cosine to 0."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-samples // BATCH))
    model.compile(
        keras.optimizers.Adam(schedule, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def measured(parts, protocol, kind, classes, output, name, seed):
    """Trains a network, or loads it if it is trained, and measures it.

    Args:
        parts: Training, validation and test part, each `(x, y)`.
        protocol: As of `network`, with `epochs`.
        kind: As of `network`.
        classes: Number of classes.
        output: Folder of checkpoints.
        name: Name of the network in it.
        seed: Seed of weights and batches.

    Returns:
        A tuple of the model and a dictionary:

        - `accuracy`, `loss`: of the test part, after the last epoch;
        - `history`: lists of `loss` and `accuracy` in training, `val_loss` and `val_accuracy`;
        - `parameters`: how many are trained;
        - `activity`: for each spiking layer its spikes a neuron and step;
        - `seconds`: of all epochs together, those before the run was killed too.
    """
    (x, y), validation, (x_test, y_test) = parts
    keras.utils.set_random_seed(seed)
    model = network(kind, x.shape[1:], protocol, classes)
    compile_for(model, len(x), protocol["epochs"])
    history = experiment.train(
        model, x, y, output, name, protocol["epochs"], BATCH, seed, validation
    )
    seconds = history.pop("seconds")
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=BATCH, verbose=0)
    activity = {}
    if "lstm" not in kind:
        activity = metrics.firing_rates(model, x_test[:MEASURED], batch_size=BATCH)
    return model, {
        "accuracy": round(accuracy, 4),
        "loss": round(loss, 4),
        "history": {key: np.round(values, 4).tolist() for key, values in history.items()},
        "parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "activity": {layer: round(float(rate), 5) for layer, rate in activity.items()},
        "seconds": round(sum(seconds), 1),
    }


def spread(shares):
    """The mean of several shares in percent, and their deviation if there are several."""
    return experiment.percent(np.mean(shares), np.std(shares) if len(shares) > 1 else None)


def differences(protocol, parts):
    """The protocol in words; the paper states none of it but a size of 128 x 128."""
    (x, _), (held, _), (x_test, _) = parts
    steps, height, width = x.shape[1:4]
    shift, turn = protocol.get("shift", 0), protocol.get("turn", 0)
    moved = f", moved by up to {shift} pixels and {turn} degrees in training"
    return (
        f"{len(x) + len(held)} recordings, {len(x_test)} to test; {steps} frames of "
        f"{protocol['count']} events, {height} x {width} pixels (paper 128 x 128), "
        f"{' and '.join(map(str, protocol['filters']))} filters, {protocol['epochs']} epochs"
        + (moved if shift or turn else "")
    )
