"""Sequence prediction with long time lags: trained analog, solved by spikes (paper 2018, table 1).

    python -m examples.adaptive_lstm.sequence_prediction --preset quick   5 networks, 20 symbols
    python -m examples.adaptive_lstm.sequence_prediction --preset paper   20 networks, 100 symbols

A sequence is (x, a_1, ..., a_{p-1}, x) or (y, a_1, ..., a_{p-1}, y), and the next symbol is to be
told; in the noisy task the symbols between are drawn anew each time, and only the last one counts.
The networks learn side by side by truncated RTRL, in blocks of trials. One whose loss has stopped
falling gets its LSTM; a block later it may learn what only a memory can know. A killed run goes on
where it was, with the same numbers in the end, from the checkpoints in --output.

Then each network that converged becomes a spiking one. Writes what `records` describes.
"""

import dataclasses
import time
import warnings

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

import lava_export
from examples.adaptive_lstm import records
from keras_spiking_rnn import AAN, AdaptiveAnalogLSTM, AdaptiveSpikingNeuron, fit_aan, metrics
from keras_spiking_rnn.adaptive_lstm import convert
from keras_spiking_rnn.learning import TruncatedRTRL

TASKS = ("sequence", "noisy-sequence")
PRESETS = {
    "paper": {
        "length": 100,
        "networks": 20,
        "trials": {"sequence": 100_000, "noisy-sequence": 200_000},
        "hardening": {"sequence": 12_000, "noisy-sequence": 5_000},
        "tuning": 6_000,
        "seeds": 5,
        "exported": 20,
        "on_lava": 2,
    },
    "quick": {
        "length": 20,
        "networks": 5,
        "trials": {"sequence": 10_000, "noisy-sequence": 12_000},
        "hardening": {"sequence": 5_000, "noisy-sequence": 5_000},
        "tuning": 3_000,
        "seeds": 2,
        "exported": 1,
        "on_lava": 0,
    },
}
LEARNING_RATE = {"sequence": 1.5, "noisy-sequence": 0.5}
TUNING_RATE = 0.2
BLOCK = 100
CRITERION = 0.25
WINDOW = 200e-3
# Current of the neuron of an input that is 1.
INPUT_CURRENT = 4.8
CHECKPOINT_SECONDS = 10.0
# The first step and these last ones have all that the scales of the integers depend on.
CALIBRATION = 5
# A neuron takes part in a time window in which it fires more often than this.
ACTIVE = 2
SAMPLE = 20


@dataclasses.dataclass(frozen=True)
class Config:
    """What the result of training depends on, besides the version of the code.

    Args:
        task: One of `TASKS`.
        variant: One of `records.VARIANTS`.
        length: p, the number of steps, and one symbol less than there are.
        networks: Number of networks.
        trials: Trials at most.
        learning_rate: Learning rate.
        hardening: Trials that a network learns on after it has met the criterion, with noise and a
            learning rate that falls to 0.
        tuning: Trials that follow with the activation of the network that is converted, if it is
            another one, again with a learning rate that falls to 0.
        seed: Seed of weights and sequences.
        limit: Largest absolute weight at the start; those of LSTMs are around `offset`.
        first_cec: What the CEC of a sequence is at the start, which tells the `offset`.
        units: Number of LSTMs.
        falling: A block's loss is still falling if it is below this part of the previous one's.
        noise: Standard deviation of that noise, relative to what the outputs get from each neuron,
            at the last step. Currents made of single spikes have it too.
    """

    task: str
    variant: str
    length: int
    networks: int
    trials: int
    learning_rate: float
    hardening: int
    tuning: int = 0
    seed: int = 0
    limit: float = 0.1
    first_cec: float = 1.0
    units: int = 1
    falling: float = 0.95
    noise: float = 0.3

    @property
    def symbols(self):
        """Number of symbols: those between, and then x and y."""
        return self.length + 1

    @property
    def neuron(self):
        """The spiking neuron that the networks are converted to.

        Adaptation relative to the threshold at rest is the form with which the published numbers
        of the activation are closest to the neuron's response.
        """
        return AdaptiveSpikingNeuron(
            adaptation="relative", stochastic=self.variant != "deterministic"
        )

    @property
    def activation(self):
        """The activation of the networks that are converted."""
        return AAN() if self.variant == "published" else fit_aan(self.neuron).activation

    @property
    def first_activation(self):
        """The activation that networks learn with before `tuning`.

        That of the deterministic neuron has hardly a slope below the threshold, where outputs
        start, and few networks learn with it: that of the stochastic one takes its place.
        """
        if self.variant != "deterministic":
            return self.activation
        return fit_aan(dataclasses.replace(self.neuron, stochastic=True)).activation

    def network(self, activation):
        """Inputs, fully connected to outputs, and LSTMs."""
        return TruncatedRTRL(
            self.symbols,
            self.units,
            self.symbols,
            skip=True,
            activation=activation,
            output_activation=activation,
            # In the noise-free task each symbol but the last follows from the one before it. A
            # bias, which all steps of a sequence move at once, shuts the outputs of x and y there.
            use_bias=self.task == "noisy-sequence",
        )

    @property
    def offset(self):
        """Signal S at which gate and input cell write `first_cec / p` in a step."""
        S = np.linspace(0, 5, 5001)
        wanted = np.sqrt(self.first_cec / self.length)
        return float(S[np.argmin(np.abs(np.asarray(self.first_activation(S)) - wanted))])


