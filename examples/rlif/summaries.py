"""Summaries of texts by a LIF-LSTM, and by an LSTM in its place: section 4.2, tables 3 and 4.

    apt-get -o Acquire::Languages=en -o Dir::State::Lists=DIR update
    python -m examples.rlif.summaries --data-dir DIR
    python -m examples.rlif.summaries --source lcsts --data-dir DIR

The first of these fetches Debian's descriptions of its packages into a folder and leaves the system
as it is; a description is the text, the line above it the summary. LCSTS is what the paper has. The
first words of the text, as many as are best on the validation part, are what a summary must beat.
"""

import json
import math

import keras
import numpy as np

from examples import data, experiment
from examples.rlif import pairs
from examples.rlif.seq2seq import DECODERS, PRIORS, Summarizer

NAME = "rlif/summaries"
SOURCES = ("debian", "lcsts")
LANGUAGES = ("en", "zh_CN", "zh_TW")
# The paper states none of these but the blocks of the encoder and the beams; `train` and `held_out`
# are pairs, the latter in validation and test part each.
PRESETS = {
    "reduced": {"units": 128, "vocabulary": 2000, "epochs": 4, "train": 26000, "held_out": 1000},
    "paper": {"units": 512, "vocabulary": 8000, "epochs": 20, "train": None, "held_out": 2000},
    "quick": {
        **{"units": 32, "vocabulary": 300, "epochs": 3, "train": 600, "held_out": 40},
        **{"batch": 16, "rate": 1e-2, "blocks": 1, "text_length": 16, "summary_length": 8},
    },
}
# The most tokens of a text and of a summary; those of LCSTS have at most 140 characters.
LENGTHS = {"word": (32, 10), "character": (140, 30)}
COMMON = {
    "blocks": 2,
    "heads": 4,
    "dropout": 0.1,
    "threshold": 0.1,
    "rate": 3e-3,
    "batch": 64,
    "beams": 10,
    "penalty": 1.0,
    "prior": "copy",
    "per_family": 2,
}
SEARCHED = 50  # texts that are searched at a time
WORDS = range(1, 21)  # how many first words the baseline may have
PUBLISHED = "37.22 / 24.64 / 34.45 on LCSTS"
METRICS = {"rouge1": "R-1", "rouge2": "R-2", "rougeL": "R-L"}


class CharacterTokenizer:
    """What `rouge_score` calls for tokens: its own drops all that is not of the letters a to z."""

    def tokenize(self, text):
        """The characters of a text without blanks."""
        return pairs.tokens(text, "character")


