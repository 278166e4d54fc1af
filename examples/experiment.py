"""What the experiments share: arguments, training that survives being killed, records.

A record is a dictionary, saved as JSON:

    experiment  the module and what of it, such as "spiking_lstm.images, mnist"
    preset      the name of the preset
    seed        an integer
    config      dictionary of all that the result depends on besides
    command     what was typed; folders of this machine are written as DIR
    versions    dictionary from package to version
    seconds     how long it took, with the runs that were killed
    numbers     dictionary of what was measured
    rows        list of rows of the table in docs/reproductions.md: dictionaries of texts
        paper       "000", "003" or "004"
        what        what was measured
        published   the number of the paper, or "" if it has none
        ours        our number, made from `numbers`
        beside      what stands beside it, such as a conventional network of the same size
        protocol    what differs from the paper's protocol
        report      of a row of the chip: the name of the page beside the record
"""

import argparse
import csv
import importlib.metadata
import json
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

import keras_spiking_rnn
from keras_spiking_rnn import files

PACKAGES = ("keras", "tensorflow", "numpy")
LOG = "log.csv"  # in the folder of a model, written by Keras after each epoch
ROW = ("paper", "what", "published", "ours", "beside", "protocol")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
RECORD = ("experiment", "preset", "seed", "config", "command", "seconds", "numbers", "rows")


def positive(text):
    """The type of an argument that is an integer of at least 1."""
    return _at_least(1, text)


def non_negative(text):
    """The type of an argument that is an integer of at least 0."""
    return _at_least(0, text)


def above_0(text):
    """The type of an argument that is a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def folder(text):
    """The type of an argument that is a folder, or nothing yet."""
    path = Path(text)
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise argparse.ArgumentTypeError(f"{each} is a file: name a folder")
    return path


def _at_least(least, text):
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, not {text!r}")
    return int(text)


def parser(description, name, presets, sources=()):
    """The arguments that every experiment has.

    Args:
        description: The docstring of the module.
        name: The folder and name of the module, such as `"spiking_lstm/images"`.
        presets: Names of the presets; the first is the default.
        sources: Names of the sources of the data; without any, there is no such argument, and of
            one there is nothing to choose.
    """
    result = argparse.ArgumentParser(description=description.splitlines()[0])
    result.add_argument("--preset", choices=list(presets), default=next(iter(presets)))
    result.add_argument("--seed", type=non_negative, default=0)
    if len(sources) > 1:
        result.add_argument("--source", choices=list(sources), help="where the data is from")
    if sources:
        result.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data")
    result.add_argument(
        "--output", type=folder, help=f"folder of checkpoints; runs/{name} if not given"
    )
    result.add_argument("--results", type=folder, help="folder of records; that of the checkpoints")
    return result


def directory(given, name, config, part=""):
    """The folder of the checkpoints of one configuration, which is made.

    Args:
        given: What `parser` has parsed.
        name: As for `parser`.
        config: Dictionary of all that the result depends on, ready for JSON.
        part: What the name of the folder begins with, where an experiment has several parts.

    Raises:
        ValueError: If the folder has checkpoints of another configuration.
    """
    output = (given.output or Path("runs") / name) / f"{part}{given.preset}-{given.seed}"
    output.mkdir(parents=True, exist_ok=True)
    path, text = output / "config.json", json.dumps(config, indent=1, sort_keys=True)
    if not path.exists() or list(output.iterdir()) == [path]:  # nothing has come of it
        write(path, text)
    elif path.read_text() != text:
        raise ValueError(
            f"{output} has the checkpoints of another configuration; see {path}. Delete it, or "
            "choose another --output."
        )
    return output


class Batches(keras.utils.PyDataset):
    """Batches of `(x, y)` whose order depends on the seed and the epoch alone.

    `epoch` is set by `Resumable`, so that training which goes on where it was killed has the
    batches that it would have had.
    """

    def __init__(self, x, y, batch_size, seed):
        super().__init__()
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.epoch = 0

    @property
    def epoch(self):
        """The epoch that the order is that of."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch):
        self._epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.y))

    def __len__(self):
        return math.ceil(len(self.y) / self.batch_size)

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return keras.tree.map_structure(lambda each: each[chosen], self.x), self.y[chosen]


