"""The networks of the paper, their data, and what is measured of one that is trained.

Appendix A of *Spike-based computation using classical recurrent neural networks* (2023): layers of
512 neurons, a last one of ten for each class, whose groups excite one leaky integrator each. Beside
a network of SRC there is always one of LIF neurons of the same size, as in the paper.

The LIF neurons of the paper are snnTorch's `Leaky` with a reset to zero: `"leaky"`, see
`examples.src.leaky`. `RLIF` without biases is the nearest of this library: `"lif"`. What differs:
snnTorch fires above the threshold and not at it, drops the input of the step after a spike and lets
no gradient through the reset; and it learns one leak and one threshold for a layer, where `RLIF`
learns a leak for each neuron.
"""

import keras
import numpy as np

from examples import data, experiment
from examples.src.leaky import Leaky
from keras_spiking_rnn import (
    RLIF,
    SRC,
    LatencyEncoder,
    LeakyReadout,
    PoissonEncoder,
    events,
    metrics,
    surrogates,
)
from keras_spiking_rnn.datasets import Saccades

PRESETS = ("reduced", "paper", "quick")
NEURONS = ("src", "lif", "leaky")
TITLES = {"src": "SRC", "lif": "LIF", "leaky": "snnTorch's LIF"}
TITLES |= {"mnist": "MNIST", "fashion": "Fashion-MNIST", "nmnist": "N-MNIST"}
# Leak of the integrators of SRC and, at the start, of LIF: appendix A.
ALPHA = {"rate": 0.9, "latency": 0.99, "events": 0.9}
GAIN = 0.25
RATE = 0.005
CLASSES, GROUP = 10, 10
CAMERA = (34, 34)
EVENT_SOURCES = ("simulated", "tonic")
# Samples that activity is measured on.
MEASURED = 1000
# Bias of SRC at the start; a protocol may have another one.
BIAS = -6.0
PAPER = {"hidden": 512, "steps": 200, "batch_size": 64, "train": None, "test": None}


class Bits:
    """Frames of events that take a bit for each pixel: at the paper's sizes 4 GB and not 32.

    What is chosen of them, by a slice or an array of indices, is an array of uint8.

    Args:
        packed: Frames as `framed` gives them, `(n, steps, pixels / 8)`.
    """

    def __init__(self, packed):
        self.packed = packed
        self.shape = (*packed.shape[:-1], 8 * packed.shape[-1])

    def __len__(self):
        return len(self.packed)

    def __getitem__(self, chosen):
        return np.unpackbits(self.packed[chosen], axis=-1)


def network(neuron, coding, layers, hidden, steps, inputs, **options):
    """A network from intensities, or frames of events, to the integrators of the classes.

    Args:
        neuron: One of `NEURONS`.
        coding: `"rate"`, `"latency"`, or `"events"` for inputs that are spikes already.
        layers: Number of layers; with one there is only that of the groups.
        hidden: Neurons of each layer before it.
        steps: Number of steps.
        inputs: Shape of one input: `(pixels,)`, or `(steps, pixels)` of events.
        **options: More arguments of every `SRC`.

    Returns:
        A `keras.Sequential` that is not compiled.
    """
    alpha = ALPHA[coding]

    def layer(units, number):
        name = f"layer_{number}"
        if neuron == "src":
            return SRC(units, alpha=alpha, return_sequences=True, name=name, **options)
        if neuron == "leaky":
            return Leaky(units, leak=alpha, name=name)
        return RLIF(
            units,
            threshold=1.0,
            leak_initializer=alpha,
            surrogate=surrogates.ArcTan(2.0),
            use_bias=False,
            use_membrane_bias=False,
            return_sequences=True,
            name=name,
        )

    encoders = {
        "rate": lambda: [PoissonEncoder(steps, gain=GAIN, name="encoder")],
        "latency": lambda: [LatencyEncoder(steps, name="encoder")],
        "events": list,
    }
    sizes = [hidden] * (layers - 1) + [CLASSES * GROUP]
    return keras.Sequential(
        [
            keras.Input(inputs),
            *encoders[coding](),
            *(layer(units, number) for number, units in enumerate(sizes, 1)),
            LeakyReadout(CLASSES, name="readout"),
        ],
        name=neuron,
    )


