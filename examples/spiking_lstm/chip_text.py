"""The language models of `text` on the chip: trained on in their integers, and run on Lava.

    python -m examples.spiking_lstm.chip_text --data-dir DIR --texts alice
    python -m examples.spiking_lstm.chip_text --data-dir DIR --texts alice --level word

Takes the spiking LSTM that `text` has trained with the same arguments, or trains it first. A symbol
is one spike of as many inputs as there are symbols. The vectors of words are no input of the chip,
and part of the layer's weights. The logits of what follows are made on the host, of the layer's
spikes at each step.
"""

import time

import keras
import numpy as np

from examples import experiment
from examples.on_chip import deploy, page_of, require
from examples.spiking_lstm import chip, text
from keras_spiking_rnn import SpikingLSTM

# Training in integers. `pieces` of `text.READ` symbols of the test are read, `None` for all.
TUNING = {
    "reduced": {
        "character": {"epochs": 2, "rate": 2e-3, "pieces": None},
        "word": {"epochs": 1, "rate": 1e-3, "pieces": 20},
    },
    "paper": {level: {"epochs": 20, "rate": 5e-4, "pieces": None} for level in text.LEVELS},
    "quick": {level: {"epochs": 1, "rate": 1e-3, "pieces": None} for level in text.LEVELS},
}
CALIBRATION = 64  # windows of what is trained on
PADDING = -1


def on_spikes(model, level, symbols):
    """The network of `text` for symbols that are spikes, `(n, steps, symbols)`.

    That of words has an input for each word, whose weights are the product of its vector and the
    layer's. What says words has a matrix of its own.
    """
    memory = model.get_layer("memory")
    scores = [keras.layers.Dense(symbols, name="scores")]
    weights = memory.get_weights()
    of_scores = [model.get_layer("scores").get_weights()]
    if level == "word":
        vectors = np.asarray(model.get_layer("words").embeddings)
        weights[0] = vectors @ weights[0]
        meant = model.get_layer("meant")
        scores.insert(0, type(meant).from_config(meant.get_config()))
        bias = np.asarray(model.get_layer("scores").bias)
        of_scores = [meant.get_weights(), [vectors.T, bias]]
    dropout = model.get_layer("dropout")
    spiking = keras.Sequential(
        [
            keras.Input((None, symbols)),
            SpikingLSTM.from_config(memory.get_config()),
            type(dropout).from_config(dropout.get_config()),
            *scores,
        ]
    )
    spiking.get_layer("memory").set_weights(weights)
    for layer, held in zip(scores, of_scores, strict=True):
        layer.set_weights(held)
    return spiking


def one_hot(numbers, symbols):
    """Spikes `(n, steps, symbols)` of symbols `(n, steps)`."""
    return np.eye(symbols, dtype="uint8")[numbers]


def pieces(read):
    """A text in pieces of `text.READ` symbols, and what follows each: two arrays `(n, steps)`.

    What follows the padding at the end is `PADDING`.
    """
    steps = min(text.READ, len(read) - 1)
    missing = -(len(read) - 1) % steps
    x, y = np.pad(read[:-1], (0, missing)), np.pad(read[1:], (0, missing), constant_values=PADDING)
    return x.reshape(-1, steps), y.reshape(-1, steps)


def perplexity(y, logits):
    """The perplexity of `pieces` by logits `(n, steps, symbols)`."""
    known = y != PADDING
    return text.perplexity(text.chances(logits[known], y[known]))


def measured(model, corpus, config, tuning, output, report):
    """What `examples.on_chip.deploy` says of a trained network of `text`, in perplexities."""
    symbols, level, training = len(corpus.symbols), config["level"], config["training"]
    x, y = text.windows(corpus.train, training["window"], training["stride"])
    held_out = text.windows(corpus.validation, training["window"], training["window"])

    def fine_tune(aware):
        coded = keras.layers.CategoryEncoding(symbols, output_mode="one_hot")
        reader = keras.Sequential([keras.Input((None,), dtype="int32"), coded, *aware.layers])
        reader.compile(
            keras.optimizers.Adam(tuning["rate"], clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        name = f"aware-{tuning['epochs']}-{tuning['rate']:g}"
        experiment.train(
            reader, x, y, output, name, tuning["epochs"], text.BATCH, config["seed"], held_out
        )

    read, following = (each[: tuning["pieces"]] for each in pieces(corpus.test))
    return deploy(
        on_spikes(model, level, symbols),
        one_hot(x[:CALIBRATION], symbols),
        one_hot(read, symbols),
        following,
        fine_tune,
        None,
        report,
        perplexity,
    )


def main(arguments=None):
    parser = text.arguments_of(__doc__)
    given = parser.parse_args(arguments)
    require()
    tuning = TUNING[given.preset][given.level]
    for title, _, found, config, output in text.configured(given, parser):
        model, history, _ = text.fitted("SpikingLSTM", given.level, found, config, output)
        started = time.perf_counter()
        name = f"chip-text-{given.level}-{title}"
        page = page_of("spiking_lstm.chip_text", name, given)
        numbers = measured(model, found, config, tuning, output, page)
        print(f"{title}, {given.level}s: {numbers}")
        read = config["texts"][title]
        first = numbers["samples"] < len(pieces(found.test)[0])
        protocol = (
            f"{config['units']} units, one-hot inputs of {read['symbols']} {given.level}s; "
            f"{config['training']['epochs']} epochs and {tuning['epochs']} in integers; "
            f"{'the beginning of ' * first}the test in {numbers['samples']} pieces of at most "
            f"{text.READ} {given.level}s, each an inference"
        )
        experiment.record(
            f"spiking_lstm.chip_text, {given.level}s, {title}",
            given,
            parser,
            name=name,
            config={**config, "tuning": tuning, "calibration": CALIBRATION},
            seconds=sum(history["seconds"]) + time.perf_counter() - started,
            numbers=numbers,
            rows=[chip.row(f"Perplexity of {given.level}s, {title}", numbers, protocol, "{:.2f}")],
        )


if __name__ == "__main__":
    main()
