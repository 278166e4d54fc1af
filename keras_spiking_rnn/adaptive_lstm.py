"""Adaptive neurons and LSTMs, analog and spiking, and the conversion between them.

An LSTM of analog neurons is trained, with an activation function that is the measured response of a
spiking neuron; afterwards each analog neuron is replaced by that spiking neuron.

Reference:
    *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018), section 2.
"""

import dataclasses
import functools
import math
import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import activations, constraints, initializers, ops, regularizers

from keras_spiking_rnn import checks
from keras_spiking_rnn.base import SpikingCell, SpikingRNN, arguments

CONDITIONS = ("threshold", "half_threshold")
ADAPTATIONS = ("absolute", "relative")
CEC_WEIGHTS = ("paper", "exact")
PLATEAU = 4.8

# Seconds that are meant, if they are more, to be milliseconds.
LONGEST_TAU = 1.0
LONGEST_DT = 0.1
LONGEST_WINDOW = 10.0


def aan(S, a=148.7, b=-10.16, c=3.256, d=-1.08):  # noqa: N803
    r"""Activation function of the Adaptive Analog Neuron (AAN), equation (6).

    $$ A(S) = \frac{1}{a\,e^{bS} + c\,e^{dS} + 1} $$

    It is computed as the logistic function of $-\log(a\,e^{bS} + c\,e^{dS})$: the same number, but
    the exponentials, which leave `float32` at $S = -8.2$ and would make gradients NaN, are not
    formed.

    Args:
        S: Input signal, a tensor of any shape.
        a: A number above 0.
        b: A number below 0.
        c: A number above 0.
        d: A number below 0.

    Returns:
        A tensor of the shape of `S`, of numbers between 0 and 1.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        equation (6), with the numbers below equation (7) as defaults.
    """
    return ops.sigmoid(-ops.logaddexp(math.log(a) + b * S, math.log(c) + d * S))  # (6)


def aan_derivative(S, a=148.7, b=-10.16, c=3.256, d=-1.08):  # noqa: N803
    r"""Derivative of the AAN's activation function, equation (7).

    $$ A'(S) = -\frac{a b\,e^{bS} + c d\,e^{dS}}{(a\,e^{bS} + c\,e^{dS} + 1)^2} $$

    The arguments are those of `aan`. With $E = a\,e^{bS} + c\,e^{dS}$ it is computed as
    $-(b\,\tfrac{a e^{bS}}{E} + d\,\tfrac{c e^{dS}}{E})\,A\,(1 - A)$, which does not overflow.

    Returns:
        A tensor of the shape of `S`.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        equation (7).
    """
    A = aan(S, a, b, c, d)
    first = ops.sigmoid(math.log(a) - math.log(c) + (b - d) * S)
    return -(b * first + d * (1 - first)) * A * (1 - A)  # (7)


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
@dataclasses.dataclass(frozen=True)
class AAN:
    """`aan` with its four numbers, as the `activation` of a layer.

    It serves `keras.layers.Dense(..., activation=AAN())`, which is a layer of AANs, as well as
    `AdaptiveAnalogLSTM`.

    Args:
        a: A number above 0.
        b: A number below 0.
        c: A number above 0.
        d: A number below 0.

    Raises:
        ValueError: If a number is not finite or has the wrong sign.
    """

    a: float = 148.7
    b: float = -10.16
    c: float = 3.256
    d: float = -1.08

    def __post_init__(self):
        for name, sign in (("a", 1), ("b", -1), ("c", 1), ("d", -1)):
            value = getattr(self, name)
            _check_number("AAN", name, value)
            if sign * value <= 0:
                raise ValueError(
                    f"AAN: `{name}` must be {'above' if sign > 0 else 'below'} 0, otherwise the "
                    f"activation does not rise from 0 to 1. Received: {name}={value!r}"
                )
            object.__setattr__(self, name, float(value))

    def __call__(self, S):  # noqa: N803
        """Computes equation (6)."""
        return aan(S, self.a, self.b, self.c, self.d)

    def derivative(self, S):  # noqa: N803
        """Computes equation (7)."""
        return aan_derivative(S, self.a, self.b, self.c, self.d)

    def get_config(self):
        """Returns the arguments of the constructor as a dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Creates the activation that has the configuration `config`."""
        return cls(**config)


def _check_number(title, name, value, low=-math.inf, open_low=False, infinite=False):
    if not (checks.is_number(value, low, open_low=open_low) or (infinite and value == math.inf)):
        limit = "" if low == -math.inf else f" {'above' if open_low else 'of at least'} {low:g}"
        kind = "a number" if infinite else "a finite number"
        raise ValueError(f"{title}: `{name}` must be {kind}{limit}. Received: {name}={value!r}")


def _check_seconds(title, name, value, longest):
    if longest < value < math.inf:
        raise ValueError(
            f"{title}: `{name}` is in seconds: 10 ms is 10e-3. It must be at most {longest:g} s. "
            f"Received: {name}={value!r}"
        )


def asn_step(I, state, neuron, uniform=None):  # noqa: E741, N803
    r"""One time step of Adaptive Spiking Neurons: equations (2) to (5), in the paper's symbols.

    The sums over earlier spikes in (3) and (4) decay from step to step, and a spike adds its term
    for the next step, since it counts from then on.

    Args:
        I: Postsynaptic current, equation (1), a tensor.
        state: A tuple `(S, S_hat, theta_dyn)` of tensors of the shape of `I`: the input signal of
            the previous step, and the sums of (4) and (3) at this step.
        neuron: An `AdaptiveSpikingNeuron`.
        uniform: Random numbers from [0, 1) of the shape of `I`; not used by a deterministic neuron.

    Returns:
        A tuple `(spikes, state, inside)`: booleans of the shape of `I`, the state to carry to the
        next step, and a dictionary of `signal` $S$, `estimate` $\hat S$, `threshold` $\vartheta$
        and `potential` $V$ at this step.
    """
    S, S_hat, theta_dyn = state
    d_phi, d_gamma, d_eta = map(neuron.decay, (neuron.tau_phi, neuron.tau_gamma, neuron.tau_eta))
    m_f = neuron.m_f / neuron.theta_0 if neuron.adaptation == "relative" else neuron.m_f
    S = (1 - d_phi) * I + d_phi * S  # (2)
    theta = neuron.theta_0 + theta_dyn  # (3)
    V = S - S_hat
    limit = theta / 2 if neuron.condition == "half_threshold" else theta
    if neuron.stochastic:
        lambda_ = neuron.lambda_0 * tf.exp((V - limit) / neuron.dV)  # (5)
        spikes = uniform < -tf.math.expm1(-lambda_ * neuron.dt / 1e-3)
    else:
        spikes = V > limit
    fired = tf.cast(spikes, theta.dtype)
    inside = {"signal": S, "estimate": S_hat, "threshold": theta, "potential": V}
    theta_dyn = (theta_dyn + m_f * theta * fired) * d_gamma  # (3)
    S_hat = (S_hat + theta * fired) * d_eta  # (4)
    return spikes, (S, S_hat, theta_dyn), inside


