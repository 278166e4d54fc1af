"""Language models of characters and of words: section 4.4, tables 3 and 4.

    python -m examples.spiking_lstm.text --data-dir DIR
    python -m examples.spiking_lstm.text --data-dir DIR --level word --texts alice
    python -m examples.spiking_lstm.text --data-dir DIR --texts alice --generate "the queen "

Each `.txt` of the folder is a text. Its beginning is to train on, what follows is the test. The
perplexity is p(x_1, ..., x_T)^(-1/T), that is exp of the mean of -log p(x_t | all before it). A
model of single symbols and one of pairs, both counted, stand beside the networks.
"""

import math
import re
from typing import NamedTuple

import keras
import numpy as np

from examples import data, experiment
from keras_spiking_rnn import SpikingLSTM

NAME = "spiking_lstm/text"
MODELS = ("SpikingLSTM", "LSTM")
LEVELS = ("character", "word")
UNKNOWN = "<unknown>"
# `train` and `test` are characters, as in the paper; `window` and `stride` are symbols.
PRESETS = {
    "reduced": {"units": 200, "train": 52000, "test": 12000},
    "paper": {"units": 200, "train": 52000, "test": 12000},
    "quick": {"units": 32, "train": 6000, "test": 1500},
}
TRAINING = {
    "reduced": {
        "character": {"epochs": 10, "window": 100, "stride": 50, "dropout": 0.1},
        "word": {"epochs": 10, "window": 25, "stride": 12, "dropout": 0.3},
    },
    "paper": {
        "character": {"epochs": 1000, "window": 500, "stride": 5, "dropout": 0.1},
        "word": {"epochs": 1000, "window": 100, "stride": 5, "dropout": 0.3},
    },
    "quick": {
        "character": {"epochs": 3, "window": 50, "stride": 25, "dropout": 0.0},
        "word": {"epochs": 3, "window": 20, "stride": 10, "dropout": 0.0},
    },
}
BATCH = 32
RATES = {"SpikingLSTM": 2e-2, "LSTM": 5e-3}
EMBEDDING = 100  # numbers that a word is, as in the paper
# Table 3, for texts whose names have these words: characters, then words.
PUBLISHED = {
    "alice": {"character": (19.03, 14.75), "word": (85.39, 65.37)},
    "toy": {"character": (19.03, 14.75), "word": (85.39, 65.37)},
    "wiki": {"character": (19.38, 14.93), "word": (90.17, 86.16)},
}


class Corpus(NamedTuple):
    """A text as numbers: `symbols` names them; `train` and `test` are arrays of them, (n,)."""

    symbols: list
    train: np.ndarray
    test: np.ndarray


def tokens(text, level):
    """The symbols of a text in small letters: characters, or words and punctuation marks."""
    text = re.sub(r"\s+", " ", text.lower())
    return list(text) if level == "character" else re.findall(r"<unk>|[\w'-]+|[^\w\s]", text)


