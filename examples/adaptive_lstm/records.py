"""What the experiments of this folder leave behind: one JSON file, and arrays for its figure.

A record is a dictionary, saved as `TASK-VARIANT.json`:

    task       one of TASKS
    variant    one of VARIANTS: with which numbers of equation (6) the networks were trained
    preset     "quick" or "paper"
    seed       an integer
    config     dictionary of all that the result depends on besides
    command    what was typed
    versions   dictionary from package to version; `save` adds it
    seconds    dictionary from a part of the run, as "training", to the seconds that it took
    networks   list with a dictionary for each network:
        converged     whether it met the criterion of the paper
        iterations    after how many trials (sequence prediction) or steps (T-maze), or None
        analog        the figure that the criterion looks at, of the network that is converted: the
                      error, or the mean total reward
        spiking       list with a dictionary for each seed of the spiking network, empty if the
                      network did not converge:
            correct   whether it solves the task
            measure   the figure that tells, as `analog`
            spikes    all spikes of a sequence or of an episode
            rate      spikes per second of the neurons that are active
    lava       the deterministic networks in integers, or None: dictionary
        networks, correct        how many were simulated on the reference, and how many were correct
        on_lava, lava_correct    how many of them on Lava too, and how many were correct
        mismatches               spikes and states that differ between Lava and the reference

What else is in it is shown by nobody. The arrays of one network, `TASK-VARIANT.npz`:

    analog_outputs   (steps, out)
    spiking_outputs  (samples, out), means of `sample` milliseconds
    analog_cec       (steps, units), after each step
    spiking_cec      (samples, units), at the end of each `sample` milliseconds
    labels           (out,) names of the outputs
    sample           milliseconds of a sample
    window           milliseconds of a step
"""

import argparse
import dataclasses
import importlib.metadata
import io
import json
import zipfile
from pathlib import Path

import numpy as np

import keras_spiking_rnn
from examples.experiment import write

RESULTS = Path(__file__).parent / "results"
TASKS = {
    "sequence": "Sequence prediction",
    "noisy-sequence": "Noisy sequence prediction",
    "t-maze": "T-maze",
    "noisy-t-maze": "Noisy T-maze",
}
VARIANTS = ("published", "refitted", "deterministic")
PACKAGES = ("keras", "tensorflow", "numpy")
ARRAYS = (
    "analog_outputs",
    "spiking_outputs",
    "analog_cec",
    "spiking_cec",
    "labels",
    "sample",
    "window",
)


def save(record, arrays=None, directory=RESULTS):
    """Writes a record, and the arrays of its figure if there are any: the path of the JSON file."""
    if record["task"] not in TASKS or record["variant"] not in VARIANTS:
        raise ValueError(
            f"`task` must be one of {', '.join(TASKS)}, and `variant` one of "
            f"{', '.join(VARIANTS)}. Received: {record['task']!r}, {record['variant']!r}"
        )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{record['task']}-{record['variant']}.json"
    of_figure = path.with_suffix(".npz")
    if arrays is None:
        of_figure.unlink(missing_ok=True)  # of a run before
    else:
        if set(arrays) != set(ARRAYS):
            raise ValueError(f"`arrays` must be {ARRAYS}. Received: {tuple(arrays)}")
        small = {
            name: np.asarray(value, "float32") if name.endswith(("outputs", "cec")) else value
            for name, value in arrays.items()
        }
        content = io.BytesIO()
        np.savez_compressed(content, **small)
        write(of_figure, content.getvalue())
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["keras_spiking_rnn"] = keras_spiking_rnn.__version__
    write(path, _text({**record, "versions": versions}))
    return path


def _text(record):
    """A record in JSON, a network a line."""
    networks = ",\n".join(f"  {json.dumps(_rounded(each))}" for each in record["networks"])
    rest = json.dumps({**record, "networks": []}, indent=1)
    return rest.replace('"networks": []', f'"networks": [\n{networks}\n ]') + "\n"