def _uniform(shape, seed, number):
    """The random numbers of one time step."""
    return tf.random.stateless_uniform(shape, tf.stack([seed, number]), alg="philox")


def _resting(shape):
    return (tf.zeros(shape),) * 3


@dataclasses.dataclass(frozen=True)
class AdaptiveSpikingNeuron:
    r"""The Adaptive Spiking Neuron (ASN): spikes code the input signal by sigma-delta coding.

    $$
    \begin{aligned}
    I(t) &= \sum_i \sum_{t_s^i} w_i \exp\frac{t_s^i - t}{\tau_\beta} & (1)\\
    S(t) &= (\phi * I)(t) & (2)\\
    \vartheta(t) &= \vartheta_0 + \sum_{t_s} m_f\,\vartheta(t_s) \exp\frac{t_s - t}{\tau_\gamma}
        & (3)\\
    \hat S(t) &= \sum_{t_s} \vartheta(t_s) \exp\frac{t_s - t}{\tau_\eta} & (4)\\
    \lambda(t) &= \lambda_0 \exp\frac{V(t) - \vartheta(t)}{\Delta V}, \quad V = S - \hat S & (5)
    \end{aligned}
    $$

    $\phi$ is an exponential filter with the time constant $\tau_\phi$. In a time step `dt` a spike
    falls with the probability $1 - \exp(-\lambda\,dt)$. Spikes are binary.

    All times are in seconds; $\lambda_0$ is per millisecond. Time constants may be infinite;
    otherwise they are at most 1 s, and `dt` at most 0.1 s, because more is milliseconds by mistake.

    Args:
        tau_eta: $\tau_\eta$, decay of $\hat S$.
        tau_beta: $\tau_\beta$, decay of the current that a spike causes in the next neuron.
        tau_gamma: $\tau_\gamma$, decay of the adaptation.
        tau_phi: $\tau_\phi$ of the filter $\phi$; 0 for no filter. The paper gives no number, 2.5
            ms is that of published code of the same group.
        theta_0: $\vartheta_0$, threshold at rest, above 0.
        m_f: $m_f$, speed of adaptation.
        lambda_0: $\lambda_0$, spikes per millisecond at threshold. The paper's 0.005 has no unit.
        dV: $\Delta V$, softness of the stochastic threshold, above 0.
        condition: `"threshold"` compares $V$ with $\vartheta$, as in (5), `"half_threshold"` with
            $\vartheta / 2$, as published code does.
        adaptation: `"absolute"` adds $m_f\,\vartheta$ at a spike, as in (3), `"relative"` adds
            $m_f\,\vartheta / \vartheta_0$, as older code does.
        stochastic: Whether spikes fall by chance; otherwise the neuron fires when $V$ is greater
            than the threshold.
        dt: Time step.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        equations (1) to (5).

    Example:
    ```python
    neuron = AdaptiveSpikingNeuron()
    response = neuron.simulate([0.5, 1.0, 2.0], duration=1.0)
    response.rates()  # spikes per second
    ```
    """

    tau_eta: float = 10e-3
    tau_beta: float = 10e-3
    tau_gamma: float = 10e-3
    tau_phi: float = 2.5e-3
    theta_0: float = 0.3
    m_f: float = 0.18
    lambda_0: float = 0.005
    dV: float = 0.1  # noqa: N815
    condition: str = "threshold"
    adaptation: str = "absolute"
    stochastic: bool = True
    dt: float = 1e-3

    def __post_init__(self):
        title = type(self).__name__
        for name in ("tau_eta", "tau_beta", "tau_gamma", "theta_0", "lambda_0", "dV", "dt"):
            infinite = name in ("tau_eta", "tau_beta", "tau_gamma")
            _check_number(title, name, getattr(self, name), 0, open_low=True, infinite=infinite)
        for name in ("tau_phi", "m_f"):
            _check_number(title, name, getattr(self, name), 0)
        for name in ("tau_eta", "tau_beta", "tau_gamma", "tau_phi"):
            _check_seconds(title, name, getattr(self, name), LONGEST_TAU)
        _check_seconds(title, "dt", self.dt, LONGEST_DT)
        checks.either(title, "condition", self.condition, CONDITIONS)
        checks.either(title, "adaptation", self.adaptation, ADAPTATIONS)

    def decay(self, tau):
        """The part of a trace with the time constant `tau` that is left after one time step."""
        return math.exp(-self.dt / tau) if tau > 0 else 0.0

    def simulate(self, current, duration=None, seed=0):
        """Simulates neurons that start at rest.

        Args:
            current: With `duration` the constant currents, an array of shape `(batch, ...)`;
                otherwise the currents of each time step, of shape `(batch, steps, ...)`.
            duration: Seconds to simulate.
            seed: Seed of the spikes, an integer.

        Returns:
            A `SpikingResponse`, with arrays of shape `(batch, steps, ...)`.

        Raises:
            ValueError: If the shape of `current` does not fit, it is not finite, or `duration` is
                too short.
        """
        current = np.asarray(current, "float32")
        if current.ndim < (1 if duration is not None else 2):
            raise ValueError(
                "AdaptiveSpikingNeuron.simulate: `current` must have shape (batch, ...) with a "
                "`duration`, or (batch, steps, ...) without. Received the shape "
                f"{current.shape} and duration={duration!r}"
            )
        if not np.isfinite(current).all():
            raise ValueError(
                "AdaptiveSpikingNeuron.simulate: `current` must be finite. Received NaN or an "
                "infinity."
            )
        if duration is None:
            current = np.moveaxis(current, 1, 0)
        else:
            steps = self._steps("AdaptiveSpikingNeuron.simulate", "duration", duration)
            current = np.broadcast_to(current, (steps, *current.shape))
        state = (_resting(current.shape[1:]), tf.zeros(current.shape[1:]))
        _, recorded = _simulation(self)(current, state, 0, seed)
        arrays = {name: np.moveaxis(value.numpy(), 0, 1) for name, value in recorded.items()}
        return SpikingResponse(dt=self.dt, **arrays)

    def _steps(self, title, name, seconds, longest=math.inf):
        _check_number(title, name, seconds, self.dt)
        _check_seconds(title, name, seconds, longest)
        return round(seconds / self.dt)

    def response(self, S=None, trials=64, windows=5, window=200e-3, seed=0):  # noqa: N803
        """Measures the mean output for constant input signals, as in Figure 1.

        The output is what the next neuron perceives: its postsynaptic current, averaged over a time
        window. The first window, in which the neuron adapts, is left out.

        Args:
            S: Input signals, a sequence of numbers; by default 49 from 0 to 4.8.
            trials: Simulations of each signal.
            windows: Time windows of each simulation that count.
            window: Length of a time window in seconds, at most 10.
            seed: Seed of the spikes.

        Returns:
            A `ResponseCurve`.

        Raises:
            ValueError: If the time window is shorter than a time step, or longer than 10 s.
        """
        S = np.linspace(0, PLATEAU, 49) if S is None else np.asarray(S, "float64")
        # The last column is the signal at which the output is 1.
        signals = np.append(S, PLATEAU)
        trials = trials if self.stochastic else 1
        title = "AdaptiveSpikingNeuron.response"
        steps = self._steps(title, "window", window, LONGEST_WINDOW)
        shape = (trials, len(signals))
        current = np.broadcast_to(signals.astype("float32"), (steps, *shape))
        state = (_resting(shape), tf.zeros(shape))
        outputs, rates = [], []
        for number in range(windows + 1):
            state, recorded = _simulation(self)(current, state, number * steps, seed)
            outputs.append(recorded["psc"].numpy().mean(axis=0))
            rates.append(recorded["spikes"].numpy().mean(axis=0) / self.dt)
        outputs, rates = (np.concatenate(values[1:]) for values in (outputs, rates))
        height = 1 / outputs[:, -1].mean()
        outputs, rates = height * outputs[:, :-1], rates[:, :-1]
        return ResponseCurve(
            S=S,
            signal=outputs.mean(axis=0),
            signal_std=outputs.std(axis=0),
            rate=rates.mean(axis=0),
            rate_std=rates.std(axis=0),
            spike_height=float(height),
        )


