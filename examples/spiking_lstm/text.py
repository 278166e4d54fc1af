"""Language models of characters and of words: section 4.4, tables 3 and 4.

    python -m examples.spiking_lstm.text --data-dir DIR
    python -m examples.spiking_lstm.text --data-dir DIR --level word --texts alice
    python -m examples.spiking_lstm.text --data-dir DIR --level word --texts wikitext2
    python -m examples.spiking_lstm.text --data-dir DIR --texts alice --generate "the queen "

The last goes on from a text with a network that the same command without it has trained.

Each `.txt` of the folder is a text. Its beginning is to train on, what follows is the test. The end
of what is to train on is cut off for validation: the network is kept as it was after the epoch with
the lowest error there. WikiText-2 has a test of its own; see `parts_of_wikitext2`.

The perplexity is p(x_1, ..., x_T)^(-1/T), that is exp of the mean of -log p(x_t | all before it).
Counted models of single symbols and of pairs stand beside the networks.
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
UNKNOWN = "<unk>"  # that of WikiText-2, which has it already
WIKITEXT2 = "wikitext2"
# `train` and `test` are characters, as in the paper; `window` and `stride` are symbols.
PAPER_SIZES = {"train": 52000, "test": 12000}
PRESETS = {
    "reduced": {
        "units": 200,
        "text": PAPER_SIZES,
        WIKITEXT2: {"train": 300_000, "test": 300_000},
    },
    "paper": {"units": 200, "text": PAPER_SIZES, WIKITEXT2: PAPER_SIZES},
    "quick": {
        "units": 32,
        "text": {"train": 6000, "test": 1500},
        WIKITEXT2: {"train": 6000, "test": 1500},
    },
}


def trained(epochs, window, stride, dropout, input_dropout=0.0):
    """How a network is trained, as a dictionary."""
    return {
        "epochs": epochs,
        "window": window,
        "stride": stride,
        "dropout": dropout,
        "input_dropout": input_dropout,
    }


TRAINING = {
    "reduced": {
        "character": trained(10, 100, 50, 0.1),
        "word": trained(10, 25, 12, 0.6, 0.4),
        "character, wikitext2": trained(4, 100, 100, 0.1),
        "word, wikitext2": trained(8, 25, 25, 0.3, 0.2),
    },
    "paper": {
        "character": trained(1000, 500, 5, 0.1),
        "word": trained(1000, 100, 5, 0.6, 0.4),
        "character, wikitext2": trained(1000, 500, 5, 0.1),
        "word, wikitext2": trained(1000, 100, 5, 0.5, 0.3),
    },
    "quick": {
        "character": trained(3, 50, 25, 0.0),
        "word": trained(3, 20, 10, 0.0),
        "character, wikitext2": trained(3, 50, 25, 0.0),
        "word, wikitext2": trained(3, 20, 10, 0.0),
    },
}
VOCABULARY = 2000  # words of WikiText-2 that are told apart, the paper's
BATCH = 32
RATES = {"SpikingLSTM": 2e-2, "LSTM": 5e-3}
NUMBERS = tuple((np.arange(1, 20) / 20).tolist())  # to choose weights and discounts from
READ = 1000  # symbols of a test that a network reads at a time, from its initial state
READ_AT_ONCE = 8  # such pieces, which bounds the memory
EMBEDDING = 100  # numbers that a word is, as in the paper
# Table 3, for texts whose names have these words: characters, then words.
PUBLISHED = {
    "alice": {"character": (19.03, 14.75), "word": (85.39, 65.37)},
    "toy": {"character": (19.03, 14.75), "word": (85.39, 65.37)},
    "wiki": {"character": (19.38, 14.93), "word": (90.17, 86.16)},
    WIKITEXT2: {"character": (19.38, 14.93), "word": (90.17, 86.16)},
}


class Corpus(NamedTuple):
    """A text as numbers: `symbols` names them; the others are arrays of them, (n,)."""

    symbols: list
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def tokens(text, level):
    """The symbols of a text in small letters: characters, or words and punctuation marks."""
    text = re.sub(r"\s+", " ", text.lower())
    return list(text) if level == "character" else re.findall(r"<unk>|[\w'-]+|[^\w\s]", text)


def parts_of(text, train, test):
    """The parts of a text to train on, to validate on and to test on: three strings.

    The first `train` characters are to train on, but for their last tenth, which is to validate on;
    the `test` characters after them are the test. Of a text that is shorter a fifth is the test.
    """
    train = min(train, len(text) * 4 // 5)
    cut = train * 9 // 10
    return text[:cut], text[cut:train], text[train : train + test]


def parts_of_wikitext2(found, train, test):
    """The same of WikiText-2, and a sentence on where they are from.

    Args:
        found: What `data.wikitext2` has found. Without the part to train on, the part to validate
            on takes its place, and its last tenth is to validate on.
        train: How many characters to train on, at most.
        test: How many characters to test on, at most.

    Raises:
        FileNotFoundError: If a part is missing without which it does not go.
    """
    missing = [part for part in ("validation", "test") if part not in found]
    if missing:
        names = [" or ".join(data.WIKITEXT2_FILES[part]) for part in missing]
        raise FileNotFoundError(
            f"WikiText-2 lacks {' and '.join(names)} in the data folder. Put it there."
        )
    if "train" in found:
        told = "trained on its training part, validated and tested on its others"
        return (found["train"][:train], found["validation"][:test], found["test"][:test]), told
    text = found["validation"]
    cut = len(text) * 9 // 10
    told = (
        "trained on nine tenths of its validation part for lack of its training part, validated on "
        "the last tenth, tested on its test part"
    )
    return (text[:cut][:train], text[cut:][:test], found["test"][:test]), told


def corpus(parts, level, vocabulary=None):
    """What `parts_of` gives, as numbers.

    Symbols that the part to train on does not have, words that it has only once, and all but its
    most frequent `vocabulary` words are one symbol, `UNKNOWN`.
    """
    parts = [tokens(part, level) for part in parts]
    names, counts = np.unique(parts[0], return_counts=True)
    if level == "word":
        rank = np.argsort(np.argsort(-counts, kind="stable"))
        names = names[(counts > 1) & (rank < (vocabulary or len(names)))]
    symbols = [UNKNOWN, *(name for name in names.tolist() if name != UNKNOWN)]
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    return Corpus(symbols, *(np.array([numbers.get(each, 0) for each in part]) for part in parts))


def perplexity(probabilities):
    """p(x_1, ..., x_T)^(-1/T) of the probabilities p(x_t | x_1, ..., x_(t-1))."""
    return float(np.exp(-np.mean(np.log(probabilities))))


def shares_of(corpus):
    """The share of each symbol in the part to train on, with 1 added to each count, (symbols,)."""
    counts = np.bincount(corpus.train, minlength=len(corpus.symbols)) + 1.0
    return counts / counts.sum()


def counted(corpus):
    """Perplexities on the test of models that count: of single symbols, and two of pairs.

    All count the part to train on, as the networks learn from it alone. Single symbols have 1 added
    to their counts. "bigram" is a mean of the counted probability of a symbol after another and
    that of the single symbol; "kneser_ney" takes a discount off each pair's count for the share of
    the pairs that end in the symbol (interpolated Kneser-Ney smoothing). The weight of the one and
    the discount of the other are those that are best on the part to validate on. "unknown" is the
    share of the test that is `UNKNOWN`: such symbols are easy to guess, as they are all one.
    """
    found = {
        "unknown": float(np.mean(corpus.test == 0)),
        "unigram": perplexity(shares_of(corpus)[corpus.test[1:]]),
    }
    for name, model, of in (
        ("bigram", mixed_pairs, "weight"),
        ("kneser_ney", kneser_ney, "discount"),
    ):
        held_out = [model(corpus.train, corpus.validation, corpus.symbols, n) for n in NUMBERS]
        found[of] = NUMBERS[int(np.argmin(held_out))]
        found[name] = model(corpus.train, corpus.test, corpus.symbols, found[of])
    return found


def pairs_of(text, symbols):
    """How often each symbol follows each, (symbols, symbols), and any does, (symbols, 1)."""
    pairs = np.zeros((len(symbols),) * 2)
    np.add.at(pairs, (text[:-1], text[1:]), 1)
    return pairs, pairs.sum(axis=1, keepdims=True)


def mixed_pairs(text, test, symbols, weight):
    """The perplexity of `test` for a mean of counted pairs, of the given weight, and singles."""
    pairs, total = pairs_of(text, symbols)
    single = np.bincount(text, minlength=len(symbols)) + 1.0
    single = np.tile(single / single.sum(), (len(symbols), 1))
    known = np.divide(pairs, total, out=single.copy(), where=total > 0)
    chances = weight * known + (1 - weight) * single
    return perplexity(chances[test[:-1], test[1:]])


def kneser_ney(text, test, symbols, discount):
    """The perplexity of `test` for pairs with interpolated Kneser-Ney smoothing."""
    pairs, total = pairs_of(text, symbols)
    # What is discounted from the lower order goes to all symbols alike.
    before = (pairs > 0).sum(axis=0)
    lower = np.maximum(before - discount, 0) / before.sum()
    lower += (1 - lower.sum()) / len(symbols)
    after = (pairs > 0).sum(axis=1, keepdims=True)
    freed = np.divide(discount * after, total, out=np.ones_like(total), where=total > 0)
    kept = np.maximum(pairs - discount, 0) / np.maximum(total, 1)
    return perplexity((kept + freed * lower)[test[:-1], test[1:]])


def windows(text, window, stride):
    """Pieces of a text, and the symbols that follow each of theirs: two arrays (n, window)."""
    starts = np.arange(0, len(text) - window, stride)
    pieces = text[starts[:, None] + np.arange(window + 1)]
    return pieces[:, :-1], pieces[:, 1:]


class WordScores(keras.layers.Layer):
    """Logits of words: the products of the inputs, (..., dim), with the words' vectors, and a bias.

    The vectors are those that the words are read with. With few words to learn from, a second set
    of them is learned by heart. The bias begins at the logarithms of the words' shares, so that how
    frequent they are has not to be learned by the vectors.

    Args:
        embedding: The `Embedding` that reads the words.
        shares: The shares of all words in the text, (words,), each above 0.
    """

    def __init__(self, embedding, shares, **kwargs):
        super().__init__(**kwargs)
        self.embedding, self.shares = embedding, shares

    def build(self, input_shape):
        """Makes the biases."""
        start = keras.initializers.Constant(np.log(self.shares))
        self.bias = self.add_weight(shape=self.shares.shape, initializer=start, name="bias")

    def call(self, inputs):
        """The logits, (..., words)."""
        return keras.ops.matmul(inputs, keras.ops.transpose(self.embedding.embeddings)) + self.bias


def build(name, level, shares, units, training, seed):
    """Symbols one-hot, or words as learned vectors; a recurrent layer; logits of what follows.

    The logits of words are made with the same vectors; see `WordScores`.

    Args:
        name: One of `MODELS`.
        level: One of `LEVELS`.
        shares: The shares of the symbols in the text to train on; see `shares_of`.
        units: Number of units.
        training: Dictionary with the "dropout" of the layer's outputs, and the "input_dropout".
        seed: Seed of all that is random.
    """
    symbols = len(shares)
    inputs = keras.Input((None,), dtype="int32")
    if level == "character":
        coded = keras.layers.CategoryEncoding(symbols, output_mode="one_hot", name="symbols")
    else:
        coded = keras.layers.Embedding(symbols, EMBEDDING, name="words")
    layer = keras.layers.LSTM if name == "LSTM" else SpikingLSTM
    x = coded(inputs)
    x = keras.layers.Dropout(training["input_dropout"], seed=seed + 2, name="input_dropout")(x)
    x = layer(units, return_sequences=True, seed=seed, name="memory")(x)
    x = keras.layers.Dropout(training["dropout"], seed=seed + 1, name="dropout")(x)
    if level == "character":
        return keras.Model(inputs, keras.layers.Dense(symbols, name="scores")(x))
    x = keras.layers.Dense(EMBEDDING, use_bias=False, name="meant")(x)
    return keras.Model(inputs, WordScores(coded, shares, name="scores")(x))


def test_perplexity(model, text):
    """The perplexity of a network on a text, which it reads in pieces of at most `READ` symbols."""
    steps = min(READ, len(text) - 1)
    missing = -(len(text) - 1) % steps
    x, y = (np.pad(each, (0, missing)).reshape(-1, steps) for each in (text[:-1], text[1:]))
    found = []
    for start in range(0, len(x), READ_AT_ONCE):
        logits = model.predict(x[start : start + READ_AT_ONCE], verbose=0)
        found.append(chances(logits, y[start : start + READ_AT_ONCE]).ravel())
    return perplexity(np.concatenate(found)[: len(text) - 1])


def chances(logits, y):
    """The probabilities that logits, `(..., symbols)`, give to the symbols `y`, `(...)`."""
    logits = logits.astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    of_next = np.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
    return np.exp(of_next - np.log(np.exp(logits).sum(axis=-1)))


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
    coded, layer = model.layers[1], model.get_layer("memory")
    of_outputs = model.layers[model.layers.index(layer) + 1 :]
    states = layer.cell.get_initial_state(batch_size=1)
    for position in range(len(text) + length - 1):
        h, states = layer.cell(coded(np.array([text[position]])), states)
        if position + 1 < len(text):
            continue
        for each in of_outputs:  # dropout does nothing now
            h = each(h)
        logits = np.array(h)[0].astype("float64") / temperature
        logits[0] = -np.inf  # never `UNKNOWN`
        chances = np.exp(logits - logits.max())
        text.append(int(random.choice(len(chances), p=chances / chances.sum())))
    joined = ("" if level == "character" else " ").join(corpus.symbols[each] for each in text)
    return joined if level == "character" else re.sub(r" ([,.;:!?)])", r"\1", joined)


def fitted(name, level, corpus, config, output):
    """A network as it was after its best epoch in validation, its history, and which that was."""
    keras.utils.set_random_seed(config["seed"])
    seed, training = config["seed"], config["training"]
    model = build(name, level, shares_of(corpus), config["units"], training, seed)
    x, y = windows(corpus.train, training["window"], training["stride"])
    steps = training["epochs"] * math.ceil(len(x) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(RATES[name], steps)
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    best = output / f"{name}.best.weights.h5"
    # Of a run that was killed, what it has reached is the mark to be below of.
    reached = min(experiment.history(output, name).get("val_loss", [math.inf]))
    keep = keras.callbacks.ModelCheckpoint(
        best, save_best_only=True, save_weights_only=True, initial_value_threshold=reached
    )
    held_out = windows(corpus.validation, training["window"], training["window"])
    history = experiment.train(
        model, x, y, output, name, training["epochs"], BATCH, seed, held_out, [keep]
    )
    model.load_weights(best)
    return model, history, int(np.argmin(history["val_loss"])) + 1


def loaded(name, level, corpus, config, output):
    """A network that `fitted` has trained.

    Raises:
        FileNotFoundError: If it has not, or not to its end.
    """
    training = config["training"]
    epochs = len(experiment.history(output, name).get("loss", ()))
    if epochs < training["epochs"]:
        raise FileNotFoundError(
            f"{output} has no {name} that is trained, but {epochs} of {training['epochs']} epochs. "
            "Train it first: the same command without --generate."
        )
    model = build(name, level, shares_of(corpus), config["units"], training, config["seed"])
    model.load_weights(output / f"{name}.best.weights.h5")
    return model


def published(title, level):
    """Table 3's `(spiking, conventional)` for a text, or `None`."""
    parts = re.split(r"[\W_]+", title.lower())
    found = [each[level] for name, each in PUBLISHED.items() if name in parts]
    return found[0] if found else None