def sequences(config, count, random, first=None):
    """Symbols, (count, networks, p), and the symbols that follow at the steps that count."""
    p, shape = config.length, (count, config.networks)
    first = random.integers(p - 1, p + 1, shape) if first is None else np.broadcast_to(first, shape)
    if config.task == "noisy-sequence":
        between = random.integers(0, p - 1, (*shape, p - 1))
    else:
        between = np.broadcast_to(np.arange(p - 1), (*shape, p - 1))
    symbols = np.concatenate([first[..., None], between], axis=-1)
    following = np.concatenate([between, first[..., None]], axis=-1)
    return symbols, following[..., -scored(config) :]


def scored(config):
    """Number of steps at the end of a sequence that count."""
    return 1 if config.task == "noisy-sequence" else config.length


@dataclasses.dataclass
class Training:
    """How far the networks are, after any number of blocks. All arrays are one for each network.

    Args:
        config: A `Config`.
        weights: Dictionary of weights.
        trials: Trials so far.
        recent: Errors of the last trials before `trials`, (at most BLOCK, networks).
        loss: Mean loss of the previous block.
        included: Trial from which the LSTMs take part, or -1.
        converged: Trials until the criterion was met, or -1.
        done: Whether a network has stopped learning.
        seconds: Time that it took.
    """

    config: Config
    weights: dict
    trials: int
    recent: np.ndarray
    loss: np.ndarray
    included: np.ndarray
    converged: np.ndarray
    done: np.ndarray
    seconds: float

    @classmethod
    def start(cls, config):
        """Networks that have learned nothing."""
        weights = config.network(config.first_activation).initial_weights(
            config.networks, config.limit, config.offset, config.seed
        )
        never = np.full(config.networks, -1)
        return cls(
            config=config,
            weights={name: value.numpy() for name, value in weights.items()},
            trials=0,
            recent=np.empty((0, config.networks)),
            loss=np.full(config.networks, np.inf),
            included=never,
            converged=never.copy(),
            done=never > 0,
            seconds=0.0,
        )

    @property
    def finished(self):
        """Whether there is nothing left to learn, or no trial left."""
        return bool(self.done.all()) or self.trials >= self.config.trials

    def advance(self, networks):
        """Trains for one block of trials.

        Args:
            networks: The `TruncatedRTRL` to learn with, and the one for `tuning`.
        """
        config = self.config
        # The sequences of a block depend on its place only, so that a run can go on anywhere.
        random = np.random.default_rng([config.seed, self.trials])
        symbols, targets = sequences(config, BLOCK, random)
        noise = random.normal(0, config.noise, (*targets.shape, 1 + config.units))
        noise *= (self.converged >= 0)[:, None, None]
        noise[:, :, :-1] = 0
        weights = {name: tf.constant(value) for name, value in self.weights.items()}
        losses, errors = np.zeros((2, *targets.shape), "float32")
        rate, tuned = self._rate()
        for network, chosen in zip(networks, (~tuned, tuned), strict=True):
            if chosen.any():
                weights, loss, error = network.train_symbols(
                    weights,
                    symbols,
                    targets,
                    rate * chosen,
                    self.included >= 0,
                    scored(config),
                    noise,
                )
                losses[:, chosen], errors[:, chosen] = (
                    values.numpy()[:, chosen] for values in (loss, error)
                )
        self.weights = {name: value.numpy() for name, value in weights.items()}
        # The last prediction is the one that needs the memory.
        errors = np.concatenate([self.recent, errors[:, :, -1]])
        means = moving_means(errors)
        for n in np.flatnonzero((means < CRITERION).any(axis=0) & (self.converged < 0)):
            behind = len(means) - 1 - int(np.argmax(means[:, n] < CRITERION))
            self.converged[n] = self.trials + BLOCK - behind
        self.recent = errors[-BLOCK:]
        self.trials += BLOCK
        loss = losses.mean(axis=(0, 2))
        stalled = (self.included < 0) & (loss > config.falling * self.loss)
        self.included = np.where(stalled, self.trials, self.included)
        self.loss = loss
        self.done = self._rate()[0] == 0

    def _rate(self):
        """Each network's learning rate, and whether it is being tuned."""
        config = self.config
        since = np.where(self.converged >= 0, self.trials - self.converged, 0)
        tuned = (since >= config.hardening) & (config.tuning > 0)
        hardening = config.learning_rate * (1 - since / config.hardening)
        tuning = TUNING_RATE * (1 - (since - config.hardening) / max(config.tuning, 1))
        return np.maximum(np.where(tuned, tuning, hardening), 0), tuned

    def save(self, path):
        """Writes a checkpoint."""
        arrays = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("config", "weights")
        }
        weights = {f"weights/{name}": value for name, value in self.weights.items()}
        records.save_checkpoint(path, self.config, {**arrays, **weights})

    @classmethod
    def load(cls, path, config):
        """Reads the checkpoint of a run with the same configuration: `records.load_checkpoint`."""
        arrays = records.load_checkpoint(path, config)
        weights = {name: arrays.pop(name) for name in list(arrays) if name.startswith("weights/")}
        weights = {name.removeprefix("weights/"): value for name, value in weights.items()}
        expected = cls.start(config)
        names = {field.name for field in dataclasses.fields(cls)} - {"config", "weights"}
        shapes = {name: np.shape(value) for name, value in expected.weights.items()}
        if set(arrays) != names or {n: np.shape(v) for n, v in weights.items()} != shapes:
            raise ValueError(f"{path} lacks a part of a checkpoint. Remove it.")
        single = {"trials": int(arrays.pop("trials")), "seconds": float(arrays.pop("seconds"))}
        return cls(config=config, weights=weights, **single, **arrays)


