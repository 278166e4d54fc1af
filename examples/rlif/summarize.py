"""Summarises a text from standard input with a network that examples.rlif.summaries has trained.

    python -m examples.rlif.summarize < text.txt

The folder of checkpoints is that of the reduced preset unless another is named. The network reads
as many words as it was trained with, 32 there: of a longer text the beginning and the end.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from examples import experiment
from examples.rlif import pairs, summaries
from examples.rlif.seq2seq import DECODERS

CHECKPOINTS = Path("runs") / summaries.NAME / "debian-en-reduced-0"


def load(folder, decoder):
    """The trained network, its vocabulary and its configuration.

    Raises:
        FileNotFoundError: If it has not been trained.
    """
    if not (folder / decoder).exists():
        raise FileNotFoundError(
            f"There is no {folder / decoder}. Train it first: python -m examples.rlif.summaries; "
            "or name the folder of its checkpoints with --checkpoints."
        )
    config = json.loads((folder / "config.json").read_text())
    symbols = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    model = summaries.build(decoder, config)
    if experiment.Checkpoints(folder / decoder).load(model) < config["epochs"]:
        raise FileNotFoundError(
            f"The network in {folder / decoder} is not trained to its end: python -m "
            "examples.rlif.summaries goes on."
        )
    return model, pairs.Vocabulary(symbols, config["level"]), config


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, metavar="DIR")
    parser.add_argument("--decoder", choices=list(DECODERS), default=next(iter(DECODERS)))
    given = parser.parse_args(arguments)
    model, vocabulary, config = load(given.checkpoints, given.decoder)
    try:
        text = sys.stdin.read()
        text.encode()  # what is not in UTF-8 may have been kept as halves of pairs of characters
    except UnicodeError as error:
        parser.error(f"The text on standard input is not in UTF-8 ({error}).")
    if not text.strip():
        parser.error("There is no text on standard input.")
    sources, _, names = vocabulary.arrays([pairs.Pair(text, "")], config["text_length"], 0)
    print(*summaries.summarize(model, np.array(sources), names, vocabulary, config))


if __name__ == "__main__":
    main()