def _rounded(value):
    """Numbers to 6 digits, at any depth."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def lava(exported):
    """What `lava` is in a record.

    Args:
        exported: List with, for each network that was exported, whether it is correct on the
            reference and on Lava and how many spikes and states differ; `None` if it did not run
            on Lava.
    """
    if not exported:
        return None
    on_lava = [row for row in exported if row[1] is not None]
    return {
        "networks": len(exported),
        "correct": sum(row[0] for row in exported),
        "on_lava": len(on_lava),
        "lava_correct": sum(row[1] for row in on_lava),
        "mismatches": sum(row[2] for row in on_lava),
    }


def summary(record):
    """A line about a record."""
    networks = record["networks"]
    converged = [network for network in networks if network["converged"]]
    title = f"{record['task']}, {record['variant']}"
    if not converged:
        return f"{title}: no network converged."
    runs = [run for network in converged for run in network["spiking"]]
    correct = sum(all(run["correct"] for run in network["spiking"]) for network in converged)

    def mean(values, form):
        return format(np.mean(list(values)), form)

    return (
        f"{title}: {len(converged)} of {len(networks)} converged, after "
        f"{mean((network['iterations'] for network in converged), '.0f')} iterations; "
        f"{correct} correct with spikes, {mean((run['correct'] for run in runs), '.0%')} of the "
        f"runs; {mean((run['spikes'] for run in runs), '.0f')} spikes, "
        f"{mean((run['rate'] for run in runs), '.0f')} Hz; integers: {record['lava']}; "
        f"seconds: {record['seconds']}"
    )


def load(directory=RESULTS):
    """The records in a directory: dictionary from `(task, variant)`, in the order of the paper."""
    directory = Path(directory)
    paths = {
        (task, variant): directory / f"{task}-{variant}.json"
        for task in TASKS
        for variant in VARIANTS
    }
    found = {}
    for key, path in paths.items():
        if path.exists():
            try:
                found[key] = json.loads(path.read_text())
                found[key]["networks"][0]["converged"]
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(f"{path} is damaged, or no record of these tasks.") from error
    return found


def load_arrays(task, variant, directory=RESULTS):
    """The arrays of a record's figure."""
    with np.load(Path(directory) / f"{task}-{variant}.npz") as arrays:
        return dict(arrays)


def save_checkpoint(path, config, arrays):
    """Writes the arrays of a run with a configuration, a dataclass."""
    content = io.BytesIO()
    np.savez(content, config=_key(config), **arrays)
    write(path, content.getvalue())


def load_checkpoint(path, config):
    """Reads what `save_checkpoint` wrote.

    Raises:
        ValueError: If it is damaged, of something else, or of another configuration.
    """
    advice = "Remove it, or name another --output."
    try:
        with np.load(path) as arrays:
            arrays = dict(arrays)
        key = str(arrays.pop("config"))
    except (OSError, ValueError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged, or no checkpoint of this program. {advice}"
        ) from error
    if key != _key(config):
        raise ValueError(f"{path} is the checkpoint of a run with another configuration. {advice}")
    return arrays


def _key(config):
    """All that a run depends on, the activation too, which is fitted."""
    everything = {**dataclasses.asdict(config), "A": dataclasses.asdict(config.activation)}
    return json.dumps(everything, sort_keys=True)


def arguments(description, presets, tasks, typed=None):
    """What was typed: the arguments that both experiments have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--preset", choices=presets, default="paper")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="checkpoints; runs/adaptive_lstm/PRESET")
    parser.add_argument("--results", type=Path, help="records; the folder of the checkpoints")
    given = parser.parse_args(typed)
    if given.seed < 0:
        parser.error(f"--seed must be at least 0. Received: {given.seed}")
    given.output = given.output or Path("runs/adaptive_lstm") / given.preset
    given.results = given.results or given.output
    for folder in (given.output, given.results):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{folder} cannot be made: {error.strerror}. Name another folder.")
    return given


def command(program, given, task, variant):
    """The command that makes a record again."""
    return (
        f"python -m examples.adaptive_lstm.{program} --preset {given.preset} --tasks {task} "
        f"--variants {variant} --seed {given.seed}"
    )


def window_samples(response, sample):
    """Outputs and CECs of the first LSTM layer of a `NetworkResponse` of one sequence, thinned out.

    Args:
        response: What an `AdaptiveSpikingLSTM` returned for inputs `(steps, features)`.
        sample: Milliseconds of a sample, a divisor of the window.

    Returns:
        A dictionary of `spiking_outputs` and `spiking_cec`.
    """
    steps = round(sample * 1e-3 / response.dt)
    outputs = response.outputs.reshape(-1, steps, response.outputs.shape[-1]).mean(axis=1)
    cec = next(iter(response.cec.values()))[steps - 1 :: steps]
    return {"spiking_outputs": outputs, "spiking_cec": cec}