def moving_means(errors):
    """Means over BLOCK trials, (trials - BLOCK + 1, networks)."""
    return np.lib.stride_tricks.sliding_window_view(errors, BLOCK, axis=0).mean(axis=-1)


def train(config, path, progress=True):
    """Trains until all networks are done, or there are no trials left; resumes from `path`."""
    training = Training.load(path, config) if path.exists() else Training.start(config)
    networks = [
        config.network(activation) for activation in (config.first_activation, config.activation)
    ]
    started = saved = time.perf_counter()
    before = training.seconds
    bar = tqdm(
        total=config.trials,
        initial=training.trials,
        unit=" trials",
        desc=f"{config.task}, {config.variant}",
        disable=not progress,
    )
    with bar:
        while not training.finished:
            training.advance(networks)
            training.seconds = before + time.perf_counter() - started
            bar.update(BLOCK)
            bar.set_postfix(
                included=int((training.included >= 0).sum()),
                converged=int((training.converged >= 0).sum()),
                done=int(training.done.sum()),
            )
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                training.save(path)
                saved = time.perf_counter()
    training.save(path)
    return training


def to_keras(config, weights, n):
    """A network with neurons for its inputs, which the paper counts too, as a Keras model.

    Their outputs go to the output neurons; gates and input cells get the inputs as currents.
    """
    activation, p = config.activation, config.symbols
    inputs = keras.Input((None, p))
    neurons = keras.layers.Dense(p, activation, use_bias=False, name="inputs")
    memory = AdaptiveAnalogLSTM(
        config.units, activation=activation, return_sequences=True, name="memory"
    )
    features = keras.layers.Concatenate(name="features")([neurons(inputs), memory(inputs)])
    output = keras.layers.Dense(p, activation, use_bias="output_bias" in weights, name="outputs")
    model = keras.Model(inputs, output(features))
    kernel = weights["output_kernel"][n].copy()
    # In training an input of 1 counts 1, which is about what a neuron's output is at this current.
    kernel[:p] /= float(activation(np.float64(INPUT_CURRENT)))
    neurons.set_weights([INPUT_CURRENT * np.eye(p)])
    memory.set_weights([weights["memory_kernel"][n]])
    biases = [weights["output_bias"][n]] if output.use_bias else []
    output.set_weights([kernel, *biases])
    return model


