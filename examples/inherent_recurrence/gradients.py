"""The vanishing gradient, equations (11) to (15), and a task that needs one which does not vanish.

    python -m examples.inherent_recurrence.gradients

The task: a symbol is marked at the first step, and to be told at the last one; at all steps between
there are other symbols that are not marked, in the same inputs. In training any step is the marked
one, so that short lags lead to the long one. One layer and a linear readout of its last output. The
biases of the forget signals begin with the logarithms of numbers up to the length, by chance, so
that some gates are open (Tallec and Ollivier, 2018); the paper has no biases. The connections of
version 2 begin near 0. The sequences are made by a program: synthetic data.
"""

import functools
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from examples import experiment
from examples.inherent_recurrence import networks
from keras_spiking_rnn import LIF, GatedLIF, metrics

NAME = "inherent_recurrence/gradients"
SYMBOLS = 4
TITLES = {
    "traditional": "traditional, decay 0.9",
    "learned": "traditional, learned decay",
    "v1": "improved v1",
    "v2": "improved v2",
}
PRESETS = {
    "reduced": {"units": 32, "updates": 200, "batch": 64, "rate": 0.02, "lags": [10, 30, 100]},
    "paper": {"units": 128, "updates": 2000, "batch": 64, "rate": 0.01, "lags": [10, 100, 400]},
    "quick": {"units": 8, "updates": 2, "batch": 8, "rate": 0.01, "lags": [5]},
}
TESTED = 1000
# Deviation of the initial connections of version 2. From Keras' default they close the gates and
# let the gradient explode before anything is learned.
CONNECTIONS = 0.02


def recall(count, lag, seed, anywhere=False):
    """Sequences `(count, lag + 1, SYMBOLS + 1)` and the symbols that are marked, `(count,)`.

    The last input is 1 where the symbol is marked and -1 elsewhere.

    Args:
        count: Number of sequences.
        lag: Steps from the first to the last.
        seed: Seed of the symbols and of the marked steps.
        anywhere: Whether any step can be the marked one, the last too, or it is the first.
    """
    random = np.random.default_rng(seed)
    symbols = random.integers(0, SYMBOLS, (count, lag + 1))
    marked = random.integers(0, lag + 1, count) if anywhere else np.zeros(count, int)
    marks = np.where(np.arange(lag + 1) == marked[:, None], 1.0, -1.0)
    x = np.concatenate([np.eye(SYMBOLS)[symbols], marks[..., None]], axis=-1)
    return x.astype("float32"), symbols[np.arange(count), marked].astype("int32")


def open_gates(units, longest, seed):
    """Initializer of the biases `(2 units,)`: those of the candidates are 0."""

    def initialize(shape, dtype=None):
        kept = np.random.default_rng(seed).uniform(1, max(longest, 2), units)
        return ops.convert_to_tensor(np.concatenate([np.log(kept), np.zeros(units)]), dtype)

    return initialize


def network(neuron, units, lag, seed, biases=True):
    """One layer with outputs of 6 bits, and scores of the symbols from its last output.

    Args:
        neuron: A key of `TITLES`.
        units: Number of units.
        lag: Steps from the symbol to the answer.
        seed: Seed of the weights.
        biases: Whether improved layers have biases, see `open_gates`.
    """
    keras.utils.set_random_seed(seed)
    common = {"bits": 6, "threshold_ratio": 8, "name": "layer"}
    if neuron in ("traditional", "learned"):
        layer = LIF(units, learn_current_decay=neuron == "learned", **common)
    else:
        layer = GatedLIF(
            units,
            recurrent_gates=neuron == "v2",
            use_bias=biases,
            bias_initializer=open_gates(units, lag, seed),
            recurrent_initializer=keras.initializers.RandomNormal(stddev=CONNECTIONS, seed=seed),
            **common,
        )
    return keras.Sequential(
        [keras.Input((lag + 1, SYMBOLS + 1)), layer, keras.layers.Dense(SYMBOLS, name="scores")]
    )