def corpus(text, level, train, test):
    """The first `train` characters of a text to train on, the `test` characters after them.

    Of a text that is shorter a fifth is the test. Symbols that the training part does not have, and
    words that it has only once, are one symbol, `UNKNOWN`.
    """
    train = min(train, len(text) * 4 // 5)
    parts = [tokens(part, level) for part in (text[:train], text[train : train + test])]
    names, counts = np.unique(parts[0], return_counts=True)
    symbols = [UNKNOWN, *names[counts > (level == "word")].tolist()]
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    return Corpus(symbols, *(np.array([numbers.get(each, 0) for each in part]) for part in parts))


def perplexity(probabilities):
    """p(x_1, ..., x_T)^(-1/T) of the probabilities p(x_t | x_1, ..., x_(t-1))."""
    return float(np.exp(-np.mean(np.log(probabilities))))


def counted(corpus):
    """Perplexities on the test of a model of single symbols and of one of pairs of symbols.

    Single symbols have 1 added to their counts. The probability of a symbol after another is a
    mean of the counted one and that of the single symbol, of the weight that is best on the last
    tenth of the training part for counts of the rest.
    """

    def models(text):
        single = np.bincount(text, minlength=len(corpus.symbols)) + 1.0
        single /= single.sum()
        pairs = np.zeros((len(corpus.symbols),) * 2)
        np.add.at(pairs, (text[:-1], text[1:]), 1)
        total = pairs.sum(axis=1, keepdims=True)
        known = np.divide(pairs, total, out=np.tile(single, (len(single), 1)), where=total > 0)
        return single, known

    def probabilities(single, known, text, weight):
        return weight * known[text[:-1], text[1:]] + (1 - weight) * single[text[1:]]

    cut = len(corpus.train) * 9 // 10
    first, last = corpus.train[:cut], corpus.train[cut:]
    weights = np.arange(1, 20) / 20
    held_out = [perplexity(probabilities(*models(first), last, weight)) for weight in weights]
    single, known = models(corpus.train)
    best = weights[int(np.argmin(held_out))]
    return {
        "unigram": perplexity(single[corpus.test[1:]]),
        "bigram": perplexity(probabilities(single, known, corpus.test, best)),
        "weight": float(best),
    }


def windows(text, window, stride):
    """Pieces of a text, and the symbols that follow each of theirs: two arrays (n, window)."""
    starts = np.arange(0, len(text) - window, stride)
    pieces = text[starts[:, None] + np.arange(window + 1)]
    return pieces[:, :-1], pieces[:, 1:]


def build(name, level, symbols, units, dropout, seed):
    """Symbols one-hot, or words as learned vectors; a recurrent layer; logits of what follows."""
    if level == "character":
        coded = keras.layers.CategoryEncoding(symbols, output_mode="one_hot", name="symbols")
    else:
        coded = keras.layers.Embedding(symbols, EMBEDDING, name="words")
    options = {"return_sequences": True, "seed": seed, "name": "memory"}
    layer = keras.layers.LSTM if name == "LSTM" else SpikingLSTM
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            coded,
            layer(units, **options),
            keras.layers.Dropout(dropout, seed=seed + 1, name="dropout"),
            keras.layers.Dense(symbols, name="scores"),
        ]
    )


def test_perplexity(model, text):
    """The perplexity of a network on a text that it reads from its beginning to its end."""
    logits = model.predict(text[None, :-1], verbose=0)[0].astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    of_next = np.take_along_axis(logits, text[1:, None], axis=-1)[:, 0]
    return perplexity(np.exp(of_next) / np.exp(logits).sum(axis=-1))


def generate(model, corpus, level, start, length, temperature, seed):
    """A text that goes on from `start`.

    Args:
        model: A trained network.
        corpus: What it was trained on.
        level: One of `LEVELS`.
        start: The text to begin with; symbols that are not known are `UNKNOWN`.
        length: How many symbols to add.
        temperature: What the logits are divided by; below 1 prefers what is likely.
        seed: Seed of the choice.

    Raises:
        ValueError: If the temperature is not positive, or there is nothing to begin with.
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive. Received: {temperature!r}")
    numbers = {symbol: number for number, symbol in enumerate(corpus.symbols)}
    text = [numbers.get(each, 0) for each in tokens(start, level)]
    if not text:
        raise ValueError("`start` must have a symbol to begin with. Received: ''")
    random = np.random.default_rng(seed)
    # One step at a time, from the state after the step before.
    coded, layer, scores = (model.layers[0], model.get_layer("memory"), model.get_layer("scores"))
    states = layer.cell.get_initial_state(batch_size=1)
    for position in range(len(text) + length - 1):
        h, states = layer.cell(coded(np.array([text[position]])), states)
        if position + 1 < len(text):
            continue
        logits = np.array(scores(h))[0].astype("float64") / temperature
        logits[0] = -np.inf  # never `UNKNOWN`
        chances = np.exp(logits - logits.max())
        text.append(int(random.choice(len(chances), p=chances / chances.sum())))
    joined = ("" if level == "character" else " ").join(corpus.symbols[each] for each in text)
    return joined if level == "character" else re.sub(r" ([,.;:!?)])", r"\1", joined)


def fitted(name, level, corpus, config, output):
    """A trained network, and its history."""
    keras.utils.set_random_seed(config["seed"])
    seed, training = config["seed"], config["training"]
    symbols = len(corpus.symbols)
    model = build(name, level, symbols, config["units"], training["dropout"], seed)
    x, y = windows(corpus.train, training["window"], training["stride"])
    steps = training["epochs"] * math.ceil(len(x) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(RATES[name], steps)
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model, experiment.train(model, x, y, output, name, training["epochs"], BATCH, seed)


def published(title, level):
    """Table 3's `(spiking, conventional)` for a text, or `None`."""
    found = [each[level] for name, each in PUBLISHED.items() if name in title.lower()]
    return found[0] if found else None


