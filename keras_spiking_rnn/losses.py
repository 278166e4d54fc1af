"""Losses of classifiers whose outputs are spike trains, or membrane potentials, over time.

All of them take labels, or one-hot targets, and outputs of shape `(batch, steps, outputs)`. Masked
steps do not count: those of the mask that Keras attaches to the outputs, and those whose
`sample_weight` of shape `(batch, steps)` is 0. The loss of a sequence without other steps is 0.

A label must be one of the classes: another one is an error, and NaN where XLA compiles the step of
training, which has no errors.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_spiking_rnn import base, checks

READINGS = ("last", "max", "mean")


def population_sums(outputs, population):
    """Sums over the `population` outputs of each class; those of the first class come first."""
    if population == 1:
        return outputs
    shape = ops.shape(outputs)
    return ops.sum(ops.reshape(outputs, (*shape[:-1], -1, population)), axis=-1)


def reading(outputs, weights, kind):
    """The last, largest or mean value over time.

    Args:
        outputs: Tensor of shape `(batch, steps, outputs)`.
        weights: Tensor of shape `(batch, steps)`. Steps with weight 0 do not count, and the mean is
            weighted. Where no step counts the result is 0.
        kind: `"last"`, `"max"` or `"mean"`.

    Returns:
        Tensor of shape `(batch, outputs)`.
    """
    counts = weights > 0
    if kind == "mean":
        total = ops.sum(weights, axis=1)
        return weighted_sum(outputs, weights) / ops.where(total > 0, total, 1)[:, None]
    if kind == "last":
        steps = ops.cumsum(ops.cast(counts, "int32"), axis=1)
        is_last = counts & (steps == steps[:, -1:])
        return ops.sum(ops.where(is_last[:, :, None], outputs, 0), axis=1)
    largest = ops.max(ops.where(counts[:, :, None], outputs, -math.inf), axis=1)
    return ops.where(ops.any(counts, axis=1)[:, None], largest, 0)


def weighted_sum(values, weights):
    """Sum of `values` of shape `(batch, steps, outputs)` over the steps."""
    # `where` rather than a product alone: a masked step may hold anything, NaN included.
    kept = ops.where((weights > 0)[:, :, None], values, 0)
    return ops.sum(weights[:, :, None] * kept, axis=1)


def positive_population(owner, population):
    """`population` as an integer, if it is a positive one."""
    return checks.positive_integer(
        type(owner).__name__, "population", population, "the number of outputs for each class"
    )


def known_reading(owner, at):
    """`at`, if it is one of `READINGS`."""
    return checks.one_of(type(owner).__name__, "at", at, READINGS)


def known_targets(owner, y_true, outputs):
    """Checks targets, which are labels or one-hot.

    Args:
        owner: The loss or metric, to begin an error with; it has a `population`.
        y_true: Targets, one for each sequence.
        outputs: Tensor of shape `(batch, steps, outputs)`.

    Returns:
        A tuple of the labels, of shape `(batch,)`, or `None` for one-hot targets, and the number of
        classes.
    """
    classes = outputs.shape[-1] // owner.population
    if classes * owner.population != outputs.shape[-1]:
        raise ValueError(
            f"{type(owner).__name__}: the number of outputs must be a multiple of `population`. "
            f"Received {outputs.shape[-1]} outputs with population={owner.population}."
        )
    shape = tuple(y_true.shape)
    is_one_hot = len(shape) == 2 and shape[1] == classes and classes > 1
    if not (is_one_hot or len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise ValueError(
            f"{type(owner).__name__}: targets must be labels of shape (batch,), or one-hot, of "
            f"shape (batch, {classes}), the number of classes of these outputs. Received the shape "
            f"{shape}."
        )
    if None not in (shape[0], outputs.shape[0]) and shape[0] != outputs.shape[0]:
        raise ValueError(
            f"{type(owner).__name__}: there must be one target for each sequence. Received "
            f"{shape[0]} targets for {outputs.shape[0]} sequences."
        )
    if is_one_hot:
        return None, classes
    given = ops.reshape(y_true, (-1,))
    labels = ops.cast(given, "int64")
    # A label of 0.5 is no class, although it would be cast to one.
    labels = ops.where(ops.cast(labels, given.dtype) == given, labels, -1)
    message = (
        f"{type(owner).__name__}: labels must be from 0 to {classes - 1}, as there are {classes} "
        "classes. Count labels from 0, and give the last layer as many outputs, or `population` "
        "times as many, as there are classes."
    )
    if tf.executing_eagerly():
        values = np.asarray(labels)
        wrong = (values < 0) | (values >= classes)
        if wrong.any():
            raise ValueError(f"{message} Received the label {np.asarray(given)[wrong][0]}.")
    else:
        # XLA drops assertions.
        tf.debugging.Assert(ops.all((labels >= 0) & (labels < classes)), [message, given])
    return labels, classes


def one_hot_targets(owner, y_true, outputs):
    """Targets of shape `(batch, classes)`, from labels or one-hot targets; NaN of wrong labels."""
    labels, classes = known_targets(owner, y_true, outputs)
    if labels is None:
        return y_true
    targets = ops.one_hot(labels, classes, dtype=outputs.dtype)
    is_right = (labels >= 0) & (labels < classes)
    return ops.where(is_right[:, None], targets, math.nan)


def _agree(shape, other):
    """Whether two shapes, in which `None` is any size, can be the same."""
    return len(shape) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, other, strict=True)
    )


def step_weights(owner, outputs, sample_weight=None):
    """Splits weights into those of steps and those of sequences.

    Args:
        owner: The loss or metric, to begin an error with.
        outputs: Tensor of shape `(batch, steps, outputs)`, possibly with a mask attached.
        sample_weight: `None`, or a tensor of shape `(batch,)`, `(batch, 1)` or `(batch, steps)`.

    Returns:
        A tuple of the weights of the steps, of shape `(batch, steps)`, and those of the sequences,
        of shape `(batch,)` or `None`.
    """
    shape = tuple(np.shape(outputs)) if not hasattr(outputs, "shape") else tuple(outputs.shape)
    if len(shape) != 3:
        raise ValueError(
            f"{type(owner).__name__} needs outputs of shape (batch, steps, outputs). Received the "
            f"shape {shape}. Was return_sequences=True left out of the last layer?"
        )
    mask = getattr(outputs, "_keras_mask", None)
    steps = ops.ones(ops.shape(outputs)[:2], owner.dtype)
    if mask is not None:
        steps *= ops.cast(mask, owner.dtype)
    if sample_weight is None:
        return steps, None
    sample_weight = ops.convert_to_tensor(sample_weight, dtype=owner.dtype)
    given = tuple(sample_weight.shape)
    batch, length, _ = shape
    if not any(_agree(given, known) for known in [(), (batch,), (batch, 1), (batch, length)]):
        raise ValueError(
            f"{type(owner).__name__}: `sample_weight` must have shape (batch,), (batch, 1) or "
            f"(batch, steps), of outputs of shape {shape}. Received the shape {given}."
        )
    if len(given) == 2 and given[1] != 1:
        return steps * sample_weight, None
    return steps, ops.reshape(sample_weight, (-1,))


class LossOverTime(keras.losses.Loss):
    """Base of the losses.

    A subclass computes in `of_sequences`, with the arguments `targets`, one-hot, of shape
    `(batch, classes)`; `outputs` of shape `(batch, steps, outputs)`; and `weights` of shape
    `(batch, steps)`. It returns the losses of the sequences, of shape `(batch,)`.

    Args:
        population: Positive integer, number of outputs for each class. Those of the first class
            come first.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.
    """

    def __init__(self, population=1, reduction="sum_over_batch_size", name=None, dtype=None):
        dtype = keras.dtype_policies.get(dtype or keras.config.floatx()).compute_dtype
        dtype = "float32" if dtype in base.HALF else dtype
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.population = positive_population(self, population)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Computes the loss of a batch: see the class."""
        steps, sequences = step_weights(self, y_pred, sample_weight)
        # Keras' own loss would multiply the losses of sequences with the mask of steps.
        return super().__call__(y_true, (y_pred, steps), sample_weight=sequences)

    def call(self, y_true, y_pred):
        """Returns the losses of the sequences, of shape `(batch,)`; 0 for those without steps."""
        outputs, weights = y_pred
        targets = one_hot_targets(self, y_true, outputs)
        values = self.of_sequences(targets, outputs, weights)
        return ops.where(ops.any(weights > 0, axis=1), values, 0)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences: see the class."""
        raise NotImplementedError

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "population": self.population}


def crossentropy(targets, logits):
    """Cross-entropy of one-hot `targets` and `logits`, over the last axis."""
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class CountCrossentropy(LossOverTime):
    r"""Cross-entropy of spike counts: each spike is 1 more of its class's logit.

    $$L = -\log \frac{e^{n_y}}{\sum_c e^{n_c}}, \qquad n_c = \sum_t \sum_{i \in c} s_i[t]$$

    The sum over $i$ is that over the `population` outputs of a class. The longer the sequences, the
    larger the logits, and the sooner the loss is 0: for hundreds of steps `RateCrossentropy`, with
    a `scale` of your choice, is milder. It is `ce_count_loss` of snnTorch.

    Args:
        population: Positive integer, number of outputs for each class.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Spikes of shape `(batch, steps, classes * population)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(
        self, population=1, reduction="sum_over_batch_size", name="count_crossentropy", dtype=None
    ):
        super().__init__(population, reduction, name, dtype)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences."""
        counts = population_sums(weighted_sum(outputs, weights), self.population)
        return crossentropy(targets, counts)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class RateCrossentropy(LossOverTime):
    r"""Cross-entropy of firing rates: `scale` times the rate is the logit.

    $$L = -\log \frac{e^{k r_y}}{\sum_c e^{k r_c}},
    \qquad r_c = \frac{1}{P T} \sum_t \sum_{i \in c} s_i[t]$$

    with the `scale` $k$, the `population` $P$ and the number of steps $T$ that are not masked.
    Rates are from 0 to 1, so that with $k = 1$ the loss of 10 classes cannot be less than 1.46;
    the default lets it come down to 0.0004. snnTorch's `ce_rate_loss` is another loss:
    `StepCrossentropy`.

    Args:
        scale: $k$, above 0: difference of the logits of a class that fires at all steps and of one
            that never fires.
        population: Positive integer, number of outputs for each class.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Spikes of shape `(batch, steps, classes * population)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(
        self,
        scale=10.0,
        population=1,
        reduction="sum_over_batch_size",
        name="rate_crossentropy",
        dtype=None,
    ):
        super().__init__(population, reduction, name, dtype)
        if not checks.is_number(scale, 0, open_low=True):
            raise ValueError(
                "RateCrossentropy: `scale` must be a finite number above 0. Received: "
                f"scale={scale!r}"
            )
        self.scale = float(scale)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences."""
        rates = population_sums(reading(outputs, weights, "mean"), self.population)
        return crossentropy(targets, self.scale / self.population * rates)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class StepCrossentropy(LossOverTime):
    r"""Mean over the steps of the cross-entropy of each step's outputs.

    $$L = -\frac{1}{T} \sum_t \log \frac{e^{s_y[t]}}{\sum_c e^{s_c[t]}}$$

    It asks for the right answer at every step, of spikes, `ce_rate_loss` of snnTorch, or of
    membrane potentials. With `population` the outputs of a class are summed at each step.

    Args:
        population: Positive integer, number of outputs for each class.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Outputs of shape `(batch, steps, classes * population)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(
        self, population=1, reduction="sum_over_batch_size", name="step_crossentropy", dtype=None
    ):
        super().__init__(population, reduction, name, dtype)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences."""
        # Before the logarithm: a masked step may hold anything, and its gradient must be 0.
        outputs = ops.where((weights > 0)[:, :, None], outputs, 0)
        logits = population_sums(outputs, self.population)
        losses = crossentropy(targets[:, None], logits)
        return reading(losses[:, :, None], weights, "mean")[:, 0]


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class MembraneCrossentropy(LossOverTime):
    r"""Cross-entropy of membrane potentials: the last, the largest or the mean one is the logit.

    $$L = -\log \frac{e^{z_y}}{\sum_c e^{z_c}}, \qquad
    z_c = v_c[T], \quad \max_t v_c[t] \quad \text{or} \quad \frac{1}{T} \sum_t v_c[t]$$

    With `at="max"` it is `ce_max_membrane_loss` of snnTorch. Where the largest value occurs at
    several steps, they share its gradient. `MembraneReadout` makes such outputs.

    Args:
        at: `"last"`, `"max"` or `"mean"`.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Membrane potentials of shape `(batch, steps, classes)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`: of
            the last and the largest value only whether they are 0 matters.
    """

    def __init__(
        self,
        at="last",
        reduction="sum_over_batch_size",
        name="membrane_crossentropy",
        dtype=None,
    ):
        super().__init__(1, reduction, name, dtype)
        self.at = known_reading(self, at)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences."""
        return crossentropy(targets, reading(outputs, weights, self.at))

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        config = super().get_config()
        del config["population"]
        return {**config, "at": self.at}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class CountMeanSquaredError(LossOverTime):
    r"""Mean squared difference of spike counts and target counts, divided by the number of steps.

    $$L = \frac{1}{C T} \sum_c (n_c - P T \rho_c)^2, \qquad
    \rho_c = \begin{cases}\text{correct rate} & c = y\\
    \text{incorrect rate} & c \ne y\end{cases}$$

    with $n_c$ the spikes of the `population` $P$ of a class, and the number of steps $T$ that are
    not masked. A target above 0 for the wrong classes keeps their outputs alive. It is
    `mse_count_loss` of snnTorch, which rounds the target counts down to integers.

    Args:
        correct_rate: Target of the right class, spikes per step, from 0 to 1.
        incorrect_rate: Target of the other classes, spikes per step, from 0 to 1.
        population: Positive integer, number of outputs for each class.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
        dtype: Dtype of the computation; in half precision it is made in `float32`.

    Call arguments:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot, of shape `(batch, classes)`.
        y_pred: Spikes of shape `(batch, steps, classes * population)`.
        sample_weight: Weights of sequences, of shape `(batch,)`, or of steps, `(batch, steps)`.
    """

    def __init__(
        self,
        correct_rate=1.0,
        incorrect_rate=0.0,
        population=1,
        reduction="sum_over_batch_size",
        name="count_mean_squared_error",
        dtype=None,
    ):
        super().__init__(population, reduction, name, dtype)
        self.correct_rate = self._rate("correct_rate", correct_rate)
        self.incorrect_rate = self._rate("incorrect_rate", incorrect_rate)

    @staticmethod
    def _rate(name, value):
        if not checks.is_number(value, 0, 1):
            raise ValueError(
                f"CountMeanSquaredError: `{name}` must be from 0 to 1, spikes per step. Received: "
                f"{name}={value!r}"
            )
        return float(value)

    def of_sequences(self, targets, outputs, weights):
        """Returns the losses of the sequences."""
        counts = population_sums(weighted_sum(outputs, weights), self.population)
        steps = ops.sum(weights, axis=1)[:, None]
        rates = self.incorrect_rate + (self.correct_rate - self.incorrect_rate) * targets
        errors = ops.square(counts - self.population * steps * rates)
        return ops.mean(errors, axis=-1) / ops.where(steps > 0, steps, 1)[:, 0]

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {
            **super().get_config(),
            "correct_rate": self.correct_rate,
            "incorrect_rate": self.incorrect_rate,
        }