def learned(neuron, lag, protocol, seed, biases=True):
    """A network trained on fresh sequences at each update, and its accuracy on others."""
    model = network(neuron, protocol["units"], lag, seed, biases)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(protocol["rate"], protocol["updates"]),
            global_clipnorm=1.0,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # For networks as small as these, compiling takes longer than it saves.
        jit_compile=False,
    )
    x, y = recall(protocol["updates"] * protocol["batch"], lag, [seed, lag], anywhere=True)
    model.fit(x, y, batch_size=protocol["batch"], shuffle=False, verbose=0)
    x, y = recall(TESTED, lag, [seed, lag, 1])
    right = model.predict(x, batch_size=256, verbose=0).argmax(axis=-1) == y
    return model, float(right.mean())


def jacobians(layer, x, seed=0):
    r"""The gradients of the last current and membrane potential, by automatic differentiation.

    Args:
        layer: A built `LIF` or `GatedLIF`.
        x: Inputs, `(batch, steps, features)`.
        seed: Seed of the signs by which the units of version 2, which are connected, are told
            apart: the mean of squares over the signs is that of the matrix.

    Returns:
        Two arrays `(batch, steps, units)`: $\partial I_N / \partial I_n$ and
        $\partial V_N / \partial I_n$ at each n, to the last of them, N, along all paths; where
        units are connected, the sum over those of N with a random sign for each.
    """
    cell = layer.cell
    steps = x.shape[1]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (len(x), layer.units))
    connected = getattr(cell, "recurrent_gates", False)
    signs = tf.constant(signs if connected else np.ones_like(signs), tf.float32)
    v_max = cell.value(cell.v_max)
    with tf.GradientTape(persistent=True) as tape:
        added = [tf.zeros_like(signs) for _ in range(steps)]
        tape.watch(added)
        states = cell.get_initial_state(batch_size=len(x))
        for n in range(steps):
            _, (current, membrane, _), _ = cell.step(tf.constant(x[:, n]), list(states))
            # What is added to I[n] is in V[n] and Y[n] too: equations (8) and (22).
            current, membrane = current + added[n], membrane + added[n]
            states = [current, membrane, cell.fire(membrane, v_max)]
        last = [tf.reduce_sum(signs * each) for each in states[:2]]
    return [
        np.stack([np.asarray(each) for each in tape.gradient(value, added)], axis=1)
        for value in last
    ]


def closed_form(layer, x):
    r"""What equations (12) to (15) say of the same gradients, from a trace of the layer.

    Returns:
        Two arrays `(batch, steps, units)`: the product of $\beta$, equation (15), or of the forget
        signals, from (18); and equation (14), the sum over all paths from the current of step n to
        the membrane potential of the last one. They are complete unless the units are connected.
    """
    cell, inside = layer.cell, metrics.trace(layer, x)
    membrane = inside["membrane"]
    slope = np.asarray(cell.slope(tf.constant(membrane), cell.value(cell.v_max)))
    stays = np.asarray(cell.membrane_decay) - slope  # (13); with bits an output of 1 takes 1
    if "forget" in inside:
        kept = inside["forget"]
    else:
        kept = np.broadcast_to(np.asarray(cell.current_decay), membrane.shape)
    along, paths = np.ones_like(membrane), np.ones_like(membrane)
    through = np.ones_like(membrane[:, 0])
    for n in reversed(range(membrane.shape[1] - 1)):
        along[:, n] = kept[:, n + 1] * along[:, n + 1]
        through = through * stays[:, n]
        paths[:, n] = through + kept[:, n + 1] * paths[:, n + 1]
    return along, paths


def sizes(values):
    """The root mean square over sequences and units at each lag, from 0 on."""
    return np.sqrt(np.mean(np.square(values), axis=(0, 2)))[::-1]


def compared(model, x):
    """The gradients of a network beside the closed forms: what the record has of them."""
    layer = model.get_layer("layer")
    current, membrane = jacobians(layer, x)
    along, paths = closed_form(layer, x)
    found = {
        "current": sizes(current),
        "closed_current": sizes(along),
        "membrane": sizes(membrane),
        "closed_membrane": sizes(paths),
    }
    result = {key: [float(f"{each:.4g}") for each in values] for key, values in found.items()}
    # Relative to the largest of a lag: float32 has no more.
    result["difference"] = float(
        max(np.abs(current - along).max(), (np.abs(membrane - paths) / np.abs(paths).max()).max())
    )
    return result