def compile_for(model, samples, protocol, rate=RATE):
    """Compiles as appendix A: Adam, a rate that falls along a cosine, gradients of norm 1.

    With `clip_each` in the protocol that is the norm of the gradient of each weight and not that of
    all together. Through ten layers gradients grow a millionfold on their way down: clipped
    together, those of the upper layers are so small beside Adam's epsilon, 1e-7, that these layers
    hardly learn.
    """
    updates = protocol["epochs"] * -(-samples // protocol["batch_size"])
    clip = {"clipnorm" if protocol.get("clip_each") else "global_clipnorm": 1.0}
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, updates), **clip),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def parts_of(dataset, protocol, source=None, data_dir=None, seed=0):
    """Training, validation and test part, each `(x, y)`; a tenth of the training validates.

    Args:
        dataset: `"mnist"`, `"fashion"` or `"nmnist"`.
        protocol: Dictionary with `train` and `test`, numbers of samples or `None` for all, and for
            events `steps`.
        source: See `examples.data.images`. For `"nmnist"`: `"simulated"`, the digits of
            `examples.data` before a simulated camera (synthetic), or `"tonic"`, the recordings.
        data_dir: Folder of the data.
        seed: Seed of what is drawn.

    Returns:
        Three pairs: intensities `(n, 784)`, or frames of events `(n, steps, 2312)` as `Bits`, and
        labels.
    """
    if dataset == "nmnist":
        source = data.known_source(source, EVENT_SOURCES, dataset)
        recordings = recorded(data_dir) if source == "tonic" else simulated(seed)
        both = [
            framed(samples, protocol["steps"], protocol[which], seed)
            for samples, which in zip(recordings, ("train", "test"), strict=True)
        ]
    else:
        both = [
            data.subset((x.reshape(len(x), -1), y), protocol[which], seed)
            for (x, y), which in zip(
                data.images(dataset, source, data_dir, seed), ("train", "test"), strict=True
            )
        ]
    (x, y), test = both
    kept = len(x) - len(x) // 10
    parts = (x[:kept], y[:kept]), (x[kept:], y[kept:]), test
    return tuple((Bits(x), y) for x, y in parts) if dataset == "nmnist" else parts


def simulated(seed):
    """Digits that move before a simulated camera as those of N-MNIST did: synthetic recordings."""
    return [Saccades(x, y, size=CAMERA, seed=seed) for x, y in data.images("mnist", seed=seed)]


def recorded(data_dir):
    """N-MNIST by tonic, which downloads it into the folder if it is not there."""
    try:
        from tonic.datasets import NMNIST
    except ImportError as error:
        raise ImportError(
            "The source 'tonic' needs tonic: pip install 'keras-spiking-rnn[datasets]'. Or use the "
            "source 'simulated'."
        ) from error
    if data_dir is None:
        raise FileNotFoundError(
            "The source 'tonic' needs a data folder that has N-MNIST, or is to have it. Name one, "
            "or use the source 'simulated'."
        )
    try:
        return [NMNIST(str(data_dir), train=train) for train in (True, False)]
    except Exception as error:  # whatever a download without a network ends in
        raise FileNotFoundError(
            f"tonic could not load N-MNIST from {data_dir} ({type(error).__name__}: {error}). It "
            "needs a network for the first time. Or use the source 'simulated'."
        ) from error


