"""A periodic signal from its spikes: section 4.2, figures 3 and 4.

    python -m examples.spiking_lstm.periodic
    python -m examples.spiking_lstm.periodic --preset paper

The signal is 0.5 sin 3x + 0.5 sin 6x + 1. Ten neurons spike at each of 100 samples with the
probability (signal / 2), ten others with its complement, and the network says what the next sample
is. An iteration is a step of Adam on a new draw of the spikes.
"""

import keras
import numpy as np

from examples import experiment
from keras_spiking_rnn import OnOffPoissonEncoder, SpikingLSTM

NAME = "spiking_lstm/periodic"
MODELS = ("SpikingLSTM", "LSTM")
STEPS, INPUTS = 100, 20
RANGE = (0.0, 2.0)  # the values of which a neuron spikes never and always
# After how many iterations the network is shown, as in figure 4, and its size.
PRESETS = {
    "reduced": {"units": 100, "stages": [20, 100, 500], "draws": 100},
    "paper": {"units": 100, "stages": [20, 100, 500, 2000, 20000], "draws": 100},
    "quick": {"units": 20, "stages": [10, 60], "draws": 10},
}
# Binary networks need larger steps. The paper has 0.001 for both.
RATES = {"SpikingLSTM": 5e-3, "LSTM": 1e-3}
EPOCH = 10  # iterations between two checkpoints


def signal(x):
    """The paper's signal."""
    return 0.5 * np.sin(3 * x) + 0.5 * np.sin(6 * x) + 1


def samples():
    """`STEPS` samples of a period each of x and of the sample after it: (steps,), (steps,)."""
    x = np.arange(STEPS + 1) * (2 * np.pi / STEPS)
    return signal(x[:-1]).astype("float32"), signal(x[1:]).astype("float32")


def half_squared_error(y_true, y_pred):
    """The paper's loss, summed over the steps."""
    return keras.ops.sum(keras.ops.square(y_true - y_pred), axis=(1, 2)) / 2


def build(name, units, seed):
    """The signal of `INPUTS` / 2 neurons, their ON and OFF spikes, the layer, a linear output."""
    if name == "LSTM":
        layer = keras.layers.LSTM(units, return_sequences=True, seed=seed, name="memory")
    else:
        layer = SpikingLSTM(units, return_sequences=True, seed=seed, name="memory")
    model = keras.Sequential(
        [
            keras.Input((STEPS, INPUTS // 2)),
            OnOffPoissonEncoder(*RANGE, seed=seed, name="spikes"),
            layer,
            keras.layers.Dense(1, name="signal"),
        ]
    )
    model.compile(keras.optimizers.Adam(RATES[name], clipnorm=1.0), half_squared_error)
    return model


def copies(n):
    """The signal of each of `INPUTS` / 2 neurons, (n, steps, neurons), and its next, (n, steps, 1).

    All n are the same; their spikes are drawn by the network.
    """
    inputs, targets = samples()
    return np.tile(inputs[:, None], (n, 1, INPUTS // 2)), np.tile(targets[:, None], (n, 1, 1))


def trained(name, config, output):
    """Trains a network: yields it at each stage, with the iterations so far and their seconds."""
    x, y = copies(EPOCH)
    keras.utils.set_random_seed(config["seed"])
    model = build(name, config["units"], config["seed"])
    before, seconds = 0, 0.0
    for stage in config["stages"]:
        epochs = (stage - before) // EPOCH
        seed = config["seed"] + stage
        history = experiment.train(model, x, y, output, f"{name}-{stage}", epochs, 1, seed)
        before, seconds = stage, seconds + sum(history["seconds"])
        yield model, stage, seconds


def run(config, output):
    """Trains both models: dictionary from the model to what was measured at each stage."""
    _, targets = samples()
    x, _ = copies(config["draws"])
    numbers = {}
    for name in MODELS:
        stages = []
        for model, stage, seconds in trained(name, config, output):
            drawn = model.predict(x, verbose=0)[..., 0]
            stages.append(
                {
                    "iterations": stage,
                    "squared_error": float(np.mean((drawn - targets) ** 2)),
                    "sequence": [round(float(value), 4) for value in drawn[0]],
                }
            )
            print(f"{name}, {stage} iterations: {stages[-1]['squared_error']:.4f}")
            parameters = model.count_params()
            numbers[name] = {"stages": stages, "seconds": seconds, "parameters": parameters}
    # A single draw of the spikes, for figure 3.
    spikes = model.get_layer("spikes")(x[:1])[0]
    numbers["spikes"] = np.argwhere(np.asarray(spikes) > 0).tolist()
    numbers["variance"] = float(np.var(targets))
    return numbers


def row(config, numbers):
    """The row of the table."""
    spiking, analog = (numbers[name]["stages"][-1] for name in MODELS)
    return {
        "paper": "003",
        "what": "Periodic signal, mean squared error",
        "published": "a figure",
        "ours": f"{spiking['squared_error']:.4f}",
        "beside": (
            f"LSTM {analog['squared_error']:.4f}; the mean of the signal {numbers['variance']:.4f}"
        ),
        "protocol": (
            f"{spiking['iterations']} iterations, one step ahead, 10 ON and 10 OFF neurons; error "
            f"over {config['draws']} draws of the spikes"
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS)
    given = parser.parse_args(arguments)
    config = {**PRESETS[given.preset], "rates": RATES, "seed": given.seed}
    output = experiment.directory(given, NAME, config)
    numbers = run(config, output)
    experiment.record(
        "spiking_lstm.periodic",
        given,
        parser,
        name="periodic",
        config=config,
        seconds=sum(numbers[name]["seconds"] for name in MODELS),
        numbers=numbers,
        rows=[row(config, numbers)],
    )


if __name__ == "__main__":
    main()