def row(title, level, config, numbers):
    """The row of the table."""
    of_paper = published(title, level)
    text = config["texts"][title]
    spiking, analog = (numbers[name] for name in MODELS)
    return {
        "paper": "003",
        "what": f"Perplexity of {level}s, {title}",
        "published": f"{of_paper[0]} (LSTM {of_paper[1]})" if of_paper else "",
        "ours": f"{spiking['perplexity']:.2f}",
        "beside": (
            f"LSTM {analog['perplexity']:.2f}, bigrams {numbers['bigram']:.2f} (Kneser-Ney "
            f"{numbers['kneser_ney']:.2f}), unigrams {numbers['unigram']:.2f}"
        ),
        "protocol": (
            f"{text['parts']}: {text['train']}, {text['validation']} and {text['test']} {level}s, "
            f"{text['symbols']} different ones, {100 * numbers['unknown']:.1f} % of the test "
            f"unknown; epoch {spiking['epoch']} (LSTM {analog['epoch']}) "
            f"of {config['training']['epochs']}, the best in validation"
            + ("; vectors of words are learned with the rest" if level == "word" else "")
        ),
    }


def arguments_of(description):
    """The arguments that say what is read."""
    parser = experiment.parser(description, NAME, PRESETS, ("folder",))
    parser.add_argument("--level", choices=LEVELS, default="character")
    parser.add_argument("--texts", nargs="+", help="names of texts, without .txt; all if not given")
    return parser


