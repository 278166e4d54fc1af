"""Phones of each frame of sentences, and the phone error rate: the paper's task without Kaldi.

    python -m examples.inherent_recurrence.speech                 synthetic speech
    python -m examples.inherent_recurrence.speech --preset wide   the paper's width
    python -m examples.inherent_recurrence.speech --source timit --data-dir DIR
    python -m examples.inherent_recurrence.speech --source librispeech --data-dir DIR

`synthetic` is speech of espeak-ng, whose phone times are known. Of it and of TIMIT each frame is
classified; its phones are the classes that follow each other, after the scores are averaged over 5
frames. LibriSpeech has no times: there the networks are trained with CTC on characters, and the
word error rate is measured. MFCC with two derivatives take the place of Kaldi's fMLLR, or with
`--features mel` the logarithms of 40 mel bands.
"""

import functools
import itertools

import keras
import numpy as np

from examples import experiment
from examples.data import load_tfds
from examples.inherent_recurrence import networks, synthetic, timit
from examples.inherent_recurrence.features import HOP, KINDS, features, frame_labels
from examples.inherent_recurrence.table import PUBLISHED
from examples.inherent_recurrence.vowels import padded
from keras_spiking_rnn import metrics

NAME = "inherent_recurrence/speech"
SOURCES = ("synthetic", "timit", "librispeech")
PRESETS = {
    "reduced": {
        "units": 256,
        "epochs": 30,
        "batch": 16,
        "rates": [0.002, 0.004, 0.01],
        "seeds": 5,
        "train": 160,
        "test": 40,
        "piece": 128,
        "jit": True,
    },
    "paper": {
        "units": 550,
        "epochs": 24,
        "batch": 64,
        "rates": [0.001],
        "seeds": 5,
        "train": None,
        "test": None,
        "piece": 1000,
        "jit": True,
    },
    "quick": {
        "units": 8,
        "epochs": 1,
        "batch": 8,
        "rates": [0.01],
        "seeds": 1,
        "train": 8,
        "test": 3,
        "piece": 64,
        "jit": False,
    },
}
# The paper's width: how many multiplications are saved depends on it.
PRESETS["wide"] = {**PRESETS["reduced"], "units": 550, "rates": [0.002, 0.01], "seeds": 1}
# The paper's synthetic counterpart does not exist: as many sentences as TIMIT has.
AS_TIMIT = {"train": 3696, "test": 1344}
SMOOTHED = 5
CHARACTERS = "_ ABCDEFGHIJKLMNOPQRSTUVWXYZ'"  # the first is CTC's blank
TITLES = {
    "synthetic": "phones of synthetic speech",
    "timit": "TIMIT",
    "librispeech": "LibriSpeech 100 h",
}
SAID = {"mfcc": "MFCC", "mel": "logarithms of mel bands"}
LIBRISPEECH = {"train": "train_clean100", "test": "test_clean"}


def librispeech(data_dir, train, test, kind="mfcc"):
    """Sentences by TensorFlow Datasets, and what is said.

    Args:
        data_dir: Folder into which it downloads, once, all 1 000 hours.
        train: How many sentences to train on, or `None` for all 100 hours.
        test: How many to test on, or `None`.
        kind: That of the features.

    Returns:
        Two lists of `(features, text)`; the texts are in capitals.
    """
    parts = []
    for split, count in zip(LIBRISPEECH.values(), (train, test), strict=True):
        examples = itertools.islice(load_tfds("librispeech", data_dir, split=split), count)
        parts.append(
            [
                (
                    features(np.asarray(each["speech"], "float32") / 2**15, timit.RATE, kind),
                    each["text"].decode().upper(),
                )
                for each in examples
            ]
        )
    return tuple(parts)


def phones_of(source, data_dir, protocol, seed):
    """Sentences with phone times, of `"synthetic"` or `"timit"`: two dictionaries.

    Fewer of TIMIT than there are are by chance: the first ones are of one dialect.
    """
    counts = [protocol["train"], protocol["test"]]
    if source == "synthetic":
        counts = [given or full for given, full in zip(counts, AS_TIMIT.values(), strict=True)]
        return synthetic.synthetic(*counts, seed)
    parts = []
    for part, count in zip(timit.timit(data_dir), counts, strict=True):
        chosen = np.random.default_rng(seed).permutation(sorted(part))[:count]
        parts.append({name: part[name] for name in sorted(chosen)})
    return tuple(parts)


