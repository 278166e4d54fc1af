"""From a trained spiking network to the integers of the chip, on the simulator of Lava."""

import warnings
from pathlib import Path

import numpy as np

import lava_export
from examples import experiment


def require():
    """Raises before any training what `deploy` would raise after it, where a package is missing.

    Raises:
        ImportError: If Lava or Matplotlib cannot be imported; it says what to install.
    """
    import lava_export.lava  # noqa: F401  (says itself what is missing)

    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The page about a network on the chip has pictures, which need Matplotlib: "
            "pip install 'keras-spiking-rnn[viz]'"
        ) from error


def page_of(module, name, given, part=""):
    """Where the page about a network goes: beside the record that `experiment.record` writes.

    Args:
        module: The module in `examples`, such as `"src.chip"`.
        name: As for `experiment.record`.
        given: As for `experiment.record`.
        part: What tells the network from others of the same record.
    """
    page = f"{name}-{given.preset}-{given.seed}{'-' * bool(part)}{part}.html"
    return experiment.results(module, given) / page


def quantile_spikes(x, training, levels):
    """Spikes of analog features: each is as many as there are quantiles below it.

    Args:
        x: The features, `(n, steps, features)`.
        training: Those over whose first axis the quantiles are taken, `(m, steps, features)`, or
            `(m, features)` for all steps alike.
        levels: Number of quantiles.

    Returns:
        Zeros and ones `(n, steps, features * levels)`, float32.
    """
    quantiles = np.quantile(training, (np.arange(levels) + 1) / (levels + 1), axis=0)
    above = x[..., None] > np.moveaxis(quantiles, 0, -1)
    return above.reshape(*x.shape[:2], -1).astype("float32")


def deploy(model, calibration, x, y, fine_tune=None, lava_samples=100, report=None, measure=None):
    """Trains a model on in integers, exports it, verifies it on Lava, and says what is left of it.

    The accuracies in floats and in integers are those of all samples, that of Lava of the first
    `lava_samples`, run on the processes of this library in batches. Spikes that the model draws at
    random are drawn three times: for the trained model and its integers, for the model that was
    trained on and its integers, and for Lava and what it is compared with. So the accuracies of
    different draws and samples differ by chance; `mismatches` is of one draw. With `measure` they
    are drawn for each number.

    Args:
        model: A trained `keras.Model` that `lava_export.export` takes.
        calibration: A sample of what the model takes, about 256 samples.
        x: Samples to test on, `(batch, ...)`.
        y: Their labels, `(batch,)`, or what `measure` takes.
        fine_tune: Function that compiles and trains the model in integers which
            `lava_export.quantization_aware` gives; `None` exports the model as it is.
        lava_samples: How many samples run on Lava, at least 1; `None` for all.
        report: Path of the page about the parity of integers and Lava, which is replaced; its
            folder is made. `None` for no page.
        measure: Function of `(y, outputs)` whose number takes the place of all accuracies, such as
            an error; `outputs` are those of the model, `(batch, ...)`. `None` for the accuracy.

    Returns:
        A dictionary for the record of an experiment:

        - `samples`, `lava_samples`: how many were run;
        - `float`: accuracy of the trained model;
        - `exported`: accuracy of its integers without training on;
        - `aware`: accuracy of the model in integers after training on, in Keras, or `None`;
        - `integers`: accuracy of the integer network that runs on Lava;
        - `lava`: accuracy on Lava;
        - `mismatches`: spikes and final states that differ between Lava and the integers;
        - `changed`: spikes of the integers that are not those of Keras, relative to all of Keras;
        - `spikes`: spikes of all layers in one inference, mean of the samples on Lava;
        - `report`: name of the page, or `None`.

    Raises:
        lava_export.ConversionError: If the model has no counterpart on the chip, or cannot be
            trained in integers.
        lava_export.ParityError: If Lava and the integers differ anywhere.
        ValueError: If the samples do not fit the model.
    """
    with warnings.catch_warnings():
        # What is lost is measured here.
        warnings.simplefilter("ignore", UserWarning)
        network = lava_export.export(model, calibration)
        floats, exported, stage = _without_lava(model, network, x, y, measure)
        aware, integers = None, exported
        if fine_tune is not None:
            model = lava_export.quantization_aware(model, calibration)
            fine_tune(model)
            network = lava_export.export(model, calibration)
            aware, integers, stage = _without_lava(model, network, x, y, measure)
    x, y = x[:lava_samples], y[:lava_samples]
    on_lava = lava_export.verify(
        model, network, x, y if measure is None else None, modes=("batched",)
    )
    (lava,) = on_lava.lava
    found = lava.accuracy
    if measure is not None:
        fired = network.run(network.encode(x), backend="lava", mode="batched")
        found = measure(y, network.decode(fired))
    if report is not None:
        report = Path(report)
        report.parent.mkdir(parents=True, exist_ok=True)
        on_lava.to_html(report, overwrite=True)
    return {
        "samples": stage.samples,
        "lava_samples": lava.samples,
        "float": floats,
        "exported": exported,
        "aware": aware,
        "integers": integers,
        "lava": found,
        "mismatches": lava.spike_mismatches + lava.state_mismatches,
        "changed": sum(stage.mismatches) / max(sum(stage.float_spikes), 1),
        "spikes": float(np.sum([layer.spikes for layer in on_lava.resources.layers])),
        "report": None if report is None else report.name,
    }


def _without_lava(model, network, x, y, measure):
    """What is measured of a model and of its integers, and the `FloatStage` of `verify`."""
    labels = y if measure is None else None
    stage = lava_export.verify(model, network, x, labels, modes=()).float_stage
    if measure is None:
        return stage.float_accuracy, stage.integer_accuracy, stage
    outputs = model.predict(x, verbose=0), network.decode(network.run(network.encode(x)))
    return *(measure(y, each) for each in outputs), stage