def configured(given, parser):
    """Yields of each text its title, parts, `Corpus`, configuration, and folder of checkpoints."""
    preset, level = PRESETS[given.preset], given.level
    texts = data.texts(given.data_dir)
    published_parts = data.wikitext2(given.data_dir)
    titles = [*texts, *([WIKITEXT2] if published_parts else [])]
    unknown = [name for name in given.texts or () if name not in titles]
    if unknown:
        parser.error(f"There is no text {', '.join(unknown)}. There are {', '.join(titles)}.")
    for title in given.texts or titles:
        if title == WIKITEXT2:
            sizes, training = preset[WIKITEXT2], TRAINING[given.preset][f"{level}, {WIKITEXT2}"]
            parts, told = parts_of_wikitext2(published_parts, **sizes)
            found = corpus(parts, level, VOCABULARY)
        else:
            sizes, training = preset["text"], TRAINING[given.preset][level]
            parts = parts_of(texts[title], **sizes)
            told = "trained on its beginning, validated and tested on what follows"
            found = corpus(parts, level)
        config = {
            "units": preset["units"],
            **sizes,
            "level": level,
            "training": training,
            "rates": RATES,
            "batch": BATCH,
            "seed": given.seed,
            "texts": {
                title: {
                    "parts": told,
                    "train": len(found.train),
                    "validation": len(found.validation),
                    "test": len(found.test),
                    "symbols": len(found.symbols),
                }
            },
        }
        output = experiment.directory(given, NAME, config, f"{level}-{title}-")
        yield title, parts, found, config, output