def in_pieces(sequences, labels, length):
    """Sequences, cut into pieces of `length` steps: x, labels and weights 1 of what is no padding.

    Args:
        sequences: List of `(n_i, features)`.
        labels: List of `(n_i,)`.
        length: Steps of a piece; the last ones are padded with 0.
    """
    cut = [
        (sequence[at : at + length], label[at : at + length])
        for sequence, label in zip(sequences, labels, strict=True)
        for at in range(0, len(sequence), length)
    ]
    x = padded([piece for piece, _ in cut], length)
    y = padded([label[:, None] for _, label in cut], length)[..., 0].astype("int32")
    weights = padded([np.ones((len(label), 1)) for _, label in cut], length)[..., 0]
    return x, y, weights


def collapsed(names):
    """A list without what repeats the name before it."""
    return [name for name, _ in itertools.groupby(names)]


def error_rates():
    """The package jiwer, which counts what is told wrongly.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import jiwer
    except ImportError as error:
        raise ImportError(
            "Error rates need jiwer: pip install 'keras-spiking-rnn[examples]'"
        ) from error
    return jiwer


def phone_error_rate(utterances, guesses):
    """The phone error rate, by jiwer, of the 39 phones; equal ones that follow are one.

    Args:
        utterances: List of `timit.Utterance`.
        guesses: List of lists: a phone of each frame.
    """
    said = [
        " ".join(collapsed(timit.scored(name) for _, _, name in each.phones)) for each in utterances
    ]
    heard = [" ".join(collapsed(timit.scored(name) for name in guess)) for guess in guesses]
    return float(error_rates().wer(said, heard))


def smoothed(scores):
    """Scores `(frames, classes)`, averaged over `SMOOTHED` frames."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(scores, SMOOTHED, axis=0, mode="nearest")


def frames(protocol, source, data_dir, seed):
    """Phones of each frame: functions that build, and that measure, and what to train on."""
    training, test = (list(part.values()) for part in phones_of(source, data_dir, protocol, seed))
    names = sorted({name for each in training + test for _, _, name in each.phones})
    kind = protocol.get("features", "mfcc")
    found = [
        [features(each.samples, each.rate, kind) for each in part] for part in (training, test)
    ]
    labels = [
        [frame_labels(each, len(x), names, HOP) for each, x in zip(part, of_part, strict=True)]
        for part, of_part in zip((training, test), found, strict=True)
    ]
    pieces = in_pieces(found[0], labels[0], protocol["piece"])
    longest = max(len(each) for each in found[1])
    x, y, weights = in_pieces(found[1], labels[1], longest)

    def build(neuron, bits, seed):
        return networks.network(
            neuron, pieces[0], len(names), protocol["units"], seed, bits, each_step=True
        )

    def measure(model):
        scores = model.predict(x, batch_size=512, verbose=0)
        guesses = [
            [names[index] for index in smoothed(score[: int(steps.sum())]).argmax(axis=-1)]
            for score, steps in zip(scores, weights, strict=True)
        ]
        return {
            **networks.measured(model, x, y, weights),
            "phone_error_rate": phone_error_rate(test, guesses),
        }

    config = {"phones": len(names), "frames": int(weights.sum())}
    return build, measure, pieces, config | {"train": len(training), "test": len(test)}