def test_sequences(config, draws):
    """Sequences with x and with y as first symbol, one-hot (2 * draws, p, symbols), and targets."""
    random = np.random.default_rng([config.seed, 1, config.length])
    one = dataclasses.replace(config, networks=1)
    pairs = [sequences(one, draws, random, first) for first in (config.length - 1, config.length)]
    symbols, following = (np.concatenate(part)[:, 0] for part in zip(*pairs, strict=True))
    return np.eye(config.symbols, dtype="float32")[symbols], following[:, -1]


def last_errors(outputs, targets):
    """Largest absolute error of an output at the last step, for each sequence."""
    return np.abs(outputs - np.eye(outputs.shape[-1])[targets]).max(axis=-1)


def active_rate(response):
    """Spikes per second of the neurons that are active, for each sequence.

    Input and output neurons are so in the windows in which they fire more than `ACTIVE` spikes, as
    the paper leaves out those that "are not active in a specific time frame"; the neurons of the
    LSTMs always.
    """
    spikes, windows = 0.0, 0.0
    for name, train in response.spikes.items():
        batch, steps, neurons = train.shape
        counts = train.reshape(batch, -1, response.window, neurons).sum(axis=2)
        active = counts > (ACTIVE if name.endswith("/neurons") else -1)
        spikes = spikes + (counts * active).sum(axis=(1, 2))
        windows = windows + active.sum(axis=(1, 2))
    return spikes / (windows * response.window * response.dt)