def rows(numbers, protocol):
    """The rows of the table of reproductions.

    Args:
        numbers: What `main` saves.
        protocol: Dictionary of the preset.
    """
    longest = protocol["lags"][-1]
    size = {key: numbers["trained"][key]["current"][longest] for key in numbers["trained"]}
    common = {"paper": "002", "published": ""}
    said = (
        f"one layer of {protocol['units']} units, {protocol['updates']} updates of "
        f"{protocol['batch']} synthetic sequences with any step marked, Adam {protocol['rate']:g}; "
        "biases of the forget signals, which the paper has not; connections of v2 begin with a "
        f"deviation of {CONNECTIONS:g}"
    )
    result = [
        {
            **common,
            "what": f"dI_N/dI_n (rms) over {longest} steps: traditional, decay 0.9",
            "published": "0.9^N, vanishes",
            "ours": f"{size['traditional']:.1e}",
            "beside": f"v1 {size['v1']:.2g}, v2 {size['v2']:.2g}; equation (15) "
            f"{numbers['trained']['traditional']['closed_current'][longest]:.1e}",
            "protocol": f"after training on the recall task; {said}",
        }
    ]
    for lag in protocol["lags"]:
        accuracy = {key: numbers["recall"][f"{key}-{lag}"] for key in TITLES}
        result.append(
            {
                **common,
                "what": f"Recall after {lag} steps (synthetic), chance 25 %",
                "ours": ", ".join(
                    f"{key} {experiment.percent(accuracy[key])}" for key in ("v1", "v2")
                ),
                "beside": ", ".join(
                    f"{TITLES[key]} {experiment.percent(accuracy[key])}"
                    for key in ("traditional", "learned")
                ),
                "protocol": said,
            }
        )
    return result


def measured(neuron, protocol, seed, seen, without_biases):
    """Accuracies of recall and gradients of one kind of network, as JSON can have them.

    Args:
        neuron: A key of `TITLES`.
        protocol: A preset.
        seed: Seed of all that is random.
        seen: Sequences to measure the gradients on.
        without_biases: Whether gated networks are trained without biases, too.
    """
    started = time.perf_counter()
    longest = protocol["lags"][-1]
    found = {"recall": {}}
    for lag in protocol["lags"]:
        model, accuracy = learned(neuron, lag, protocol, seed)
        found["recall"][f"{neuron}-{lag}"] = accuracy
        print(f"{TITLES[neuron]}, {lag} steps: {experiment.percent(accuracy)}", flush=True)
    if neuron in ("v1", "v2") and without_biases:
        key = f"{neuron} without biases-{longest}"
        found["recall"][key] = learned(neuron, longest, protocol, seed, False)[1]
    found["trained"] = compared(model, seen)
    found["initial"] = compared(network(neuron, protocol["units"], longest, seed), seen)
    found["seconds"] = time.perf_counter() - started
    return found


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS)
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {**protocol, "connections": CONNECTIONS}
    output = experiment.directory(given, NAME, config)
    longest = protocol["lags"][-1]
    seen, _ = recall(16, longest, [given.seed, 2])
    numbers = {"recall": {}, "initial": {}, "trained": {}}
    seconds = 0.0
    for neuron in TITLES:
        found = networks.kept(
            output / f"{neuron}.json",
            functools.partial(
                measured, neuron, protocol, given.seed, seen, given.preset != "quick"
            ),
        )
        numbers["recall"] |= found["recall"]
        for key in ("initial", "trained"):
            numbers[key][neuron] = found[key]
        seconds += found["seconds"]
    experiment.record(
        "inherent_recurrence.gradients",
        given,
        parser,
        name="gradients",
        config=config,
        seconds=seconds,
        numbers=numbers,
        rows=rows(numbers, protocol),
    )


if __name__ == "__main__":
    main()
