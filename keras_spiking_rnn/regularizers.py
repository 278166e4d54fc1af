"""Regularisers of spike trains, for the `activity_regularizer` of a layer."""

import functools

import keras
import tensorflow as tf
from keras import ops

from keras_spiking_rnn import checks

NORMS = ("l1", "l2")
POPULATIONS = ("unit", "layer")


@functools.cache
def _keras_divides_by_the_batch_size():
    """Tells whether a layer divides the result of its `activity_regularizer` by the batch size."""
    with tf.init_scope():
        layer = keras.layers.Identity(activity_regularizer=lambda outputs: ops.ones(()))
        layer(ops.zeros((2, 1)))
        return float(layer.losses[0]) == 0.5


# `keras_spiking_rnn>FiringRate` is the metric.
@keras.saving.register_keras_serializable(package="keras_spiking_rnn", name="FiringRateRegularizer")
class FiringRate(keras.regularizers.Regularizer):
    r"""Penalty for units that fire too rarely, and for those that fire too often.

    With the outputs $s$ of unit $i$ in sequence $b$ of a batch of $B$ sequences, and the $T_b$
    steps of this sequence that are not masked, the rate of a unit is the mean of its outputs, and
    that of a layer of $N$ units the mean of theirs:

    $$r_{bi} = \frac{1}{T_b} \sum_t s_{bi}[t], \qquad \bar r_b = \frac{1}{N} \sum_i r_{bi}$$

    The penalty is

    $$\frac{\lambda_{lower}}{B N} \sum_{b,i} \max(0, \theta_{lower} - r_{bi})^p +
    \frac{\lambda_{upper}}{B} \sum_b \max(0, \bar r_b - \theta_{upper})^p,$$

    where $p$ is 1 or 2: a lower target for each unit, which keeps it from falling silent, and an
    upper one for the layer, which leaves open which units fire. Both can be for units or layers.

    `RLIF(..., activity_regularizer=FiringRate())` counts all steps, with `return_sequences=False`
    too, leaves out masked steps and never sees returned states; so do all recurrent spiking layers
    of this library. Sequences without steps do not count. Other layers must have outputs of shape
    `(batch, steps, ...)`: Keras passes nothing but the outputs, so that masked steps count as they
    are, and Keras 3.12 passes returned states too.

    The gradient is that of the spikes, the surrogate's. A unit whose membrane potential stays where
    the surrogate is 0 has none: the wider the surrogate, the more silent units can be revived.

    Rates of graded outputs are their mean values, and negative outputs lower them.

    Args:
        lower: $\theta_{lower}$, smallest rate without a penalty, spikes per step, from 0 to 1;
            0 for none.
        upper: $\theta_{upper}$, largest rate without a penalty, from 0 to 1, or `None` for none.
        lower_strength: $\lambda_{lower}$, at least 0.
        upper_strength: $\lambda_{upper}$, at least 0.
        lower_per: `"unit"` or `"layer"`, whose rate has the lower target.
        upper_per: `"unit"` or `"layer"`, whose rate has the upper target.
        norm: `"l1"` or `"l2"`: $p$ is 1 or 2.

    Call arguments:
        outputs: Tensor of shape `(batch, steps, ...)`.

    Returns:
        What a layer needs so that its loss is the penalty: the penalty itself, or, where Keras
        divides by the batch size (3.15 does, 3.12 does not), the penalty times the batch size. The
        method `penalty` returns the penalty.

    Raises:
        ValueError: If an argument is out of range, or the outputs have no steps.

    Reference:
        Cramer, Stradmann, Schemmel, Zenke, *The Heidelberg Spiking Data Sets for the Systematic
        Evaluation of Spiking Neural Networks* (2022), which has this penalty for $p = 2$ and spike
        counts in the upper part; Zenke, Vogels, *The Remarkable Robustness of Surrogate Gradient
        Learning for Instilling Complex Function in Spiking Neural Networks* (2021). The targets
        depend on the length of a step: the defaults are no paper's.
    """

    def __init__(
        self,
        lower=0.02,
        upper=0.1,
        lower_strength=1.0,
        upper_strength=1.0,
        lower_per="unit",
        upper_per="layer",
        norm="l2",
    ):
        self.lower = checks.number("FiringRate", "lower", lower, 0, 1)
        self.upper = None if upper is None else checks.number("FiringRate", "upper", upper, 0, 1)
        if self.upper is not None and self.upper < self.lower:
            raise ValueError(
                "FiringRate: `upper` must be at least `lower`, otherwise no rate is without a "
                f"penalty. Received: lower={lower}, upper={upper}"
            )
        self.lower_strength = checks.number("FiringRate", "lower_strength", lower_strength, 0)
        self.upper_strength = checks.number("FiringRate", "upper_strength", upper_strength, 0)
        self.lower_per = checks.one_of("FiringRate", "lower_per", lower_per, POPULATIONS)
        self.upper_per = checks.one_of("FiringRate", "upper_per", upper_per, POPULATIONS)
        self.norm = checks.one_of("FiringRate", "norm", norm, NORMS)
        _keras_divides_by_the_batch_size()

    def __call__(self, outputs):
        """Returns what a layer needs: see the class."""
        penalty = self.penalty(outputs, getattr(outputs, "_keras_mask", None))
        if _keras_divides_by_the_batch_size():
            penalty *= ops.cast(ops.shape(outputs)[0], penalty.dtype)
        return penalty

    def penalty(self, outputs, mask=None):
        """Returns the penalty of a batch, a scalar.

        Args:
            outputs: Tensor of shape `(batch, steps, ...)`.
            mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        """
        if len(outputs.shape) < 3:
            raise ValueError(
                "FiringRate needs outputs of shape (batch, steps, units). Received the shape "
                f"{tuple(outputs.shape)}. Give the layer return_sequences=True, and leave out "
                "return_state=True, with which keras.layers.RNN passes the states too; the "
                "recurrent layers of keras_spiking_rnn need neither."
            )
        outputs = ops.convert_to_tensor(outputs)
        dtype = keras.backend.standardize_dtype(outputs.dtype)
        outputs = ops.cast(outputs, "float64" if dtype == "float64" else "float32")
        valid = ops.ones(ops.shape(outputs)[:2], "bool") if mask is None else ops.cast(mask, "bool")
        steps = ops.sum(ops.cast(valid, outputs.dtype), axis=1)
        valid = ops.reshape(valid, (*ops.shape(valid), *[1] * (len(outputs.shape) - 2)))
        # `where` rather than a product: a masked step may hold anything, NaN included.
        totals = ops.sum(ops.where(valid, outputs, 0), axis=1)
        totals = ops.reshape(totals, (ops.shape(totals)[0], -1))
        rates = totals / ops.maximum(steps, 1)[:, None]

        missing = self.lower - self._of_population(rates, self.lower_per)
        penalties = self.lower_strength * self._mean_excess(missing)
        if self.upper is not None:
            excess = self._of_population(rates, self.upper_per) - self.upper
            penalties += self.upper_strength * self._mean_excess(excess)
        counted = ops.cast(steps > 0, outputs.dtype)
        return ops.sum(penalties * counted) / ops.maximum(ops.sum(counted), 1)

    @staticmethod
    def _of_population(rates, population):
        return rates if population == "unit" else ops.mean(rates, axis=1, keepdims=True)

    def _mean_excess(self, excess):
        excess = ops.relu(excess)
        return ops.mean(excess if self.norm == "l1" else ops.square(excess), axis=1)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "lower_strength": self.lower_strength,
            "upper_strength": self.upper_strength,
            "lower_per": self.lower_per,
            "upper_per": self.upper_per,
            "norm": self.norm,
        }
