"""Callbacks for `fit`: what spiking layers do, for TensorBoard; checkpoints that survive."""

import contextlib
import importlib.util
import io
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import checks, files, metrics, plots

BINS = 30


@contextlib.contextmanager
def unchanged(model, stateful):
    """Puts what inference moves back: random generators, and the states of `stateful` layers."""
    # Keras does not count states among the variables of a layer.
    variables = keras.tree.flatten([layer.states for layer in stateful])
    variables += model.non_trainable_variables
    before = [(variable, tf.identity(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


class AtomicModelCheckpoint(keras.callbacks.ModelCheckpoint):
    """`keras.callbacks.ModelCheckpoint` whose files are written whole or not at all.

    Keras 3.12 writes over the file: a process that is killed meanwhile leaves neither the old model
    nor the new one. The arguments are the same.
    """

    _beside = None

    def _get_file_path(self, epoch, batch, logs):
        return self._beside or super()._get_file_path(epoch, batch, logs)

    def _save_model(self, epoch, batch, logs):
        final = Path(self._get_file_path(epoch, batch, logs))
        final.parent.mkdir(parents=True, exist_ok=True)
        suffix = ".part.weights.h5" if self.save_weights_only else f".part{final.suffix}"
        # Keras decides whether to save: without a file there is nothing to replace.
        with contextlib.suppress(FileNotFoundError), files.replacing(final, suffix) as beside:
            self._beside = str(beside)
            try:
                super()._save_model(epoch, batch, logs)
            finally:
                self._beside = None


class SpikingTensorBoard(keras.callbacks.Callback):
    """Writes what the spiking layers do with a batch of sequences, for TensorBoard.

    For each spiking layer, by name:

    - `firing_rate/NAME`, `dead_units/NAME`, `saturated_units/NAME`: scalars; the mean number of
      spikes per unit per step, the number of units that never fire, and that of units that fire at
      every step;
    - `unit_rates/NAME`: the histogram of the rates of the units;
    - `raster/NAME`: a picture of the spikes of the first sequence, if Matplotlib is installed.

    `metrics.firing_rates` says what a spiking layer is and what counts. The model is as before
    afterwards, down to the states of stateful layers and random generators; stateful layers begin
    with states of 0.

    `keras.callbacks.TensorBoard` may write to the same folder. Neither this callback nor its tests
    need the package `tensorboard`; the viewer is `tensorboard --logdir LOG_DIR`.

    Args:
        log_dir: Folder to write to; it is created.
        x: Inputs of the model, as `metrics.firing_rates` takes them: a small batch of the
            validation data.
        every: Positive integer: writes after each epoch whose number is a multiple of it.
        rasters: Whether to draw rasters. `None` draws them if Matplotlib is installed.
        max_units: Largest number of units in a raster, the first ones.
        initial: Whether to write before the first epoch too, as the step before it.

    Raises:
        ValueError: If an argument is out of range; when training begins, if the model has no
            spiking layer, or a stateful one whose batch size is not that of `x`.
        ImportError: If `rasters` is `True` and Matplotlib is not installed.

    Example:
    ```python
    board = SpikingTensorBoard("runs/logs", x_validation[:32])
    model.fit(x, y, epochs=10, callbacks=[board])
    ```
    """

    def __init__(self, log_dir, x, every=1, rasters=None, max_units=64, initial=True):
        super().__init__()
        self.every = checks.positive_integer("SpikingTensorBoard", "every", every)
        self.max_units = checks.positive_integer("SpikingTensorBoard", "max_units", max_units)
        has_matplotlib = importlib.util.find_spec("matplotlib") is not None
        if rasters and not has_matplotlib:
            raise ImportError(
                "SpikingTensorBoard: rasters need Matplotlib: pip install keras-spiking-rnn[viz], "
                "or leave them out with rasters=False."
            )
        self.log_dir = str(log_dir)
        self.x = x
        self.rasters = has_matplotlib if rasters is None else bool(rasters)
        self.initial = bool(initial)

    def on_train_begin(self, logs=None):
        """Looks for the spiking layers, and opens a file."""
        self._sequences = len(keras.tree.flatten(self.x)[0])
        self._layers = metrics.spiking_layers(self.model)
        self._stateful = [
            layer
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.RNN) and layer.stateful
        ]
        for layer in self._stateful:
            size = keras.tree.flatten(layer.states)[0].shape[0]
            if size != self._sequences:
                raise ValueError(
                    f"SpikingTensorBoard: the layer '{layer.name}' is stateful with batches of "
                    f"{size} sequences, and `x` has {self._sequences}. Give `x` as many."
                )
        self._run = metrics.spike_counter(self.model, self._layers, show=self.rasters)
        self._writer = tf.summary.create_file_writer(self.log_dir)
        self._is_first = True

    def on_epoch_begin(self, epoch, logs=None):
        """Writes what the spiking layers do before the first epoch."""
        if self.initial and self._is_first:
            self._write(epoch)
        self._is_first = False

    def on_epoch_end(self, epoch, logs=None):
        """Writes what the spiking layers do."""
        if (epoch + 1) % self.every == 0:
            self._write(epoch + 1)

    def on_train_end(self, logs=None):
        """Closes the file."""
        self._writer.close()

    def _write(self, step):
        with unchanged(self.model, self._stateful):
            for layer in self._stateful:
                layer.reset_state()
            (batch,) = metrics.batches(self.x, self._sequences)
            counted = keras.tree.map_structure(np.asarray, self._run(batch))
        values = []
        for name, counts in counted.items():
            rates = (counts["spikes"] / max(counts["steps"], 1)).ravel()
            scalars = {
                "firing_rate": rates.mean(),
                "dead_units": np.sum(rates == 0),
                "saturated_units": np.sum(rates == 1),
            }
            for tag, value in scalars.items():
                values.append({"tag": f"{tag}/{name}", "simple_value": float(value)})
            values.append({"tag": f"unit_rates/{name}", "histo": _histogram(rates)})
            if self.rasters:
                spikes = counts["shown"].reshape(len(counts["shown"]), -1)[:, : self.max_units]
                title = f"{name}, step {step}"
                values.append({"tag": f"raster/{name}", "image": _picture(spikes, title)})
        summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(**v) for v in values])
        # The functions of `tf.summary` for scalars, histograms and images need the package
        # tensorboard; writing the protocol buffers does not.
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)
        self._writer.flush()


def _histogram(rates):
    counts, edges = np.histogram(rates, bins=BINS, range=(0, 1))
    return tf.compat.v1.HistogramProto(
        min=rates.min(),
        max=rates.max(),
        num=rates.size,
        sum=rates.sum(),
        sum_squares=np.square(rates).sum(),
        bucket_limit=edges[1:],
        bucket=counts,
    )


def _picture(spikes, title):
    axes = plots.raster(spikes, title=title)
    file = io.BytesIO()
    axes.figure.savefig(file, dpi=100)
    width, height = axes.figure.canvas.get_width_height()
    return tf.compat.v1.Summary.Image(
        encoded_image_string=file.getvalue(), width=width, height=height, colorspace=4
    )