def characters(protocol, data_dir):
    """Characters by CTC: as `frames`."""
    kind = protocol.get("features", "mfcc")
    training, test = librispeech(data_dir, protocol["train"], protocol["test"], kind)
    steps = max(len(x) for x, _ in training + test)
    x, x_test = (padded([each for each, _ in part], steps) for part in (training, test))
    longest = max(len(text) for _, text in training)
    # CTC of Keras takes a label of 0, which is the blank, for padding.
    y = np.zeros((len(training), longest), "int32")
    for row, (_, text) in zip(y, training, strict=True):
        row[: len(text)] = [CHARACTERS.index(each) for each in text]

    def build(neuron, bits, seed):
        scores = networks.network(
            neuron, x, len(CHARACTERS), protocol["units"], seed, bits, each_step=True
        )
        # The loss is one of a sequence, and knows of no mask.
        unmasked = keras.layers.Lambda(lambda each: 1.0 * each, mask=lambda *given: None)
        return keras.Sequential([*scores.layers, unmasked])

    def measure(model):
        found = model.predict(x_test, batch_size=16, verbose=0).argmax(axis=-1)
        heard = [
            "".join(CHARACTERS[each] for each in collapsed(guess[: len(of)]) if each)
            for guess, (of, _) in zip(found, test, strict=True)
        ]
        counted = metrics.operations(model, x_test, batch_size=16)
        said = [text for _, text in test]
        return {
            "word_error_rate": float(error_rates().wer(said, heard)),
            "character_error_rate": float(error_rates().cer(said, heard)),
            "zeros": float(np.mean([counted[key]["zero_inputs"] for key in ("second", "scores")])),
            "multiplications": sum(each["multiplications"] for each in counted.values()),
            "parameters": sum(counted[key]["parameters"] for key in ("first", "second")),
        }

    return build, measure, (x, y), {"train": len(training), "test": len(test)}


def rows(source, numbers, protocol, config):
    """The rows of the table of reproductions, one for each network."""
    said = (
        f"{config['train']} sentences to train on and {config['test']} to test on; "
        f"{networks.protocol_of(protocol)}; threshold of an eighth of V_max; "
        f"{SAID[protocol.get('features', 'mfcc')]} and not fMLLR, phones and not Kaldi's senones"
    )
    phones = source != "librispeech"
    result = []
    for key, found in numbers.items():
        neuron, bits = key.split("-")
        beside = networks.beside(key, numbers)
        if "accuracy" in found:
            ours = f"{networks.told(found)} of frames"
            beside.insert(0, f"phone error rate {experiment.percent(found['phone_error_rate'])}")
        else:
            ours = f"word error rate {experiment.percent(found['word_error_rate'])}"
        result.append(
            {
                "paper": "002",
                "what": f"Table 1, {TITLES[source]}, {protocol['units']} units: "
                f"{networks.titled(key)}",
                "published": PUBLISHED[neuron] if phones and bits == "6" else "",
                "ours": ours,
                "beside": ", ".join(beside),
                "protocol": said,
            }
        )
    return result


def main(arguments=None):
    parser = experiment.parser(__doc__, NAME, PRESETS, SOURCES)
    parser.add_argument("--neurons", nargs="+", choices=networks.NAMES, default=networks.NAMES)
    parser.add_argument(
        "--bits", type=networks.bits_of, nargs="+", choices=networks.EIGHTH, default=[6]
    )
    parser.add_argument("--units", type=experiment.positive, help="of each layer")
    parser.add_argument("--epochs", type=experiment.positive)
    parser.add_argument("--seeds", type=experiment.positive, help="how many")
    parser.add_argument(
        "--rates", type=experiment.above_0, nargs="+", help="the best is chosen in validation"
    )
    parser.add_argument("--features", choices=list(KINDS), help="mfcc if not given")
    given = parser.parse_args(arguments)
    error_rates()  # before any training what would be missing after it
    source, protocol = given.source or SOURCES[0], PRESETS[given.preset]
    asked = {key: getattr(given, key) for key in ("units", "epochs", "seeds", "rates", "features")}
    protocol = protocol | {key: each for key, each in asked.items() if each}
    output = experiment.directory(
        given, NAME, networks.of_a_run({"source": source, **protocol}), f"{source}-"
    )
    loss = None
    if source == "librispeech":
        build, measure, training, config = characters(protocol, given.data_dir)
        loss, protocol = keras.losses.CTC(), protocol | {"rates": protocol["rates"][:1]}
    else:
        build, measure, training, config = frames(protocol, source, given.data_dir, given.seed)
    seeds = range(given.seed, given.seed + protocol["seeds"])
    numbers = {}
    for neuron, each in networks.cases(given.neurons, given.bits):
        key = f"{neuron}-{each}"
        of_kind = functools.partial(build, neuron, each)
        numbers[key] = networks.compared(
            output / key, of_kind, training, measure, protocol, seeds, loss
        )
        print(f"{networks.titled(key)}: {numbers[key]}", flush=True)
    experiment.record(
        f"inherent_recurrence.speech, {source}",
        given,
        parser,
        name=f"speech-{source}",
        config={**protocol, **config, "source": source},
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(source, numbers, protocol, config),
    )


if __name__ == "__main__":
    main()
