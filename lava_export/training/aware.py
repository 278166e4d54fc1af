"""From a trained model to one that computes in the integers of the chip."""

from __future__ import annotations

import keras

from lava_export import convert
from lava_export.quantize import ConversionError
from lava_export.training.gated_lif import QuantizedGatedLIFCell
from lava_export.training.layer import QuantizedCell, QuantizedRNN
from lava_export.training.lif import QuantizedLIFCell
from lava_export.training.rlif import QuantizedConvRLIF2DCell, QuantizedRLIFCell
from lava_export.training.spiking_lstm import QuantizedSpikingLSTMCell
from lava_export.training.src import QuantizedSRCCell

# The cells that can be trained in integers, and what takes their place.
QUANTIZED = {
    cell.original: cell
    for cell in (
        QuantizedRLIFCell,
        QuantizedConvRLIF2DCell,
        QuantizedSpikingLSTMCell,
        QuantizedLIFCell,
        QuantizedGatedLIFCell,
        QuantizedSRCCell,
    )
}


def quantization_aware(model, calibration=None):
    """A model with the same weights that computes in the integers of the chip.

    Its spiking layers compute, forward, what the integer network computes that `export` makes of
    it: weights, decays, biases, thresholds and states are the integers of the chip, with their
    rounding and their limits. Backward, gradients pass through each rounding as they are, and
    through spikes by the layer's surrogate, to float weights that the optimizer changes. So after
    some more training the network has learned with its integers, and `export` loses nothing more:
    its spikes are those of this model.

    The scale of each layer's weights is chosen here, by `export` on the calibration data, and
    stays. Noise and dropout of the spiking layers are left out. Compile the model before training
    it, with a small learning rate: it is fine-tuned.

    Args:
        model: A trained `keras.Model` that can be exported, with weights in float32. Under mixed
            precision its spiking layers compute in float32, which integers need.
        calibration: A sample of what the model takes, as for `export`, such as `x_train[:256]`. It
            has to be given: no other data tells how large states become.

    Returns:
        A `keras.Sequential` with the layers of `model`, in order, with its name and "_quantized".

    Raises:
        ConversionError: If the model cannot be exported, or a layer cannot be trained in integers.
        ValueError: If the calibration data is missing, or does not fit the model.
    """
    if not isinstance(model, keras.Model):
        raise ConversionError(
            f"Expected a Keras model, got {type(model).__name__}: only Keras layers can be trained."
        )
    if calibration is None:
        raise ValueError(
            "quantization_aware has no calibration data: pass calibration=x_train[:256]; the scale "
            "of each layer is chosen from it."
        )
    network = convert.export(model, calibration)
    description = convert.describe(model)
    quantized = iter(
        [
            _quantized(record, cell, before)
            for record, cell, before in zip(
                network.quantization.layers,
                description.cells,
                [None, *description.spiking[:-1]],
                strict=True,
            )
        ]
    )
    for layer in sum(description.folded, []):
        raise ConversionError(
            f"Layer '{layer.name}' ({type(layer).__name__}) would become part of the weights of "
            "the next one, which cannot be trained in integers: leave it out."
        )
    layers = []
    for layer in convert.chain(model):
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if not convert.is_spiking(layer):
            layers.append(_copy(layer))
            continue
        cells = [next(quantized) for _ in convert.cells(layer)]
        for cell in cells:
            last = cell is cells[-1]
            layers.append(
                QuantizedRNN(
                    cell,
                    return_sequences=layer.return_sequences or not last,
                    activity_regularizer=layer.activity_regularizer if last else None,
                    unroll=layer.unroll,
                    dtype="float32",
                    name=layer.name if len(cells) == 1 else cell.name,
                )
            )
    inputs = model.inputs[0]
    aware = keras.Sequential(
        [keras.Input(inputs.shape[1:], dtype=inputs.dtype), *layers], name=f"{model.name}_quantized"
    )
    _copy_weights(model, description, aware)
    return aware


def _quantized(record, cell, before):
    name, original = record.name, convert.cell_class(cell)
    if isinstance(cell, QuantizedCell):
        raise ConversionError(
            f"Layer '{name}' is already in integers: `quantization_aware` has made this model. "
            "Compile and train it, or begin again with the one in floats."
        )
    if original not in QUANTIZED:
        names = ", ".join(cls.__name__.removesuffix("Cell") for cls in QUANTIZED)
        raise ConversionError(
            f"Layer '{name}' ({type(cell).__name__}) cannot be trained in integers: that can be "
            f"done for {names}."
        )
    if cell.variable_dtype != "float32":
        raise ConversionError(
            f"Layer '{name}' has weights in {cell.variable_dtype}, but training in integers needs "
            "them in float32: build it with dtype='float32', or under a mixed policy."
        )
    if getattr(cell, "batch_normalization", False):
        raise ConversionError(
            f"Layer '{name}': batch normalisation becomes part of the weights at export and cannot "
            "be trained in integers: train without it."
        )
    quantized = QUANTIZED[original]
    settings = dict(record.settings)
    if "input_scale" in quantized.settings:
        settings["input_scale"] = before.output_scale if before else 1.0
    elif before and before.output_range != (0, 1):
        raise ConversionError(
            f"Layer '{name}' ({type(cell).__name__}) gets the graded outputs of '{before.name}': "
            "in integers it can only be trained behind a layer of spikes."
        )
    changes = {"dtype": "float32", "dropout": 0.0, "name": name.replace("/", "_")}
    config = {**cell.get_config(), **changes}
    for option, without in (("recurrent_dropout", 0.0), ("noise_stddev", 0.0)):
        if option in config:
            config[option] = without
    return quantized.from_config({**config, **settings})


def _copy(layer):
    return type(layer).from_config(layer.get_config())


def _copy_weights(model, description, aware):
    layers = [
        layer
        for layer in convert.chain(model)
        if not (isinstance(layer, keras.layers.InputLayer) or convert.is_spiking(layer))
    ]
    others = [layer for layer in aware.layers if not isinstance(layer, QuantizedRNN)]
    for source, target in zip(layers, others, strict=True):
        target.set_weights(source.get_weights())
    cells = [layer.cell for layer in aware.layers if isinstance(layer, QuantizedRNN)]
    for source, target in zip(description.cells, cells, strict=True):
        target.set_weights(source.get_weights())