def rouge(references, summaries, level, metrics=tuple(METRICS)):
    """Mean F1 in percent of each metric: dictionary from the paper's name to a number."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError(
            "ROUGE needs rouge-score: pip install 'keras-spiking-rnn[examples]'"
        ) from error
    tokenizer = CharacterTokenizer() if level == "character" else None
    scorer = RougeScorer(metrics, tokenizer=tokenizer)
    scores = [scorer.score(*each) for each in zip(references, summaries, strict=True)]
    return {
        METRICS[metric]: 100 * float(np.mean([score[metric].fmeasure for score in scores]))
        for metric in metrics
    }


def first_words(text, level, n):
    """The first `n` tokens of a text, as a text."""
    return ("" if level == "character" else " ").join(pairs.tokens(text, level)[:n])


def baseline(parts, level):
    """ROUGE of the first words on the test part, as many as have the best ROUGE-1 on validation."""

    def scores(part, n, metrics):
        first = [first_words(pair.text, level, n) for pair in part]
        return rouge([pair.summary for pair in part], first, level, metrics)

    held_out = [scores(parts["validation"], n, ("rouge1",))["R-1"] for n in WORDS]
    best = WORDS[int(np.argmax(held_out))]
    return {"words": best, **scores(parts["test"], best, tuple(METRICS))}


def load(source, language, level, data_dir, preset, seed):
    """Training, validation and test pairs, at most `train` and `held_out` of them.

    Raises:
        ValueError: If there are too few for that.
    """
    held_out = preset["held_out"]
    if source == "lcsts":
        parts = pairs.lcsts(data_dir)
    else:
        found = pairs.debian(data_dir, language)
        # Where there are few pairs, most are to train on.
        held_out = min(held_out, len(found) // 10)
        parts = pairs.split(found, level, held_out, COMMON["per_family"], seed)
    if not all(parts.values()):
        counts = ", ".join(f"{len(each)} for {part}" for part, each in parts.items())
        raise ValueError(f"There are too few texts with summaries in {data_dir}: {counts}.")
    random = np.random.default_rng(seed)
    limits = {"train": preset["train"], "validation": held_out, "test": held_out}
    return {
        part: [each[number] for number in random.permutation(len(each))[: limits[part]]]
        for part, each in parts.items()
    }


def build(decoder, config):
    """A compiled network with its weights as they begin."""
    keras.utils.set_random_seed(config["seed"])
    model = Summarizer(
        config["symbols"],
        config["units"],
        decoder,
        config["blocks"],
        config["heads"],
        config["dropout"],
        config["threshold"],
        config["seed"],
        config["prior"],
    )
    model((np.ones((1, config["text_length"]), "int32"), np.ones((1, 2), "int32")))
    steps = config["epochs"] * math.ceil(config["pairs"]["train"] / config["batch"])
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(config["rate"], steps), clipnorm=1.0
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=pairs.PADDING),
        # On a processor Keras' loops over time are faster without.
        jit_compile=False,
    )
    return model


def shifted(summaries):
    """What the decoder is given and what it is to say: the latter has no unknown token."""
    targets = summaries[:, 1:]
    return summaries[:, :-1], np.where(targets == pairs.UNKNOWN, pairs.PADDING, targets)


def summarize(model, sources, names, vocabulary, config, bar=None):
    """The likeliest summary of each text.

    Args:
        model: A trained network.
        sources: The texts as numbers, `(n, text_length)`.
        names: The unknown tokens of each text.
        vocabulary: A `pairs.Vocabulary`.
        config: The configuration of the network.
        bar: What `experiment.bar` gives, for as many texts.
    """
    length, made = config["summary_length"] + 1, []
    for begin in range(0, len(sources), SEARCHED):
        part = sources[begin : begin + SEARCHED]
        # As many rows always, so that the search is compiled once.
        rows = np.pad(part, ((0, min(SEARCHED, len(sources)) - len(part)), (0, 0)), mode="edge")
        found, _ = model.search(rows, config["beams"], length, config["penalty"])
        made += np.array(found)[: len(part), 0].tolist()
        if bar:
            bar.update(len(made))
    return [vocabulary.decode(*each) for each in zip(made, names, strict=True)]


def firing_rates(model, summaries):
    """Spikes per unit and step of each block of the decoder, on what is not padding."""
    counted, x, rates = summaries != pairs.PADDING, model.embed(summaries), []
    for norm, layer in model.decoder:
        x = layer(norm(x))
        rates.append(float(np.array(x)[counted].mean()))
    return rates


def triple(scores):
    """The three numbers as the paper writes them."""
    return " / ".join(f"{scores[metric]:.2f}" for metric in METRICS.values())


def row(what, config, numbers):
    """The row of the table."""
    lengths = f"{config['text_length']} and {config['summary_length']} {config['level']}s"
    return {
        "paper": "000",
        "what": f"Summaries of {what}, ROUGE-1 / 2 / L",
        "published": PUBLISHED,
        "ours": triple(numbers["LIFLSTM"]),
        "beside": (
            f"LSTM {triple(numbers['LSTM'])}; the first {numbers['first']['words']} "
            f"{config['level']}s {triple(numbers['first'])}"
        ),
        "protocol": (
            f"{config['pairs']['train']} pairs to train on, {config['pairs']['test']} to test on, "
            f"of a family in one part only; texts and summaries of at most {lengths}; "
            f"{config['symbols']} tokens, {config['units']} units, {config['epochs']} epochs, "
            f"{config['beams']} beams"
        ),
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, SOURCES)
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="that of Debian's")
    positive, instead = experiment.positive, "instead of the preset's"
    parser.add_argument("--train", type=positive, help=f"pairs to train on, {instead}")
    parser.add_argument("--epochs", type=positive, help=instead)
    parser.add_argument("--threshold", type=float, help="of the LIF-LSTM")
    parser.add_argument("--prior", choices=list(PRIORS), help="instead of the preset's")
    given = parser.parse_args(arguments)
    source = data.known_source(given.source, SOURCES, "texts and summaries")
    level = "word" if (source, given.language) == ("debian", "en") else "character"
    changed = {key: getattr(given, key) for key in ("train", "epochs", "threshold", "prior")}
    preset = {**COMMON, **PRESETS[given.preset]}
    preset |= {key: value for key, value in changed.items() if value is not None}
    parts = load(source, given.language, level, given.data_dir, preset, given.seed)
    vocabulary = pairs.Vocabulary.of(parts["train"], level, preset["vocabulary"])
    config = {
        **dict(zip(("text_length", "summary_length"), LENGTHS[level], strict=True)),
        **preset,
        "source": source,
        "language": given.language if source == "debian" else "zh_CN",
        "level": level,
        "symbols": len(vocabulary),
        "pairs": {part: len(each) for part, each in parts.items()},
        "seed": given.seed,
    }
    title = "lcsts" if source == "lcsts" else f"debian-{given.language}"
    output = experiment.directory(given, NAME, config, f"{title}-")
    experiment.write(output / "vocabulary.json", json.dumps(vocabulary.symbols, ensure_ascii=False))
    sources, summaries, names = {}, {}, {}
    for part, each in parts.items():
        sources[part], summaries[part], names[part] = vocabulary.arrays(
            each, config["text_length"], config["summary_length"]
        )
    references = [pair.summary for pair in parts["test"]]
    numbers, written = {"first": baseline(parts, level)}, {}
    for decoder in DECODERS:
        model = build(decoder, config)
        inputs, targets = shifted(summaries["train"])
        of_validation, expected = shifted(summaries["validation"])
        history = experiment.train(
            model,
            (sources["train"], inputs),
            targets,
            output,
            decoder,
            config["epochs"],
            config["batch"],
            config["seed"],
            validation=((sources["validation"], of_validation), expected),
        )
        bar = experiment.bar(f"Summaries by {decoder}", len(references), "text")
        written[decoder] = summarize(model, sources["test"], names["test"], vocabulary, config, bar)
        numbers[decoder] = {
            **rouge(references, written[decoder], level),
            "validation_perplexity": [math.exp(loss) for loss in history["val_loss"]],
            "parameters": model.count_params(),
            "seconds": sum(history["seconds"]),
        }
        if decoder == "LIFLSTM":
            rates = firing_rates(model, shifted(summaries["test"])[0])
            numbers[decoder]["spikes_per_unit_and_step"] = rates
        print(decoder, numbers[decoder])
    numbers["examples"] = [
        {
            "source": " ".join(pair.text.split()),
            "reference": pair.summary,
            **{decoder: written[decoder][number] for decoder in DECODERS},
        }
        for number, pair in enumerate(parts["test"][:12])
    ]
    for example in numbers["examples"]:
        print(*(f"{key}: {value}" for key, value in example.items()), sep="\n", end="\n\n")
    print({key: triple(numbers[key]) for key in ("first", *DECODERS)})
    of = "LCSTS" if source == "lcsts" else f"Debian's package descriptions ({given.language})"
    experiment.record(
        f"rlif.summaries, {title}",
        given,
        parser,
        name=f"summaries-{title}",
        config=config,
        seconds=sum(numbers[decoder]["seconds"] for decoder in DECODERS),
        numbers=numbers,
        rows=[row(of, config, numbers)],
    )


if __name__ == "__main__":
    main()
