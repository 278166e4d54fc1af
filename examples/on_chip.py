"""From a trained spiking network to the integers of the chip, on the simulator of Lava."""

import warnings
from pathlib import Path

import numpy as np

import lava_export


def deploy(model, calibration, x, y, fine_tune=None, lava_samples=100, report=None):
    """Trains a model on in integers, exports it, verifies it on Lava, and says what is left of it.

    The accuracies in floats and in integers are those of all samples, that of Lava of the first
    `lava_samples`, run on the processes of this library in batches. Spikes that the model draws at
    random are drawn three times: for the trained model and its integers, for the model that was
    trained on and its integers, and for Lava and what it is compared with. So the accuracies of
    different draws and samples differ by chance; `mismatches` is of one draw.

    Args:
        model: A trained `keras.Model` that `lava_export.export` takes.
        calibration: A sample of what the model takes, about 256 samples.
        x: Samples to test on, `(batch, ...)`.
        y: Their labels, `(batch,)`.
        fine_tune: Function that compiles and trains the model in integers which
            `lava_export.quantization_aware` gives; `None` exports the model as it is.
        lava_samples: How many samples run on Lava, at least 1.
        report: Path of the page about the parity of integers and Lava, which is replaced; its
            folder is made. `None` for no page.

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
        plain = lava_export.verify(model, network, x, y, modes=()).float_stage
        if fine_tune is not None:
            model = lava_export.quantization_aware(model, calibration)
            fine_tune(model)
            network = lava_export.export(model, calibration)
    tuned = (
        plain
        if fine_tune is None
        else lava_export.verify(model, network, x, y, modes=()).float_stage
    )
    on_lava = lava_export.verify(
        model, network, x[:lava_samples], y[:lava_samples], modes=("batched",)
    )
    if report is not None:
        report = Path(report)
        report.parent.mkdir(parents=True, exist_ok=True)
        on_lava.to_html(report, overwrite=True)
    (lava,) = on_lava.lava
    return {
        "samples": plain.samples,
        "lava_samples": lava.samples,
        "float": plain.float_accuracy,
        "exported": plain.integer_accuracy,
        "aware": None if fine_tune is None else tuned.float_accuracy,
        "integers": tuned.integer_accuracy,
        "lava": lava.accuracy,
        "mismatches": lava.spike_mismatches + lava.state_mismatches,
        "changed": sum(tuned.mismatches) / max(sum(tuned.float_spikes), 1),
        "spikes": float(np.sum([layer.spikes for layer in on_lava.resources.layers])),
        "report": None if report is None else report.name,
    }