def main(arguments=None):
    parser = arguments_of(__doc__)
    parser.add_argument("--generate", metavar="TEXT", help="go on from this text, with a model")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0], help="which one goes on")
    parser.add_argument(
        "--length", type=experiment.positive, default=200, help="symbols to generate"
    )
    parser.add_argument("--temperature", type=float, default=0.7)
    given = parser.parse_args(arguments)
    if not given.temperature > 0:
        parser.error(f"--temperature must be positive, not {given.temperature}.")
    if given.generate is not None and not tokens(given.generate, given.level):
        parser.error("--generate needs a text to go on from.")
    level = given.level
    for title, parts, found, config, output in configured(given, parser):
        if given.generate is not None:
            model = loaded(given.model, level, found, config, output)
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
            model, history, epoch = fitted(name, level, found, config, output)
            numbers[name] = {
                "perplexity": test_perplexity(model, found.test),
                "epoch": epoch,
                "validation_perplexity": math.exp(history["val_loss"][epoch - 1]),
                "training_perplexity": math.exp(history["loss"][epoch - 1]),
                "parameters": model.count_params(),
                "seconds": sum(history["seconds"]),
            }
            if name == "SpikingLSTM":
                start = parts[1].lower().split("\n")[-1][-40:]
                numbers["sample"] = generate(
                    model,
                    found,
                    level,
                    start if tokens(start, level) else "the ",
                    120,
                    0.7,
                    given.seed,
                )
        print(f"{title}, {level}s: {numbers}")
        experiment.record(
            f"spiking_lstm.text, {level}s, {title}",
            given,
            parser,
            name=f"text-{level}-{title}",
            config=config,
            seconds=sum(numbers[name]["seconds"] for name in MODELS),
            numbers=numbers,
            rows=[row(title, level, config, numbers)],
        )


if __name__ == "__main__":
    main()