@dataclasses.dataclass(frozen=True)
class SpikingResponse:
    """What `AdaptiveSpikingNeuron.simulate` returns: arrays of shape `(batch, steps, ...)`.

    Attributes:
        spikes: Booleans.
        signal: Input signal S, equation (2).
        estimate: The signal that the spikes so far decode to, equation (4).
        threshold: Threshold, equation (3).
        potential: Membrane potential, the difference between signal and estimate.
        psc: Current that the spikes cause in the next neuron through a weight of 1, equation (1).
        dt: Time step in seconds.
    """

    spikes: np.ndarray
    signal: np.ndarray
    estimate: np.ndarray
    threshold: np.ndarray
    potential: np.ndarray
    psc: np.ndarray
    dt: float

    def spike_times(self, *index):
        """Seconds at which one neuron fires: `spike_times(2)` is of the neuron 2 of a batch."""
        train = self.spikes[(index[0], slice(None), *index[1:])]
        if train.ndim != 1:
            raise ValueError(
                f"spike_times: the index {index} must choose one neuron of the shape "
                f"{(len(self.spikes), *self.spikes.shape[2:])}."
            )
        return np.flatnonzero(train) * self.dt

    def rates(self, start=0.0):
        """Spikes per second of each neuron, from `start` seconds on."""
        return self.spikes[:, round(start / self.dt) :].mean(axis=1) / self.dt


@dataclasses.dataclass(frozen=True)
class ResponseCurve:
    """Mean output of a spiking neuron over its input signal: arrays of one number for each signal.

    Attributes:
        S: Input signals.
        signal: Mean output signal, normalised: 1 at an input signal of 4.8.
        signal_std: Its standard deviation from time window to time window.
        rate: Spikes per second.
        rate_std: Its standard deviation.
        spike_height: h, the height of a spike that makes the output at 4.8 equal to 1.
    """

    S: np.ndarray
    signal: np.ndarray
    signal_std: np.ndarray
    rate: np.ndarray
    rate_std: np.ndarray
    spike_height: float


def _recorded(step, state, steps):
    """Runs `state, shown = step(number, state)` and stacks what is shown.

    `tf.scan` would stack the states as well.
    """
    shown = step(tf.constant(0), state)[1]
    arrays = tf.nest.map_structure(
        lambda value: tf.TensorArray(value.dtype, size=steps, element_shape=value.shape), shown
    )

    def body(number, state, arrays):
        state, shown = step(number, state)
        arrays = tf.nest.map_structure(
            lambda array, value: array.write(number, value), arrays, shown
        )
        return number + 1, state, arrays

    _, state, arrays = tf.while_loop(lambda number, *_: number < steps, body, (0, state, arrays))
    return state, tf.nest.map_structure(lambda array: array.stack(), arrays)


@functools.cache
def _simulation(neuron):
    """The compiled loop over time of `neuron`, with currents of shape `(steps, ...)`."""

    @tf.function(jit_compile=True, autograph=False)
    def simulation(current, state, start, seed):
        def step(number, state):
            state, I = state  # noqa: E741
            uniform = None
            if neuron.stochastic:
                uniform = _uniform(current.shape[1:], seed, start + number)
            spikes, state, inside = asn_step(current[number], state, neuron, uniform)
            I = neuron.decay(neuron.tau_beta) * I + tf.cast(spikes, I.dtype)  # noqa: E741  (1)
            return (state, I), {"spikes": spikes, **inside, "psc": I}

        return _recorded(step, state, current.shape[0])

    return lambda current, state, start, seed: simulation(
        tf.convert_to_tensor(current, "float32"), state, tf.constant(start), tf.constant(seed)
    )


@functools.cache
def _curve(neuron):
    return neuron.response()