def row(title, level, config, numbers):
    """The row of the table."""
    of_paper = published(title, level)
    text = config["texts"][title]
    return {
        "paper": "003",
        "what": f"Perplexity of {level}s, {title}",
        "published": f"{of_paper[0]} (LSTM {of_paper[1]})" if of_paper else "",
        "ours": f"{numbers['SpikingLSTM']['perplexity']:.2f}",
        "beside": (
            f"LSTM {numbers['LSTM']['perplexity']:.2f}, bigrams {numbers['bigram']:.2f}, "
            f"unigrams {numbers['unigram']:.2f}"
        ),
        "protocol": (
            f"{text['train']} {level}s to train on and the {text['test']} after them to test on, "
            f"{text['symbols']} different ones; {config['training']['epochs']} epochs"
            + ("; vectors of words are learned with the rest" if level == "word" else "")
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, ("folder",))
    parser.add_argument("--level", choices=LEVELS, default="character")
    parser.add_argument("--texts", nargs="+", help="names of texts, without .txt; all if not given")
    parser.add_argument("--generate", metavar="TEXT", help="go on from this text, with a model")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0], help="which one goes on")
    parser.add_argument("--length", type=int, default=200, help="symbols to generate")
    parser.add_argument("--temperature", type=float, default=0.7)
    given = parser.parse_args(arguments)
    preset, level = PRESETS[given.preset], given.level
    texts = data.texts(given.data_dir)
    unknown = [name for name in given.texts or () if name not in texts]
    if unknown:
        parser.error(f"There is no text {', '.join(unknown)}. There are {', '.join(texts)}.")
    for title in given.texts or texts:
        found = corpus(texts[title], level, preset["train"], preset["test"])
        config = {
            **preset,
            "level": level,
            "training": TRAINING[given.preset][level],
            "rates": RATES,
            "batch": BATCH,
            "seed": given.seed,
            "texts": {
                title: {
                    "train": len(found.train),
                    "test": len(found.test),
                    "symbols": len(found.symbols),
                }
            },
        }
        output = experiment.directory(given, NAME, config, f"{level}-{title}-")
        if given.generate is not None:
            model, _ = fitted(given.model, level, found, config, output)
            print(
                generate(
                    model,
                    found,
                    level,
                    given.generate,
                    given.length,
                    given.temperature,
                    given.seed,
                )
            )
            continue
        numbers = counted(found)
        for name in MODELS:
            model, history = fitted(name, level, found, config, output)
            numbers[name] = {
                "perplexity": test_perplexity(model, found.test),
                "training_perplexity": math.exp(history["loss"][-1]),
                "parameters": model.count_params(),
                "seconds": sum(history["seconds"]),
            }
            if name == "SpikingLSTM":
                start = "".join(texts[title][: preset["train"]].lower().split("\n")[-1:])[-40:]
                numbers["sample"] = generate(
                    model, found, level, start or "the ", 120, 0.7, given.seed
                )
        print(f"{title}, {level}s: {numbers}")
        record = {
            "experiment": f"spiking_lstm.text, {level}s, {title}",
            "preset": given.preset,
            "seed": given.seed,
            "config": config,
            "command": experiment.command("examples.spiking_lstm.text", given, parser),
            "seconds": sum(numbers[name]["seconds"] for name in MODELS),
            "numbers": numbers,
            "rows": [row(title, level, config, numbers)],
        }
        name = f"text-{level}-{title}-{given.preset}-{given.seed}"
        print(experiment.save(record, name, given.results or output))


if __name__ == "__main__":
    main()