def reseed(model, seed):
    """Sets the state of all random numbers of a model, which its weight files do not have.

    Args:
        model: A built model.
        seed: An integer or a sequence of integers, each at least 0.
    """
    states = [each for each in model.variables if each.path.endswith("seed_generator_state")]
    random = np.random.default_rng(seed)
    for state in states:
        state.assign(random.integers(0, 2**32, state.shape, "uint32"))


class Resumable(keras.callbacks.Callback):
    """Tells batches and random numbers which epoch it is, and the log how long each took."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the order and the random numbers of the epoch."""
        self.batches.epoch = epoch
        reseed(self.model, [self.batches.seed, epoch])
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Adds the seconds, which the `CSVLogger` after it writes."""
        logs["seconds"] = time.perf_counter() - self.started


class Checkpoints(keras.callbacks.Callback):
    """Keeps weights, optimizer and all other state after the last complete epoch.

    A file `EPOCHS.weights.h5` is there whole or not at all, and the one before it goes after it has
    come: wherever a run is killed, there is one to go on from.

    Args:
        folder: Where to; it is made, and has no other weights.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def latest(self):
        """How many epochs are complete."""
        names = [path.name.removesuffix(".weights.h5") for path in self.folder.iterdir()]
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def load(self, model):
        """Sets a compiled model to the latest: the number of its epochs, 0 if there is none."""
        epochs = self.latest()
        if epochs:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.load_weights(self.folder / f"{epochs}.weights.h5")
        return epochs

    def on_epoch_end(self, epoch, logs=None):
        """Saves what is complete now."""
        saved = self.folder / f"{epoch + 1}.weights.h5"
        with files.replacing(saved, ".weights.h5") as part:
            self.model.save_weights(part)
        for other in self.folder.glob("*.weights.h5"):  # what a killed run was writing, too
            if other != saved:
                other.unlink()


def train(model, x, y, output, name, epochs, batch_size, seed, validation=None, callbacks=()):
    """Trains a compiled model, or goes on where a run that was killed has saved it last.

    The result is that of a run that was not killed, to the last bit. A model that is trained
    already is loaded. Random numbers that are drawn later, for an evaluation, are the same too.

    Args:
        model: A compiled and built model.
        x: Inputs, an array or a tuple of arrays; what an array of indices chooses is a batch.
        y: Targets, an array.
        output: The folder of `directory`.
        name: Name of the model: of a folder in it, which is made.
        epochs: Number of epochs.
        batch_size: Size of a batch.
        seed: Seed of the order of the batches.
        validation: `(x, y)` to evaluate after each epoch, or what else Keras takes, or `None`.
        callbacks: More callbacks of Keras, without a state of their own that a run which goes on
            would need.

    Returns:
        A dictionary from the name of a metric to its values after each epoch, and `"seconds"`.
    """
    checkpoints = Checkpoints(output / name)
    done = checkpoints.load(model)
    if done < epochs:
        batches = Batches(x, y, batch_size, seed)
        model.fit(
            batches,
            initial_epoch=done,
            epochs=epochs,
            shuffle=False,
            validation_data=validation,
            # The last saves the model: of an epoch that is saved, all else is written.
            callbacks=[
                Resumable(batches),
                *callbacks,
                keras.callbacks.CSVLogger(output / name / LOG, append=True),
                checkpoints,
            ],
        )
    reseed(model, [seed, epochs])
    return history(output, name)


def bar(title, count, unit):
    """A progress bar of Keras, below a title; of output that is no terminal, a line at the end.

    Args:
        title: What is done.
        count: How often `update` moves it.
        unit: What is counted.
    """
    print(title, flush=True)
    verbose = 1 if sys.stdout.isatty() else 2
    return keras.utils.Progbar(count, verbose=verbose, stateful_metrics=["loss"], unit_name=unit)