def fit_aan(neuron, curve=None):
    """Fits equation (6) to the response of a spiking neuron.

    The numbers of the paper are the defaults of `AAN`, but they do not fit the neuron of the
    paper's equations. Train with the numbers fitted to the neuron that the network is to be
    converted to.

    Args:
        neuron: An `AdaptiveSpikingNeuron`.
        curve: A `ResponseCurve` to fit; by default that of `neuron.response()`.

    Returns:
        An `AANFit`.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Activation function of the Adaptive Analog Neuron".
    """
    curve = _curve(neuron) if curve is None else curve
    S, target = curve.S, curve.signal

    # The logarithms of a and c are fitted, which keeps them above 0.
    def residual_and_jacobian(log_a, b, log_c, d):
        first, second = log_a + b * S, log_c + d * S
        A = 1 / (1 + np.exp(np.logaddexp(first, second)))
        share = 1 / (1 + np.exp(second - first))
        slope = -A * (1 - A)
        columns = [share, share * S, 1 - share, (1 - share) * S]
        return A - target, slope[:, None] * np.stack(columns, axis=1)

    # Levenberg and Marquardt's method.
    parameters = np.array([math.log(AAN.a), AAN.b, math.log(AAN.c), AAN.d])
    damping = 1e-3
    residual, jacobian = residual_and_jacobian(*parameters)
    for _ in range(200):
        normal = jacobian.T @ jacobian
        damped = normal + damping * np.diag(np.diag(normal))
        moved = parameters - np.linalg.solve(damped, jacobian.T @ residual)
        moved_residual, moved_jacobian = residual_and_jacobian(*moved)
        if moved_residual @ moved_residual < residual @ residual:
            parameters, residual, jacobian = moved, moved_residual, moved_jacobian
            damping = max(damping / 3, 1e-12)
        else:
            damping = min(damping * 4, 1e12)
    log_a, b, log_c, d = (float(parameter) for parameter in parameters)
    activation = AAN(math.exp(log_a), b, math.exp(log_c), d)
    return AANFit(activation, float(np.sqrt(np.mean(residual**2))), curve)


@dataclasses.dataclass(frozen=True)
class AANFit:
    """What `fit_aan` returns.

    Attributes:
        activation: The `AAN` that fits best.
        rmse: Root of the mean squared difference between it and the curve.
        curve: The `ResponseCurve` that it was fitted to.
    """

    activation: AAN
    rmse: float
    curve: ResponseCurve