def simulate(config, training, n, seeds):
    """Analog and spiking results of one network, as `records` describes them, and its responses."""
    model = to_keras(config, training.weights, n)
    x, targets = test_sequences(config, seeds)
    weights = {name: tf.constant(value) for name, value in training.weights.items()}
    trained = config.network(config.activation).to_keras(weights, n)
    analog = trained.predict(x, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the published numbers do not fit
        spiking = convert(model, config.neuron, WINDOW, cec_weight="exact")
    response = spiking(x, seed=config.seed)
    errors = last_errors(response.averages()[:, -1], targets)
    spikes, rates = response.spike_count(), active_rate(response)
    runs = [
        {
            "correct": bool((errors[pair] < CRITERION).all()),
            "measure": float(errors[pair].max()),
            "spikes": float(spikes[pair].mean()),
            "rate": float(rates[pair].mean()),
        }
        for pair in np.arange(2 * seeds).reshape(2, seeds).T
    ]
    return float(last_errors(analog[:, -1], targets).max()), runs, (trained, spiking, response, x)


def arrays_of(config, responses):
    """The arrays of the figures: the first sequence that starts with y."""
    trained, _, response, x = responses
    n = len(x) // 2
    one = dataclasses.replace(
        response,
        outputs=response.outputs[n],
        cec={name: values[n] for name, values in response.cec.items()},
    )
    return {
        "analog_outputs": trained.predict(x[n : n + 1], verbose=0)[0],
        "analog_cec": metrics.trace(trained.get_layer("memory"), x[n : n + 1])["cec"][0],
        **records.window_samples(one, SAMPLE),
        "labels": [f"a{i + 1}" for i in range(config.length - 1)] + ["x", "y"],
        "sample": SAMPLE,
        "window": round(WINDOW * 1e3),
    }


def in_integers(spiking, x, targets, calibration, on_lava):
    """Whether the integers of a deterministic network are correct: `(reference, Lava, mismatches)`.

    The last two are `None` unless `on_lava`. The noise-free task has no other sequences than `x`
    to calibrate with.
    """
    calibration = calibration[:, [0, *range(-CALIBRATION, 0)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the outputs tell what the integers lose
        network = lava_export.export(spiking, calibration=calibration)
    messages = network.encode(x)

    def correct(fired):
        return bool((last_errors(network.decode(fired), targets) < CRITERION).all())

    fired = network.run(messages)
    if not on_lava:
        return correct(fired), None, None
    of_lava = network.run(messages, backend="lava", mode="batched")
    return correct(fired), correct(of_lava), int((fired != of_lava).sum())


def experiment(config, preset, output, progress=True):
    """Trains and converts all networks: the record without its command, and the figure's arrays."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{config.task}-{config.variant}-networks.npz"
    training = train(config, path, progress)
    started = time.perf_counter()
    stochastic = config.neuron.stochastic
    seeds = preset["seeds"] if stochastic or config.task == "noisy-sequence" else 1
    networks, arrays, exported = [], None, []
    for n in tqdm(range(config.networks), desc="spiking", disable=not progress):
        converged, analog, runs = training.converged[n] > 0, None, []
        if converged:
            analog, runs, responses = simulate(config, training, n, seeds)
            if arrays is None and all(run["correct"] for run in runs):
                arrays = arrays_of(config, responses)
            if not stochastic and len(exported) < preset["exported"]:
                _, spiking, _, x = responses
                _, targets = test_sequences(config, seeds)
                first, last = [0, seeds], [seeds - 1, 2 * seeds - 1]  # one with x, one with y
                lava = len(exported) < preset["on_lava"]
                exported.append(in_integers(spiking, x[first], targets[first], x[last], lava))
        networks.append(
            {
                "converged": bool(converged),
                "iterations": int(training.converged[n]) if converged else None,
                "included": int(training.included[n]),
                "analog": analog,
                "spiking": runs,
            }
        )
    record = {
        "task": config.task,
        "variant": config.variant,
        "seed": config.seed,
        "config": {
            **dataclasses.asdict(config),
            "activation": dataclasses.asdict(config.activation),
            "neuron": dataclasses.asdict(config.neuron),
            "window": WINDOW,
        },
        "seconds": {
            "training": round(training.seconds, 1),
            "spiking": round(time.perf_counter() - started, 1),
        },
        "trials": training.trials,
        "networks": networks,
        "lava": records.lava(exported),
    }
    return record, arrays


def main(arguments=None):
    given = records.arguments(__doc__.splitlines()[0], PRESETS, TASKS, arguments)
    preset = PRESETS[given.preset]
    for task in given.tasks:
        for variant in given.variants:
            config = Config(
                task=task,
                variant=variant,
                length=preset["length"],
                networks=preset["networks"],
                trials=preset["trials"][task],
                seed=given.seed,
                learning_rate=LEARNING_RATE[task],
                hardening=preset["hardening"][task],
                tuning=preset["tuning"] if variant == "deterministic" else 0,
            )
            record, arrays = experiment(config, preset, given.output)
            record["preset"] = given.preset
            record["command"] = records.command("sequence_prediction", given, task, variant)
            records.save(record, arrays, given.results)
            print(records.summary(record))


if __name__ == "__main__":
    main()