def history(output, name):
    """What `train` has logged of a model so far, in the form that it returns.

    Of an epoch that was begun twice, the last counts. Without an epoch the dictionary is empty.
    """
    log = output / name / LOG
    if not log.exists():
        return {}
    with log.open(newline="") as file:
        rows = {int(row.pop("epoch")): row for row in csv.DictReader(file)}
    # Keras writes columns of a validation that there was not, too.
    names = [name for name, value in next(iter(rows.values()), {}).items() if value != "NA"]
    return {name: [float(rows[epoch][name]) for epoch in sorted(rows)] for name in names}


def command(module, given, parser):
    """What to type for a run: all arguments that differ from their defaults.

    Args:
        module: Full name of the module.
        given: What was parsed.
        parser: The parser. Folders are written as DIR; those of results are left out.
    """
    words = [f"python -m {module}"]
    for action in parser._actions:
        value = getattr(given, action.dest, None)
        if action.dest in ("output", "results", "help") or value == action.default:
            if action.dest not in ("preset", "seed"):
                continue
        option = action.option_strings[0] if action.option_strings else None
        if isinstance(value, bool):
            words.append(option)
            continue
        values = value if isinstance(value, list) else [value]
        words += [option] if option else []
        words += ["DIR" if isinstance(each, Path) else str(each) for each in values]
    return " ".join(words)


def percent(share, deviation=None):
    """A share in percent with one decimal, and its deviation."""
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * share:.1f}{spread} %"


def results(module, given):
    """The folder of the records of a module of `examples`, such as `"spiking_lstm.images"`."""
    return given.results or given.output or Path("runs", *module.split("."))


def record(experiment, given, parser, *, name, config, seconds, numbers, rows):
    """Writes the record of a run that `parser` has the arguments of: the path of its JSON file.

    Args:
        experiment: The module in `examples`, and after a comma what of it, such as
            `"spiking_lstm.images, mnist"`.
        given: What `parser` has parsed.
        parser: The function `parser`'s, with the module's own arguments.
        name: As for `save`.
        config: As in a record.
        seconds: How long it took; tenths are kept.
        numbers: As in a record.
        rows: As in a record.
    """
    module = experiment.partition(",")[0]
    written = save(
        {
            "experiment": experiment,
            "preset": given.preset,
            "seed": given.seed,
            "config": config,
            "command": command(f"examples.{module}", given, parser),
            "seconds": round(seconds, 1),
            "numbers": numbers,
            "rows": rows,
        },
        name,
        results(module, given),
    )
    print(f"Written: {written}")
    return written


def save(record, name, folder):
    """Writes a record: the path of its JSON file.

    Args:
        record: See the module, without the versions.
        name: What the name of the file begins with; preset and seed follow, so that a run for a
            look does not replace a longer one.
        folder: Where to write it; it is made.

    Raises:
        ValueError: If something is missing in the record or one of its rows.
    """
    missing = [key for key in RECORD if key not in record]
    missing += [f"rows: {key}" for row in record.get("rows", ()) for key in ROW if key not in row]
    if missing:
        raise ValueError(f"The record needs {', '.join(missing)}. Received: {', '.join(record)}")
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    versions["keras_spiking_rnn"] = keras_spiking_rnn.__version__
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{record['preset']}-{record['seed']}.json"
    text = json.dumps({**record, "versions": versions}, indent=1, ensure_ascii=False)
    write(path, text + "\n")
    return path


def load(folder):
    """The records of a folder, in the order of their names: dictionary from name to record."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(folder).glob("*.json"))
    }


def chosen(folder, preset="reduced", seed=0):
    """The records of one preset and seed: dictionary from the `name` that `save` was given."""
    end = f"-{preset}-{seed}"
    return {
        name.removesuffix(end): record
        for name, record in load(folder).items()
        if name.endswith(end)
    }


def between_marks(page, text):
    """Puts a text between the lines `BEGIN` and `END` of a page.

    Raises:
        ValueError: If the page has no such lines.
    """
    content = Path(page).read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        raise ValueError(f"{page} has no lines {BEGIN} and {END} between which to write.")
    before, rest = content.split(BEGIN)
    _, after = rest.split(END)
    write(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def write(path, content):
    """Writes text or bytes beside its place and renames it: a killed run leaves what was there."""
    with files.replacing(path) as beside:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