def adaptive_analog_lstm_step(net_i, net_c, CEC, A, net_f=None, net_o=None, scale=1.0):  # noqa: N803
    """One time step of the Adaptive Analog LSTM.

    Args:
        net_i: Input of the input gate, `(batch, units)`.
        net_c: Input of the input cell, `(batch, units)`.
        CEC: Constant Error Carousel of the previous step, `(batch, units)`.
        A: Activation function, such as an `AAN`.
        net_f: Input of a forget gate, or `None`.
        net_o: Input of an output gate, or `None`.
        scale: Factor of the output cell.

    Returns:
        A tuple `(y, CEC, inside)`: the output, the CEC to carry to the next step, and a dictionary
        of the activations of the gates and of the input cell.
    """
    z = A(net_c)  # Input cell
    g = A(net_i)  # Input gate
    inside = {"input_cell": z, "input_gate": g}
    if net_f is not None:
        inside["forget_gate"] = f = A(net_f)
        CEC = f * CEC  # Forget gate: "modulating the decaying factor of the CEC"
    CEC = CEC + z * g  # CEC
    y = scale * A(CEC)  # Output cell
    if net_o is not None:
        inside["output_gate"] = o = A(net_o)
        y = o * y  # Output gate: "a modulation of the synaptic strength"
    return y, CEC, inside


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class AdaptiveAnalogLSTMCell(SpikingCell):
    r"""One time step of a layer of Adaptive Analog LSTMs.

    With the inputs $x^t$, the activation function $A$ of equation (6) and the Constant Error
    Carousel $CEC^{t-1}$ of the previous step,

    $$
    \begin{aligned}
    z^t &= A(W_{xc}\,x^t) && \text{input cell}\\
    g^t &= A(W_{xi}\,x^t) && \text{input gate}\\
    CEC^t &= CEC^{t-1} + z^t g^t\\
    y^t &= A(CEC^t) && \text{output cell}
    \end{aligned}
    $$

    $y^t$, a number between 0 and 1, is the output and the CEC the only state; $CEC^0 = 0$. Units
    are not connected to each other. With a forget gate $f^t = A(W_{xf}\,x^t + b_f)$ the CEC is
    $f^t\,CEC^{t-1} + z^t g^t$, with an output gate $o^t = A(W_{xo}\,x^t)$ the output is
    $o^t A(CEC^t)$: the paper's discussion proposes both and uses neither.

    The CEC never falls without a forget gate, as $z$ and $g$ are positive. The layer does not
    spike: `convert` turns it into one that does.

    Args:
        units: Positive integer, number of LSTMs.
        activation: $A$, by default `AAN()`, with the paper's numbers.
        use_bias: Whether gates and input cell have a bias. The paper has weights only.
        forget_gate: Whether there is a forget gate. It needs `use_bias`, since $A(0)$ is nearly 0
            and a gate without bias would forget everything.
        output_gate: Whether there is an output gate.
        normalize_at: CEC at which the output cell's output is 1: $y^t = A(CEC^t) / A(s)$. The paper
            normalises at 1 in its T-maze; `None` for $y^t = A(CEC^t)$.
        kernel_initializer: Initializer of `kernel`, of shape `(in, gates * units)`: $W_{xi}$, that
            of the forget gate if there is one, $W_{xc}$, that of the output gate if there is one.
        bias_initializer: Initializer of `bias`, in the same order.
        forget_bias: Number that is added to the initial bias of the forget gate. The default is the
            signal at which a spiking neuron's output is 1: nothing is forgotten at first.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1. The same
            inputs are dropped in all steps of a sequence.
        seed: Seed of the dropout.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Tensor of shape `(batch, in)`.
        states: List of one tensor of shape `(batch, units)`, $CEC^{t-1}$.
        training: Whether to apply dropout.

    Returns:
        A tuple `(outputs, [CEC])` of tensors of shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Adaptive Spiking LSTM", and Figure 2.
    """

    emits_spikes = False
    has_membrane = False

    def __init__(
        self,
        units,
        activation=None,
        use_bias=False,
        forget_gate=False,
        output_gate=False,
        normalize_at=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        forget_bias=PLATEAU,
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(units, dropout=dropout, seed=seed, **kwargs)
        self.activation = AAN() if activation is None else activations.get(activation)
        self.use_bias = bool(use_bias)
        self.forget_gate = bool(forget_gate)
        self.output_gate = bool(output_gate)
        if self.forget_gate and not self.use_bias:
            raise ValueError(
                f"{self.title}: `forget_gate=True` needs `use_bias=True`. Without a bias the gate "
                "is closed for inputs of 0, and the CEC forgets everything at each step."
            )
        self.normalize_at, self.output_scale = None, 1.0
        if normalize_at is not None:
            self.normalize_at = self.number("normalize_at", normalize_at, low=0, open_low=True)
            self.output_scale = 1 / float(self.activation(np.float64(self.normalize_at)))
        self.forget_bias = self.number("forget_bias", forget_bias)

        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    @property
    def gates(self):
        """Names of the parts of `kernel` and `bias`, in their order."""
        forget = ("forget_gate",) if self.forget_gate else ()
        output = ("output_gate",) if self.output_gate else ()
        return ("input_gate", *forget, "input_cell", *output)

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, in)`."""
        width = len(self.gates) * self.units
        self.kernel = self.named_weight("kernel", (self.input_size(input_shape), width))
        self.bias = self.named_weight("bias", (width,)) if self.use_bias else None
        if self.forget_gate:
            raised = np.zeros(width, "float32")
            raised[self.units : 2 * self.units] = self.forget_bias
            self.bias.assign_add(raised)
        self.built = True

    def advance(self, net, states, parameters, training=False):
        """Computes one time step: see `SpikingCell.advance`."""
        nets = dict(zip(self.gates, ops.split(net, len(self.gates), axis=-1), strict=True))
        y, CEC, inside = adaptive_analog_lstm_step(
            net_i=nets["input_gate"],
            net_c=nets["input_cell"],
            CEC=states[0],
            A=self.activation,
            net_f=nets.get("forget_gate"),
            net_o=nets.get("output_gate"),
            scale=self.output_scale,
        )
        return y, [CEC], {**inside, "cec": CEC}


@keras.saving.register_keras_serializable(package="keras_spiking_rnn")
class AdaptiveAnalogLSTM(SpikingRNN):
    r"""A layer of Adaptive Analog LSTMs over a sequence. The equations are in its cell's docs.

    Args:
        units: Positive integer, number of LSTMs.
        activation: Activation function, by default `AAN()`.
        use_bias: Whether gates and input cell have a bias.
        forget_gate: Whether there is a forget gate; it needs `use_bias`.
        output_gate: Whether there is an output gate.
        normalize_at: CEC at which the output cell's output is 1, or `None`.
        kernel_initializer: Initializer of `kernel`, the input weights.
        bias_initializer: Initializer of `bias`.
        forget_bias: Number that is added to the initial bias of the forget gate.
        kernel_regularizer: Regularizer of `kernel`.
        bias_regularizer: Regularizer of `bias`.
        activity_regularizer: Regularizer of the outputs, and with `return_state` of the returned
            states too. Keras 3.12 does not divide it by the batch size, newer versions do.
        kernel_constraint: Constraint of `kernel`.
        bias_constraint: Constraint of `bias`.
        dropout: Fraction of the inputs to drop in training, at least 0 and below 1.
        seed: Seed of the dropout.
        return_sequences: Whether to return the outputs of all steps or of the last one.
        return_state: Whether to return the last CEC as well.
        go_backwards: Whether to process the sequence backwards and return it reversed.
        stateful: Whether a batch continues with the CEC that the previous batch ended with.
        unroll: Whether to unroll the loop: faster for short sequences, needs more memory.
        zero_output_for_mask: Whether the output is 0 at masked steps.
        checkpoint_every: Number of steps, or `None`. In training only the states of every so many
            steps are kept for the gradient, and the steps between are computed once more. The
            memory then grows with the square root of the number of steps, if this is near it and
            the layer does not return sequences. It has no effect on the numbers, and none at all
            where the loop is that of Keras.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, in)`.
        initial_state: List of one tensor of shape `(batch, units)`, the CEC to begin with; by
            default 0.
        mask: Boolean tensor of shape `(batch, steps)`; `False` leaves a step out.
        training: Whether to apply dropout.

    Returns:
        Outputs of shape `(batch, steps, units)` with `return_sequences` and otherwise
        `(batch, units)`. With `return_state` a tuple `(outputs, CEC)`, where `CEC` has shape
        `(batch, units)`.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Adaptive Spiking LSTM", and Figure 2.

    Example:
    ```python
    layer = AdaptiveAnalogLSTM(8, return_sequences=True)
    outputs = layer(keras.random.uniform((2, 10, 4)))  # (2, 10, 8), between 0 and 1
    ```
    """

    cell_class = AdaptiveAnalogLSTMCell

    def __init__(
        self,
        units,
        activation=None,
        use_bias=False,
        forget_gate=False,
        output_gate=False,
        normalize_at=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        forget_bias=PLATEAU,
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=True,
        checkpoint_every=None,
        **kwargs,
    ):
        super().__init__(**arguments(locals()))


def adaptive_spiking_lstm_step(currents, state, neuron, h, h_out, W_CEC, uniform, window):  # noqa: N803
    """One time step `neuron.dt`, a millisecond, of the Adaptive Spiking LSTM.

    Args:
        currents: Dictionary of the currents of `"input_gate"`, `"input_cell"` and the gates that
            the LSTM has besides, of shape `(batch, units)`.
        state: Dictionary as `LSTMPart.initial_state` makes it.
        neuron: The `AdaptiveSpikingNeuron` that all of its neurons are.
        h: Height of a spike.
        h_out: Height of a spike of the output cell.
        W_CEC: Weight of the CEC.
        uniform: Function from the name of a population to its random numbers.
        window: Time steps of a time window.

    Returns:
        A tuple `(output, state, spikes)`: the output cell's current in the next neuron through a
        weight of 1, the state to carry to the next step, and a dictionary of the spikes of each
        population of neurons.
    """
    d_beta, d_phi = neuron.decay(neuron.tau_beta), neuron.decay(neuron.tau_phi)
    state, spikes = dict(state), {}

    def fire(name, current):
        spikes[name], state[name], _ = asn_step(current, state[name], neuron, uniform(name))
        return tf.cast(spikes[name], current.dtype)

    def modulator(name):
        """S of the ASN* that accumulates the spikes of a gate."""
        I, S = state[f"{name}*"]  # noqa: E741
        I = d_beta * I + h * fire(name, currents[name])  # noqa: E741  (1)
        S = (1 - d_phi) * I + d_phi * S  # (2)
        state[f"{name}*"] = I, S
        return S

    CEC = state["cec"]
    if "forget_gate" in currents:
        f = tf.clip_by_value(modulator("forget_gate"), 1e-3, 1.0)
        CEC = f ** (1 / window) * CEC
    g = modulator("input_gate")
    CEC = CEC + W_CEC * h * g * fire("input_cell", currents["input_cell"])  # (1), tau_beta infinite
    strength = modulator("output_gate") if "output_gate" in currents else 1.0
    I_out = d_beta * state["output"] + strength * h_out * fire("output_cell", CEC)  # (1)
    state.update(cec=CEC, output=I_out)
    return I_out, state, spikes


@dataclasses.dataclass(frozen=True)
class LSTMPart:
    """The neurons that an `AdaptiveAnalogLSTM` becomes: a part of an `AdaptiveSpikingLSTM`.

    Args:
        units: Number of LSTMs.
        gates: Names of the parts of the weights.
        neuron: The `AdaptiveSpikingNeuron` that all neurons are.
        spike_height: h.
        output_height: h of the output cell.
        cec_weight: Weight of the CEC.
        window: Time steps of a time window.
    """

    units: int
    gates: tuple
    neuron: AdaptiveSpikingNeuron
    spike_height: float
    output_height: float
    cec_weight: float
    window: int

    @property
    def populations(self):
        """Number of neurons of each population."""
        return dict.fromkeys((*self.gates, "output_cell"), self.units)

    def initial_state(self, batch):
        """The state at rest: of each population, of the ASN* of each gate, the CEC, the output."""
        shape = (batch, self.units)
        state = {name: _resting(shape) for name in self.populations}
        for gate in self.gates:
            if gate != "input_cell":
                state[f"{gate}*"] = (tf.zeros(shape),) * 2
        return {**state, "cec": tf.zeros(shape), "output": tf.zeros(shape)}

    def step(self, inputs, kernel, bias, state, uniform):
        """Computes one time step: `(output, state, spikes)`."""
        net = inputs @ kernel + bias
        return adaptive_spiking_lstm_step(
            dict(zip(self.gates, tf.split(net, len(self.gates), axis=-1), strict=True)),
            state,
            self.neuron,
            self.spike_height,
            self.output_height,
            self.cec_weight,
            uniform,
            self.window,
        )


@dataclasses.dataclass(frozen=True)
class DensePart:
    """The neurons that a `Dense` layer of AANs becomes: a part of an `AdaptiveSpikingLSTM`.

    A layer without activation has no neurons: it only adds up currents.

    Args:
        units: Number of neurons.
        neuron: The `AdaptiveSpikingNeuron` that all neurons are, or `None` for no neurons.
        spike_height: h.
    """

    units: int
    neuron: AdaptiveSpikingNeuron
    spike_height: float

    @property
    def populations(self):
        """Number of neurons of each population."""
        return {} if self.neuron is None else {"neurons": self.units}

    def initial_state(self, batch):
        """The state at rest."""
        if self.neuron is None:
            return {}
        shape = (batch, self.units)
        return {"neurons": _resting(shape), "output": tf.zeros(shape)}

    def step(self, inputs, kernel, bias, state, uniform):
        """Computes one time step: `(output, state, spikes)`."""
        I = inputs @ kernel + bias  # noqa: E741  (1)
        if self.neuron is None:
            return I, state, {}
        spikes, neurons, _ = asn_step(I, state["neurons"], self.neuron, uniform("neurons"))
        fired = tf.cast(spikes, I.dtype)
        output = self.neuron.decay(self.neuron.tau_beta) * state["output"]
        output = output + self.spike_height * fired  # (1)
        return output, {"neurons": neurons, "output": output}, {"neurons": spikes}


@dataclasses.dataclass(frozen=True)
class JoinPart:
    """Inputs side by side, or their sum: a part of an `AdaptiveSpikingLSTM` without neurons.

    Args:
        how: `"concatenate"` or `"add"`.
    """

    how: str
    populations = {}

    def initial_state(self, batch):
        """Nothing."""
        return {}

    def step(self, inputs):
        """Joins a list of inputs: `(output, state, spikes)`."""
        output = tf.concat(inputs, axis=-1) if self.how == "concatenate" else tf.add_n(inputs)
        return output, {}, {}


@functools.cache
def _network_simulation(parts, neuron, window):
    """The compiled loop over time of a network, shared by all networks of the same parts."""
    sizes = [size for part, _ in parts for size in part.populations.values()]

    def simulation(inputs, weights, states, start, seed):
        batch = inputs.shape[0]

        def step(number, states):
            uniform = [None] * len(sizes)
            if neuron.stochastic:
                drawn = _uniform((batch, sum(sizes)), seed, start + number)
                uniform = tf.split(drawn, sizes, axis=-1) if sizes else []
            uniform = iter(uniform)
            outputs, new_states, cec, spikes = [], [], [], []
            for (part, sources), state, weight in zip(parts, states, weights, strict=True):
                values = [
                    inputs[:, number // window] if source < 0 else outputs[source]
                    for source in sources
                ]
                if isinstance(part, JoinPart):
                    output, state, fired = part.step(values)
                else:
                    of_population = {name: next(uniform) for name in part.populations}
                    output, state, fired = part.step(
                        *values, *weight, state, of_population.__getitem__
                    )
                outputs.append(output)
                new_states.append(state)
                cec.append({"cec": state["cec"]} if "cec" in state else {})
                spikes.append(fired)
            return new_states, (outputs[-1], cec, spikes)

        return _recorded(step, states, inputs.shape[1] * window)

    return tf.function(simulation, jit_compile=True, autograph=False)


class AdaptiveSpikingLSTM:
    r"""A network of Adaptive Spiking LSTMs and neurons, made by `convert`.

    Each step of the analog network is a time window $\Delta t$ in which its input is held. Analog
    inputs are currents. Between neurons there are only spikes, all of the same height: a neuron's
    current, equation (1), is the sum of its weights, scaled by the height of a spike $h$, over the
    spikes that arrive, and decays with $\tau_\beta$.

    - The spikes of an input gate add up in an intermediate neuron, ASN*, whose input signal $S$
      multiplies the spikes that go from the input cell to the output cell.
    - The CEC is the current of the output cell, which has an infinite $\tau_\beta$: a spike adds
      $W_{CEC}\,h\,S$, with $W_{CEC} = \tau_\eta / \Delta t$.
    - With a forget gate the CEC decays, in a time window by the factor that is the ASN*'s signal.
      With an output gate the ASN*'s signal multiplies the spikes of the output cell.

    The first call for each shape of the inputs compiles the network, which takes seconds; networks
    of the same layers share what is compiled.

    Args:
        parts: Tuple of tuples `(part, sources)` in the order of computation: an `LSTMPart`, a
            `DensePart` or a `JoinPart`, and the positions of the parts whose outputs are its
            inputs, -1 for the network's.
        names: Names of the parts.
        weights: For each part a tuple of its kernel and bias, or `()`.
        neuron: The `AdaptiveSpikingNeuron` of the network.
        window: Time steps of a time window.
        features: Number of inputs.

    Call arguments:
        inputs: Array of shape `(batch, steps, features)`, or `(steps, features)` for one sequence.
        seed: Seed of the spikes.
        state: The `NetworkState` to continue from, for inputs that are known only one after the
            other; by default the network is at rest.

    Returns:
        A `NetworkResponse`. Its attribute `state` is what to continue from: calls for parts of a
        sequence, each with the state of the one before and the same seed, give what one call for
        all of it gives.

    Raises:
        ValueError: If the shape of the inputs does not fit, or the state is not of this network.

    Reference:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Adaptive Spiking LSTM", and Figure 2.
    """

    def __init__(self, parts, names, weights, neuron, window, features):
        self.parts = parts
        self.names = names
        self.weights = weights
        self.neuron = neuron
        self.window = window
        self.features = features

    def __call__(self, inputs, seed=0, state=None):
        """Simulates the network: see the class."""
        inputs = np.asarray(inputs, "float32")
        if inputs.ndim not in (2, 3) or inputs.shape[-1] != self.features or 0 in inputs.shape:
            raise ValueError(
                "AdaptiveSpikingLSTM: the inputs must have shape (batch, steps, features) or, for "
                f"one sequence, (steps, features), with {self.features} features. Received the "
                f"shape {inputs.shape}."
            )
        batch = inputs if inputs.ndim == 3 else inputs[None]
        resting = [part.initial_state(len(batch)) for part, _ in self.parts]
        state = NetworkState(resting, 0) if state is None else state
        if _shapes(state.parts) != _shapes(resting):
            raise ValueError(
                "AdaptiveSpikingLSTM: `state` must be that of a response of this network to "
                f"{len(batch)} sequences."
            )
        simulation = _network_simulation(self.parts, self.neuron, self.window)
        weights = tf.nest.map_structure(tf.constant, self.weights)
        of_sequences = slice(None) if inputs.ndim == 3 else 0
        states, recorded = simulation(
            tf.constant(batch), weights, state.parts, tf.constant(state.steps), tf.constant(seed)
        )
        state = NetworkState(states, state.steps + batch.shape[1] * self.window)
        outputs, cec, spikes = tf.nest.map_structure(
            lambda values: np.moveaxis(values.numpy(), 0, 1)[of_sequences], recorded
        )
        cec = {name: of["cec"] for name, of in zip(self.names, cec, strict=True) if of}
        spikes = {
            f"{name}/{population}": of[population]
            for (part, _), name, of in zip(self.parts, self.names, spikes, strict=True)
            for population in part.populations
        }
        return NetworkResponse(outputs, cec, spikes, self.neuron.dt, self.window, state)


def _shapes(states):
    return tf.nest.map_structure(lambda value: tuple(value.shape), states)


class NetworkState(NamedTuple):
    """What an `AdaptiveSpikingLSTM` continues from.

    Attributes:
        parts: List of the states of its parts, whose tensors are `(batch, units)`.
        steps: Time steps so far.
    """

    parts: list
    steps: int


@dataclasses.dataclass(frozen=True)
class NetworkResponse:
    """What an `AdaptiveSpikingLSTM` returns; without the axis `batch` for one sequence.

    Attributes:
        outputs: Outputs at each time step, `(batch, steps * window, out)`.
        cec: Dictionary from the name of each LSTM layer to its CECs,
            `(batch, steps * window, units)`.
        spikes: Dictionary from the name of each population of neurons, as "layer/input_gate", to
            its spikes, booleans of shape `(batch, steps * window, neurons)`.
        dt: Time step in seconds.
        window: Time steps of a time window, which is a step of the analog network.
        state: The `NetworkState` in which the network is at the end.
    """

    outputs: np.ndarray
    cec: dict
    spikes: dict
    dt: float
    window: int
    state: NetworkState

    def averages(self, last=None):
        """Outputs averaged over each time window, `(batch, steps, out)`: the read-out.

        Args:
            last: Seconds at the end of each window to average over; by default all of it, as the
                paper does. A CEC that grows during a window is at its end what it is after the
                analog step.
        """
        steps = self.window if last is None else min(max(round(last / self.dt), 1), self.window)
        *batch, _, out = self.outputs.shape
        windows = self.outputs.reshape(*batch, -1, self.window, out)
        return windows[..., self.window - steps :, :].mean(axis=-2)

    def final_cec(self):
        """CECs at the end of each time window, a dictionary as `cec`, `(batch, steps, units)`."""
        return {name: cec[..., self.window - 1 :: self.window, :] for name, cec in self.cec.items()}

    def spike_count(self):
        """Number of all spikes, of each sequence."""
        return sum(train.sum(axis=(-2, -1)) for train in self.spikes.values())

    def rates(self):
        """Dictionary from each population to its mean number of spikes per second and neuron."""
        return {name: float(train.mean()) / self.dt for name, train in self.spikes.items()}


def convert(analog, neuron=None, time_window=200e-3, cec_weight="paper", tolerance=0.05):
    r"""Turns a network of Adaptive Analog LSTMs and AANs into the spiking network.

    Args:
        analog: A built `AdaptiveAnalogLSTM`, or a Keras model of one input and one output made of
            `AdaptiveAnalogLSTM`, `Dense` and `Activation` layers with an `AAN` or without
            activation, `Concatenate`, `Add` and `Dropout`.
        neuron: The `AdaptiveSpikingNeuron` that the neurons become; by default that of the paper.
        time_window: $\Delta t$ in seconds, at most 10, for which each step's input is held.
        cec_weight: $W_{CEC}$: `"paper"` for $\tau_\eta / \Delta t$, `"exact"` for
            $dt / (1 - e^{-dt / \tau_eta}) / \Delta t$. A current that grows by 1 at a spike is in
            the mean $dt / (1 - e^{-dt/\tau_eta})$, 10.51 ms for 10 ms, times the rate of the
            spikes. The paper's weight makes the CEC about 5 % too small.
        tolerance: Largest root mean squared difference, for input signals from 0 to 4.8, of an AAN
            to the measured response of `neuron` that brings no warning.

    Returns:
        An `AdaptiveSpikingLSTM`.

    Raises:
        TypeError: If `analog` is no layer or model, or `neuron` is no neuron.
        ValueError: If an argument is out of range, or the model has something that does not
            convert.

    Example:
    ```python
    neuron = AdaptiveSpikingNeuron()
    layer = AdaptiveAnalogLSTM(4, activation=fit_aan(neuron).activation)
    layer.build((None, None, 3))  # ... and train it
    spiking = convert(layer, neuron)
    spiking(np.ones((10, 3))).averages()  # (10, 4)
    ```
    """
    neuron = AdaptiveSpikingNeuron() if neuron is None else neuron
    for name, value, kind in (
        ("analog", analog, keras.layers.Layer),
        ("neuron", neuron, AdaptiveSpikingNeuron),
    ):
        if not isinstance(value, kind):
            raise TypeError(
                f"convert: `{name}` must be an instance of {kind.__name__}. Received: {value!r}"
            )
    checks.either("convert", "cec_weight", cec_weight, CEC_WEIGHTS)
    window = neuron._steps("convert", "time_window", time_window, LONGEST_WINDOW)
    kept = neuron.decay(neuron.tau_beta)
    if kept == 1 or not math.isfinite(neuron.tau_eta):
        raise ValueError(
            "convert: `tau_eta` and `tau_beta` of the neuron must be finite. The output cells get "
            f"their infinite tau_beta by themselves. Received: {neuron}"
        )
    tau = neuron.tau_eta if cec_weight == "paper" else neuron.dt / (1 - kept)
    curve = _curve(neuron)

    def height_of(layer, activation):
        if not isinstance(activation, AAN):
            raise ValueError(
                f"convert: the layer '{layer.name}' has the activation {activation!r}, which is "
                "not the response of a spiking neuron. Use an AAN or no activation; move a softmax "
                "into the loss (from_logits=True)."
            )
        rmse = float(np.sqrt(np.mean((np.asarray(activation(curve.S)) - curve.signal) ** 2)))
        if rmse > tolerance:
            warnings.warn(
                f"convert: the activation of '{layer.name}' differs from the response of the "
                f"neuron by {rmse:.3f}, and the outputs of the networks will differ. Train with "
                "activation=fit_aan(neuron).activation.",
                stacklevel=3,
            )
        return curve.spike_height

    def part_of(layer):
        if isinstance(layer, keras.layers.TimeDistributed):
            layer = layer.layer
        cell = getattr(layer, "cell", None)
        if isinstance(cell, AdaptiveAnalogLSTMCell):
            if not cell.built:
                raise ValueError(f"convert: build the layer '{layer.name}' first.")
            if layer.go_backwards:
                raise ValueError(
                    f"convert: the layer '{layer.name}' goes backwards, which a network that runs "
                    "in time cannot. Reverse its inputs instead."
                )
            height = output_height = height_of(layer, cell.activation)
            if cell.normalize_at is not None:
                output_height = height / float(neuron.response([cell.normalize_at]).signal[0])
            part = LSTMPart(
                units=cell.units,
                gates=cell.gates,
                neuron=neuron,
                spike_height=height,
                output_height=output_height,
                cec_weight=tau / (window * neuron.dt),
                window=window,
            )
            return part, _weights(cell.kernel, cell.bias)
        activation = getattr(layer, "activation", None)
        linear = activation in (None, activations.linear)
        height = 1.0
        if isinstance(layer, (keras.layers.Dense, keras.layers.Activation)) and not linear:
            height = height_of(layer, activation)
        if isinstance(layer, keras.layers.Dense):
            weights = _weights(layer.kernel, layer.bias)
        elif isinstance(layer, keras.layers.Activation):
            weights = _weights(np.eye(layer.output.shape[-1]), None)
        else:
            raise ValueError(
                f"convert: the layer '{layer.name}', a {type(layer).__name__}, does not convert. "
                "AdaptiveAnalogLSTM, Dense, Activation, Concatenate, Add and Dropout do."
            )
        units = weights[0].shape[1]
        return DensePart(units, None if linear else neuron, height), weights

    if isinstance(analog, keras.Model):
        parts, names, weights, features = _parts_of(analog, part_of)
    else:
        part, weight = part_of(analog)
        parts, names, weights = [(part, (-1,))], [analog.name], [weight]
        features = weight[0].shape[0]
    return AdaptiveSpikingLSTM(tuple(parts), names, weights, neuron, window, features)


def _weights(kernel, bias):
    """Kernel and bias as arrays, zeros for no bias."""
    kernel = np.asarray(kernel, "float32")
    bias = np.zeros(kernel.shape[1]) if bias is None else bias
    return kernel, np.asarray(bias, "float32")


def _parts_of(model, part_of):
    """Follows the layers of a model from its output back to its input."""
    if not (model.built and len(getattr(model, "inputs", ())) == len(model.outputs) == 1):
        raise ValueError(
            f"convert: the model '{model.name}' must be a functional or Sequential model with an "
            "Input, of one input and one output."
        )
    parts, weights, layers = [], [], []
    positions = {id(model.inputs[0]): -1}

    def position(tensor):
        if id(tensor) in positions:
            return positions[id(tensor)]
        layer, node, _ = tensor._keras_history
        inputs = layer._inbound_nodes[node].input_tensors
        sources = tuple(position(tensor) for tensor in inputs)
        if isinstance(layer, keras.layers.Dropout):
            positions[id(tensor)] = sources[0]
            return sources[0]
        if layer in layers:
            raise ValueError(f"convert: the layer '{layer.name}' must not be used twice.")
        part, weight = JoinPart("add"), ()
        if isinstance(layer, keras.layers.Add):
            pass
        elif isinstance(layer, keras.layers.Concatenate):
            if layer.axis not in (-1, len(tensor.shape) - 1):
                raise ValueError(
                    f"convert: the layer '{layer.name}' must join features, the last axis. "
                    f"Received: axis={layer.axis}"
                )
            part = JoinPart("concatenate")
        elif len(sources) > 1:
            raise ValueError(
                f"convert: the layer '{layer.name}' has {len(sources)} inputs. An initial state "
                "does not convert, the spiking network starts at rest."
            )
        else:
            part, weight = part_of(layer)
        layers.append(layer)
        parts.append((part, sources))
        weights.append(weight)
        positions[id(tensor)] = len(parts) - 1
        return len(parts) - 1

    position(model.outputs[0])
    return parts, [layer.name for layer in layers], weights, model.inputs[0].shape[-1]
