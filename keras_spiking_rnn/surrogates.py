r"""Spike functions: an exact step forward, a surrogate of its derivative backward.

A spike is emitted where the membrane potential $V$ has reached the threshold $\theta$. With
$x = V - \theta$,

$$F = \begin{cases}1 & x \ge 0\\ 0 & x < 0\end{cases}$$

The derivative of a step is zero almost everywhere, so training replaces it, in the backward pass
only, by a function $f(x)$ that is not. The classes of this module differ in $f$ alone.

A surrogate of your own is a subclass of `Surrogate` that defines `derivative` and `get_config`.
"""

import math

import keras
import tensorflow as tf

from keras_spiking_rnn import checks


class Surrogate:
    """Base class of the spike functions.

    A subclass defines `derivative(x)` with TensorFlow operations, and `get_config()`. Two
    surrogates are equal if they are of one class and have equal configurations.

    Call arguments:
        x: Floating point tensor of any shape, the membrane potential minus the threshold.
        strict: Whether a spike needs `x > 0`, for models that fire above the threshold and not
            at it.
        slope_at: Tensor of the shape of `x` where to take the derivative, by default `x`.

    Returns:
        A tensor of the shape and dtype of `x`: 1 where `x >= 0`, otherwise 0 (and 0 where `x` is
        not a number). Its gradient with respect to `x` is `derivative(slope_at)`.
    """

    def __call__(self, x, strict=False, slope_at=None):
        """Returns the spikes: see the class."""
        x = tf.convert_to_tensor(x)
        slope_at = x if slope_at is None else tf.convert_to_tensor(slope_at)
        if not x.dtype.is_floating:
            raise TypeError(
                f"{type(self).__name__} needs a floating point tensor, because a spike has a "
                f"gradient; it received dtype {x.dtype.name}. Cast it, for example with "
                "keras.ops.cast(x, 'float32')."
            )

        @tf.custom_gradient
        def spike(x, slope_at):
            def gradient(upstream):
                return upstream * self.derivative(slope_at), None

            return tf.cast(x > 0 if strict else x >= 0, x.dtype), gradient

        return spike(x, slope_at)

    def derivative(self, x):
        """Returns the surrogate derivative $f(x)$, in the shape and dtype of `x`."""
        raise NotImplementedError(f"{type(self).__name__} does not define derivative(x).")

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {}

    @classmethod
    def from_config(cls, config):
        """Creates the surrogate that has the configuration `config`."""
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), tuple(sorted(self.get_config().items()))))

    def __repr__(self):
        arguments = ", ".join(f"{name}={value}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def _positive(surrogate, name, value):
    """Returns `value` as a float, or raises a `ValueError` that names the argument."""
    if checks.is_number(value, 0, open_low=True):
        return float(value)
    raise ValueError(
        f"{type(surrogate).__name__}: `{name}` must be a finite number greater than 0. "
        f"Received: {name}={value!r}"
    )


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class Rectangular(Surrogate):
    r"""Rectangle of height 1 on a closed interval (the RLIF paper's *broadgrad*).

    $$f(x) = \begin{cases}h & -a \le x \le a\\ 0 & \text{otherwise}\end{cases}$$

    The height of the RLIF paper is 1 for every $a$. Wu et al. have the same rectangle with unit
    area: `Rectangular(a, height=1 / (2 * a))`.

    Args:
        half_width: $a$, in units of the membrane potential. The paper gives no number.
        height: $h$.

    Reference:
        - *A spiking sequential model: Recurrent Leaky Integrate-and-Fire* (2020), section 3.2,
          equation (12).
        - Wu, Deng, Li, Zhu, Shi, *Spatio-Temporal Backpropagation for Training High-Performance
          Spiking Neural Networks* (2018).
    """

    def __init__(self, half_width=0.5, height=1.0):
        self.half_width = _positive(self, "half_width", half_width)
        self.height = _positive(self, "height", height)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        return self.height * tf.cast(tf.abs(x) <= self.half_width, x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"half_width": self.half_width, "height": self.height}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class Gaussian(Surrogate):
    r"""Gaussian bell.

    $$f(x) = h\,e^{-x^2/\alpha}, \qquad h = \frac{1}{\sqrt{\pi\alpha}}\ \text{by default}$$

    With the default height the area is 1 and $f$ is the density of a normal distribution of
    variance $\alpha/2$. *Long Short-Term Memory Spiking Networks* uses $\alpha = 4$ for its gates'
    first activation and $\alpha = 0.3$ for the second.

    Args:
        alpha: $\alpha$, twice the variance, in squared units of the membrane potential.
        height: $h$, or `None` for unit area.

    Reference:
        - Lotfi Rezaabad, Vishwanath, *Long Short-Term Memory Spiking Networks and Their
          Applications* (2020).
        - Wu, Deng, Li, Zhu, Shi, *Spatio-Temporal Backpropagation for Training High-Performance
          Spiking Neural Networks* (2018).
    """

    def __init__(self, alpha=0.5, height=None):
        self.alpha = _positive(self, "alpha", alpha)
        self.height = None if height is None else _positive(self, "height", height)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        height = 1.0 / math.sqrt(math.pi * self.alpha) if self.height is None else self.height
        return height * tf.exp(-tf.square(x) / self.alpha)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"alpha": self.alpha, "height": self.height}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class Triangular(Surrogate):
    r"""Triangle, also called piecewise linear.

    $$f(x) = h\,\max\left(0,\ 1 - \frac{|x|}{w}\right)$$

    It is 0 at $x = \pm w$ and beyond. Bellec et al. divide $V - \theta$ by the threshold and damp
    with $h = 0.3$.

    Args:
        half_width: $w$, in units of the membrane potential.
        height: $h$.

    Reference:
        - Esser et al., *Convolutional networks for fast, energy-efficient neuromorphic computing*
          (2016).
        - Bellec, Salaj, Subramoney, Legenstein, Maass, *Long short-term memory and
          learning-to-learn in networks of spiking neurons* (2018).
    """

    def __init__(self, half_width=1.0, height=1.0):
        self.half_width = _positive(self, "half_width", half_width)
        self.height = _positive(self, "height", height)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        return self.height * tf.maximum(1.0 - tf.abs(x) / self.half_width, 0.0)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"half_width": self.half_width, "height": self.height}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class ArcTan(Surrogate):
    r"""Derivative of an arc tangent.

    $$f(x) = \frac{\alpha/2}{1 + \left(\frac{\pi}{2}\alpha x\right)^2}
    = \frac{d}{dx}\,\frac{1}{\pi}\arctan\left(\frac{\pi}{2}\alpha x\right)$$

    Its area is 1 and its peak $\alpha/2$.

    Args:
        slope: $\alpha$, in inverse units of the membrane potential.

    Reference:
        Fang, Yu, Chen, Masquelier, Huang, Tian, *Incorporating Learnable Membrane Time Constant to
        Enhance Learning of Spiking Neural Networks* (2021).
    """

    def __init__(self, slope=2.0):
        self.slope = _positive(self, "slope", slope)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        return (self.slope / 2) / (1.0 + tf.square((math.pi / 2 * self.slope) * x))

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"slope": self.slope}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class FastSigmoid(Surrogate):
    r"""Derivative of a fast sigmoid (the surrogate of SuperSpike).

    $$f(x) = \frac{h}{(1 + s|x|)^2}$$

    Args:
        slope: $s$, in inverse units of the membrane potential.
        height: $h$.

    Reference:
        Zenke, Ganguli, *SuperSpike: Supervised Learning in Multilayer Spiking Neural Networks*
        (2018).
    """

    def __init__(self, slope=25.0, height=1.0):
        self.slope = _positive(self, "slope", slope)
        self.height = _positive(self, "height", height)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        return self.height / tf.square(1.0 + self.slope * tf.abs(x))

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"slope": self.slope, "height": self.height}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class Sigmoid(Surrogate):
    r"""Derivative of a logistic function.

    $$f(x) = s\,\sigma(sx)\,(1 - \sigma(sx)), \qquad \sigma(y) = \frac{1}{1 + e^{-y}}$$

    Its area is 1 and its peak $s/4$.

    Args:
        slope: $s$, in inverse units of the membrane potential.

    Reference:
        - Wu, Deng, Li, Zhu, Shi, *Spatio-Temporal Backpropagation for Training High-Performance
          Spiking Neural Networks* (2018).
        - Zenke, Vogels, *The Remarkable Robustness of Surrogate Gradient Learning for Instilling
          Complex Function in Spiking Neural Networks* (2021).
    """

    def __init__(self, slope=4.0):
        self.slope = _positive(self, "slope", slope)

    def derivative(self, x):
        """Returns $f(x)$."""
        x = tf.convert_to_tensor(x)
        return self.slope * tf.sigmoid(self.slope * x) * tf.sigmoid(-self.slope * x)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"slope": self.slope}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class StraightThrough(Surrogate):
    r"""Constant: the gradient passes the spike as if it were not there.

    $$f(x) = h$$

    Args:
        height: $h$.

    Reference:
        Bengio, Leonard, Courville, *Estimating or Propagating Gradients Through Stochastic Neurons
        for Conditional Computation* (2013).
    """

    def __init__(self, height=1.0):
        self.height = _positive(self, "height", height)

    def derivative(self, x):
        """Returns $f(x)$."""
        return self.height * tf.ones_like(x)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return {"height": self.height}


NAMES = {
    "rectangular": Rectangular,
    "gaussian": Gaussian,
    "triangular": Triangular,
    "arctan": ArcTan,
    "fast_sigmoid": FastSigmoid,
    "sigmoid": Sigmoid,
    "straight_through": StraightThrough,
}


def get(identifier):
    """Returns the surrogate that `identifier` stands for.

    Args:
        identifier: A name (a key of `surrogates.NAMES`), a `Surrogate`, the dictionary that
            `surrogates.serialize` returns, or `None` for `Rectangular()`.

    Returns:
        A `Surrogate`.

    Raises:
        ValueError: If the name is not known, or `identifier` is of another type.
    """
    if identifier is None:
        return Rectangular()
    if isinstance(identifier, str) and identifier in NAMES:
        return NAMES[identifier]()
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, Surrogate):
        return identifier
    raise ValueError(
        f"Unknown surrogate: {identifier!r}. Expected one of the names {', '.join(NAMES)}, or an "
        "instance of a subclass of keras_spiking_rnn.surrogates.Surrogate."
    )


def serialize(surrogate):
    """Returns a dictionary from which `surrogates.get` makes an equal surrogate."""
    return keras.saving.serialize_keras_object(surrogate)