def framed(recordings, steps, count, seed):
    """Frames of `count` recordings, by chance, that each are cut into `steps` of equal duration.

    Eight pixels are a byte, `(n, steps, 289)`: see `Bits`. And labels, `(n,)`.
    """
    order = np.random.default_rng([seed, len(recordings)]).permutation(len(recordings))[:count]
    height, width = CAMERA
    x = np.zeros((len(order), steps, height * width * 2 // 8), "uint8")
    y = np.zeros(len(order), "int32")
    for place, index in enumerate(order):
        given, y[place] = recordings[index]
        duration = int(np.ptp(given["t"])) if len(given) else 0
        frames = events.frames(
            given,
            time=duration // steps + 1,
            size=CAMERA,
            steps=steps,
            binary=True,
            remainder="keep",
            dtype="uint8",
        )
        x[place] = np.packbits(frames.reshape(steps, -1), axis=-1)
    return x, y


def measured(parts, protocol, case, output, name, seed):
    """Trains a network, or loads it if it is trained, and measures it.

    Args:
        parts: What `parts_of` returns.
        protocol: Dictionary with `hidden`, `steps`, `epochs` and `batch_size`; if it differs from
            the paper's, `bias`, that of SRC at the start; and `clip_each`, see `compile_for`.
        case: Dictionary of `neuron`, `coding`, `layers` and options of `network`.
        output: Folder of checkpoints.
        name: Name of the network in it.
        seed: Seed of weights, batches and spikes.

    Returns:
        A tuple of the model and a dictionary:

        - `accuracy`, `loss`: of the test part, after the last epoch;
        - `history`: lists of `loss` and `accuracy` in training, `val_loss` and `val_accuracy`;
        - `activity`: for each layer the part of its outputs in the test part that are not 0:
          equation (4), and for LIF spikes a step;
        - `mean_activity`: the same of all neurons;
        - `epoch_seconds`: of an epoch, the median of those after the first;
        - `seconds`: of all epochs together, those before the run was killed too.
    """
    (x, y), validation, (x_test, y_test) = parts
    tested = {"x": x_test, "y": y_test, "batch_size": protocol["batch_size"]}
    if isinstance(x, Bits):  # of which a batch is unpacked at a time
        validation = experiment.Batches(*validation, protocol["batch_size"], seed)
        tested = {"x": experiment.Batches(x_test, y_test, protocol["batch_size"], seed)}
    keras.utils.set_random_seed(seed)
    if case["neuron"] == "src":
        case = {**case, "bias_initializer": protocol.get("bias", BIAS)}
    model = network(**case, hidden=protocol["hidden"], steps=protocol["steps"], inputs=x.shape[1:])
    compile_for(model, len(x), protocol)
    history = experiment.train(
        model, x, y, output, name, protocol["epochs"], protocol["batch_size"], seed, validation
    )
    loss, accuracy = model.evaluate(**tested, verbose=0)
    rates = metrics.firing_rates(model, x_test[:MEASURED], batch_size=protocol["batch_size"])
    units = [model.get_layer(layer).units for layer in rates]
    seconds = history.pop("seconds")
    return model, {
        "accuracy": round(accuracy, 4),
        "loss": round(loss, 4),
        "history": {key: np.round(values, 4).tolist() for key, values in history.items()},
        "activity": {layer: round(float(rate), 5) for layer, rate in rates.items()},
        "mean_activity": round(float(np.average(list(rates.values()), weights=units)), 5),
        "epoch_seconds": round(float(np.median(seconds[1:] or seconds)), 2),
        "seconds": round(sum(seconds), 1),
    }


def reduced(protocol, parts, epochs):
    """What of a protocol is smaller than the paper's, in words; `epochs` are the paper's."""
    (x, _), (held, _), (x_test, _) = parts
    differences = [f"{len(x) + len(held)} images, {len(x_test)} to test"]
    for key, unit, published in (
        ("steps", "steps", PAPER["steps"]),
        ("hidden", "neurons a layer", PAPER["hidden"]),
        ("epochs", "epochs", epochs),
    ):
        if protocol[key] != published:
            differences.append(f"{protocol[key]} {unit} (paper {published})")
    if protocol.get("bias", BIAS) != BIAS:
        differences.append(f"SRC's biases begin at {protocol['bias']:g} (paper {BIAS:g})")
    if protocol.get("clip_each"):
        differences.append("gradients clipped each and not together")
    return ", ".join(differences)


def by_layers(numbers):
    """The accuracies for each number of layers, as texts: `(layers, SRC, beside it)`.

    Args:
        numbers: Dictionary from `"LAYERS-NEURON"` to what `measured` gives. What is missing is "".
    """
    for layers in sorted({int(key.partition("-")[0]) for key in numbers}):
        found = {neuron: numbers.get(f"{layers}-{neuron}") for neuron in NEURONS}
        shown = {
            neuron: experiment.percent(run["accuracy"]) for neuron, run in found.items() if run
        }
        ours = shown.pop("src", "")
        yield layers, ours, ", ".join(f"{TITLES[each]} {text}" for each, text in shown.items())
