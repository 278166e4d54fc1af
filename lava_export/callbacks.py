"""A callback for `fit` that looks ahead to the export."""

from __future__ import annotations

import numbers
import warnings

import keras

from lava_export import convert
from lava_export.checks import check
from lava_export.quantize import ConversionError


class CheckExport(keras.callbacks.Callback):
    """Checks that a model can be exported before it is trained, and what that would lose.

    When training begins, it raises or warns if `lava_export.check` finds a problem. With
    calibration data it exports the model after each `every` epochs, and adds to the logs for each
    spiking layer the part of its spikes that change in integers, with those of the layers before it
    in integers too: `NAME_changed_spikes`. In the other epochs these are NaN, so that the logs of
    all epochs have the same columns. Put it before callbacks that read the logs, such as
    `keras.callbacks.CSVLogger`. The model is left as it is.

    Args:
        calibration: A sample of what the model takes, as for `lava_export.export`; or None.
        every: Positive integer: exports after each epoch whose number is a multiple of it.
        on_problem: "raise" or "warn": what to do about a problem, at the beginning and after an
            epoch.
        leak_groups: As for `lava_export.export`.

    Raises:
        ConversionError: When training begins or after an epoch, if the model cannot be exported.
        ValueError: If an argument is out of range, or the calibration data does not fit the model.

    Example:
    ```python
    model.fit(x, y, epochs=10, callbacks=[lava_export.CheckExport(x[:128], every=2)])
    ```
    """

    def __init__(self, calibration=None, every=1, on_problem="raise", leak_groups=None):
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, numbers.Integral) or every < 1:
            raise ValueError(f"every must be a positive integer, got {every!r}.")
        if on_problem not in ("raise", "warn"):
            raise ValueError(f"on_problem must be 'raise' or 'warn', got {on_problem!r}.")
        convert.check_leak_groups(leak_groups)
        self.calibration = calibration
        self.every = int(every)
        self.on_problem = on_problem
        self.leak_groups = leak_groups
        self.columns = ()

    def on_train_begin(self, logs=None):
        """Checks the model."""
        report = check(self.model, leak_groups=self.leak_groups)
        self.columns = tuple(_column(layer) for layer in report.layers if layer.quantization)
        errors = report.errors
        if errors:
            numbered = "".join(f"\n{i}. {text}" for i, text in enumerate(errors, start=1))
            self._report(ConversionError(f"The model cannot be exported:{numbered}"))

    def on_epoch_end(self, epoch, logs=None):
        """Adds to the logs what export would change."""
        if self.calibration is None:
            return
        logs = {} if logs is None else logs
        logs.update(dict.fromkeys(self.columns, float("nan")))
        if (epoch + 1) % self.every:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", convert.QuantizationWarning)
                network = convert.export(self.model, self.calibration, self.leak_groups)
        except ConversionError as error:
            self._report(error)
            return
        for layer in network.quantization.layers:
            logs[_column(layer)] = layer.cumulative_mismatches / max(layer.float_spikes, 1)

    def _report(self, error):
        if self.on_problem == "raise":
            raise error
        warnings.warn(str(error), convert.QuantizationWarning, stacklevel=2)


def _column(layer):
    return f"{layer.name}_changed_spikes"
