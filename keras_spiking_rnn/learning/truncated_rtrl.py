"""Truncated real-time recurrent learning of Adaptive Analog LSTMs.

References:
    *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018), section 2,
    "Learning rule used for training the spiking LSTM".

    *Learning precise timing with LSTM recurrent networks* (2002), which the paper follows.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_rnn import checks
from keras_spiking_rnn.adaptive_lstm import AAN, AdaptiveAnalogLSTM


class RTRLState(NamedTuple):
    """What a step carries to the next one, for networks side by side.

    Attributes:
        CEC: Constant Error Carousels, `(networks, units)`.
        dCEC_dW_i: Derivative of the CECs by the weights of the input gates,
            `(networks, in, units)`.
        dCEC_dW_c: Derivative of the CECs by the weights of the input cells.
    """

    CEC: tf.Tensor
    dCEC_dW_i: tf.Tensor
    dCEC_dW_c: tf.Tensor


class TruncatedRTRL:
    r"""Networks of Adaptive Analog LSTMs that learn as they run, side by side.

    A network has inputs $x$, optionally a hidden layer $h = A(W_h x + b_h)$ of analog neurons, and
    Adaptive Analog LSTMs,

    $$ z = A(W_{xc}\,x), \quad g = A(W_{xi}\,x), \quad CEC^t = CEC^{t-1} + z g, \quad m = A(CEC^t),
    $$

    and outputs $y = W_o\,[x, h, m] + b_o$, of which $x$ is there with `skip` and $h$ with `hidden`.
    Only the derivatives of the CECs are carried from step to step:

    $$
    \begin{aligned}
    \frac{\partial CEC^t}{\partial W_{xc}} &= \frac{\partial CEC^{t-1}}{\partial W_{xc}}
        + A'(net_c)\,g\,x\\
    \frac{\partial CEC^t}{\partial W_{xi}} &= \frac{\partial CEC^{t-1}}{\partial W_{xi}}
        + z\,A'(net_i)\,x
    \end{aligned}
    $$

    All else is backpropagation at the current step. As these LSTMs have no recurrence besides the
    CEC, the gradients, summed over the steps of a sequence, are those of backpropagation through
    time; nothing is lost by the truncation. The memory does not grow with the length of a sequence.

    Weights are dictionaries of tensors whose first axis is `networks`: `memory_kernel`
    `(in, 2 * units)`, input gates and then input cells as in `AdaptiveAnalogLSTM`;
    `output_kernel` `(from, out)`; with `hidden` `hidden_kernel` `(in, hidden)`; with `use_bias`
    `output_bias` and `hidden_bias`. The LSTMs have no bias.

    Args:
        inputs: Number of inputs.
        units: Number of LSTMs.
        outputs: Number of outputs.
        hidden: Number of neurons in the hidden layer.
        skip: Whether the inputs are connected to the outputs.
        activation: $A$, an `AAN`; by default with the paper's numbers.
        output_activation: `AAN` of the outputs, or `None` for linear outputs.
        normalize_at: CEC at which an LSTM's output is 1, or `None`: see `AdaptiveAnalogLSTM`.
        use_bias: Whether hidden layer and outputs have biases.

    Raises:
        ValueError: If an argument is out of range.

    References:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Learning rule used for training the spiking LSTM".

        *Learning precise timing with LSTM recurrent networks* (2002).
    """

    def __init__(
        self,
        inputs,
        units,
        outputs,
        hidden=0,
        skip=False,
        activation=None,
        output_activation=None,
        normalize_at=None,
        use_bias=True,
    ):
        for name, value in (("inputs", inputs), ("units", units), ("outputs", outputs)):
            _check_count(name, value, 1)
        _check_count("hidden", hidden, 0)
        activation = AAN() if activation is None else activation
        for name, value in (("activation", activation), ("output_activation", output_activation)):
            if not (isinstance(value, AAN) or (value is None and name == "output_activation")):
                raise ValueError(f"TruncatedRTRL: `{name}` must be an AAN. Received: {value!r}")
        if normalize_at is not None and not checks.is_number(normalize_at, 0, open_low=True):
            raise ValueError(
                "TruncatedRTRL: `normalize_at` must be a number above 0 or None. Received: "
                f"normalize_at={normalize_at!r}"
            )
        self.inputs = inputs
        self.units = units
        self.outputs = outputs
        self.hidden = hidden
        self.skip = bool(skip)
        self.activation = activation
        self.output_activation = output_activation
        self.normalize_at = normalize_at
        self.use_bias = bool(use_bias)
        self.output_scale = 1.0
        if normalize_at is not None:
            self.output_scale = 1 / float(activation(np.float64(normalize_at)))

    @property
    def shapes(self):
        """Shape of each weight of one network."""
        features = self.inputs * self.skip + self.hidden + self.units
        shapes = {
            "memory_kernel": (self.inputs, 2 * self.units),
            "output_kernel": (features, self.outputs),
        }
        if self.hidden:
            shapes["hidden_kernel"] = (self.inputs, self.hidden)
        if self.use_bias:
            shapes["output_bias"] = (self.outputs,)
            if self.hidden:
                shapes["hidden_bias"] = (self.hidden,)
        return shapes

    def initial_weights(self, networks, limit=0.1, memory_offset=0.0, seed=0):
        """Weights of `networks` networks, uniform between -`limit` and `limit`.

        Args:
            networks: Number of networks.
            limit: Largest absolute weight.
            memory_offset: Number that is added to the weights of the LSTMs. At a weight of 0 gate
                and input cell are nearly shut, and what they learn from is nearly 0: at 1 LSTMs
                learn sooner.
            seed: Seed of the weights.

        Returns:
            A dictionary of tensors.
        """
        random = np.random.default_rng(seed)
        weights = {
            name: random.uniform(-limit, limit, (networks, *shape))
            for name, shape in self.shapes.items()
        }
        weights["memory_kernel"] += memory_offset
        return {name: tf.constant(value, "float32") for name, value in weights.items()}

    def initial_state(self, networks, dtype="float32"):
        """The `RTRLState` at the start of a sequence: zeros."""
        partials = tf.zeros((networks, self.inputs, self.units), dtype)
        return RTRLState(tf.zeros((networks, self.units), dtype), partials, partials)

    def step(self, weights, state, x, included=None):
        """Computes one time step.

        Args:
            weights: Dictionary of weights.
            state: The `RTRLState` of the previous step.
            x: Inputs, `(networks, in)`.
            included: Factor of each network's LSTMs, `(networks,)`: 1, or 0 for a network whose
                LSTMs do not take part yet.

        Returns:
            A tuple `(y, state, inside)`: the outputs `(networks, out)`, the state to carry to the
            next step, and a dictionary that `gradients` needs.
        """
        A = self.activation
        net_i, net_c = tf.split(_product(x, weights["memory_kernel"]), 2, axis=-1)
        g, z = A(net_i), A(net_c)
        CEC = state.CEC + z * g
        state = RTRLState(
            CEC,
            state.dCEC_dW_i + x[:, :, None] * (z * A.derivative(net_i))[:, None, :],
            state.dCEC_dW_c + x[:, :, None] * (A.derivative(net_c) * g)[:, None, :],
        )
        scale = self.output_scale
        if included is not None:
            scale = scale * tf.cast(included, x.dtype)[:, None]
        features, net_h = [x] if self.skip else [], None
        if self.hidden:
            net_h = _product(x, weights["hidden_kernel"]) + weights.get("hidden_bias", 0.0)
            features.append(A(net_h))
        features = tf.concat([*features, scale * A(CEC)], axis=-1)
        net_o = _product(features, weights["output_kernel"]) + weights.get("output_bias", 0.0)
        y = net_o if self.output_activation is None else self.output_activation(net_o)
        inside = {"x": x, "state": state, "features": features, "net_h": net_h, "net_o": net_o}
        return y, state, {**inside, "scale": scale}

    def gradients(self, weights, inside, dL_dy):  # noqa: N803
        """Gradients of the loss of one step.

        Args:
            weights: Dictionary of weights, those of `step`.
            inside: What `step` returned.
            dL_dy: Derivative of the loss by the outputs, `(networks, out)`.

        Returns:
            A dictionary of the gradients, as the weights.
        """
        A, x, state = self.activation, inside["x"], inside["state"]
        if self.output_activation is not None:
            dL_dy = dL_dy * self.output_activation.derivative(inside["net_o"])
        back = tf.einsum("no,nfo->nf", dL_dy, weights["output_kernel"])
        dCEC = back[:, -self.units :] * inside["scale"] * A.derivative(state.CEC)
        gradients = {
            "memory_kernel": tf.concat(
                [dCEC[:, None] * state.dCEC_dW_i, dCEC[:, None] * state.dCEC_dW_c], axis=-1
            ),
            "output_kernel": inside["features"][:, :, None] * dL_dy[:, None, :],
            "output_bias": dL_dy,
        }
        if self.hidden:
            first = self.inputs * self.skip
            dh = back[:, first : first + self.hidden] * A.derivative(inside["net_h"])
            gradients["hidden_kernel"] = x[:, :, None] * dh[:, None, :]
            gradients["hidden_bias"] = dh
        return {name: gradients[name] for name in weights}

    def train(
        self,
        weights,
        x,
        targets,
        learning_rate,
        included=None,
        step_weights=None,
        update="step",
    ):
        r"""Trains each network on its own sequences, in one compiled loop.

        The loss of a step is $\frac{1}{2} \sum_k (y_k - t_k)^2$. Each sequence starts with a CEC
        of 0.

        Args:
            weights: Dictionary of weights.
            x: Inputs, `(trials, networks, steps, in)`.
            targets: Targets $t$, `(trials, networks, steps, out)`.
            learning_rate: Learning rate, a number, or one for each network, `(networks,)`.
            included: Factor of each network's LSTMs, `(networks,)`: 0 while they do not take part.
            step_weights: Factors of the losses of the steps, `(steps,)`; 0 for a step that does not
                count.
            update: `"step"` to update the weights after each step, `"sequence"` after each sequence
                with the sum of the gradients.

        Returns:
            A tuple `(weights, outputs)`: the weights after training and the outputs on the way,
            `(trials, networks, steps, out)`.

        Raises:
            ValueError: If an argument does not fit.
        """
        networks = weights["memory_kernel"].shape[0]
        x, targets = tf.convert_to_tensor(x), tf.convert_to_tensor(targets)
        expected = (*x.shape[:1], networks, *x.shape[2:3])
        for name, array, size in (("x", x, self.inputs), ("targets", targets, self.outputs)):
            if tuple(array.shape) != (*expected, size):
                axes = "in" if name == "x" else "out"
                raise ValueError(
                    f"TruncatedRTRL.train: `{name}` must have shape (trials, networks, steps, "
                    f"{axes}), here with {networks} networks and {axes} = {size}. Received the "
                    f"shape {tuple(array.shape)}."
                )
        checks.either("TruncatedRTRL.train", "update", update, ("step", "sequence"))
        dtype = weights["memory_kernel"].dtype
        each = [(included, (networks,)), (step_weights, x.shape[2:3]), (learning_rate, (networks,))]
        included, step_weights, learning_rate = (
            tf.broadcast_to(tf.cast(1.0 if value is None else value, dtype), shape)
            for value, shape in each
        )
        x, targets = tf.cast(x, dtype), tf.cast(targets, dtype)
        return self._train(weights, x, targets, learning_rate, included, step_weights, update)

    @functools.cached_property
    def _train(self):
        def moved(weights, gradients, rate):
            return {
                name: value
                - tf.reshape(rate, (-1, *[1] * (value.shape.rank - 1))) * gradients[name]
                for name, value in weights.items()
            }

        @tf.function(jit_compile=True, autograph=False)
        def train(weights, x, targets, rate, included, step_weights, update):
            trials, networks, steps, _ = x.shape
            outputs = tf.TensorArray(
                x.dtype, size=trials * steps, element_shape=(networks, self.outputs)
            )
            zeros = {name: tf.zeros_like(value) for name, value in weights.items()}

            def one_step(t, trial, weights, state, total, outputs):
                y, state, inside = self.step(weights, state, x[trial, :, t], included)
                error = step_weights[t] * (y - targets[trial, :, t])
                gradients = self.gradients(weights, inside, error)
                if update == "step":
                    weights = moved(weights, gradients, rate)
                else:
                    total = {name: value + gradients[name] for name, value in total.items()}
                outputs = outputs.write(trial * steps + t, y)
                return t + 1, trial, weights, state, total, outputs

            def one_trial(trial, weights, outputs):
                start = (0, trial, weights, self.initial_state(networks, x.dtype), zeros, outputs)
                _, _, weights, _, total, outputs = tf.while_loop(
                    lambda t, *_: t < steps, one_step, start
                )
                if update == "sequence":
                    weights = moved(weights, total, rate)
                return trial + 1, weights, outputs

            _, weights, outputs = tf.while_loop(
                lambda trial, *_: trial < trials, one_trial, (0, weights, outputs)
            )
            outputs = tf.reshape(outputs.stack(), (trials, steps, networks, self.outputs))
            return weights, tf.transpose(outputs, (0, 2, 1, 3))

        return train

    def train_symbols(
        self, weights, symbols, targets, learning_rate, included=None, scored=None, noise=None
    ):
        """Trains each network on its own sequences of symbols, in one compiled loop.

        A symbol is an input of 1 among zeros, and the target of a step the output that should be 1
        among zeros. The weights become those of `train` with `update="sequence"`, up to rounding.
        It is quicker, because it leaves out what an input of 0 is multiplied with and computes all
        steps of a sequence at once: nothing recurs but the CEC, which is a sum. If only the last
        step is scored there is one update in a sequence, and `update="step"` gives the same.

        Args:
            weights: Dictionary of weights.
            symbols: Inputs, integers of shape `(trials, networks, steps)`.
            targets: Outputs that should be 1, integers of shape `(trials, networks, scored)`.
            learning_rate: Learning rate, a number, or one for each network, `(networks,)`; 0 for a
                network that is to stay as it is.
            included: Factor of each network's LSTMs, `(networks,)`: 0 while they do not take part.
            scored: Number of steps at the end of a sequence that count; by default all.
            noise: What the outputs get from each LSTM and, with `skip`, first from the input that
                is 1, is multiplied with 1 plus this number at each step that counts:
                `(trials, networks, scored, skip + units)`. What is learned with noise has a margin
                for that of spikes.

        Returns:
            A tuple `(weights, losses, errors)`: the weights after training, and the loss and the
            largest absolute error of an output at each step that counts,
            `(trials, networks, scored)`.

        Raises:
            ValueError: If an argument does not fit, or the network has a hidden layer.
        """
        title = "TruncatedRTRL.train_symbols"
        if self.hidden:
            raise ValueError(
                f"{title}: the network has a hidden layer, whose inputs are not symbols only. Use "
                "`train`."
            )
        networks = weights["memory_kernel"].shape[0]
        symbols, targets = np.asarray(symbols), np.asarray(targets)
        if symbols.ndim != 3 or symbols.shape[1] != networks:
            raise ValueError(
                f"{title}: `symbols` must have shape (trials, networks, steps), here with "
                f"{networks} networks. Received the shape {symbols.shape}."
            )
        scored = symbols.shape[2] if scored is None else scored
        if not checks.is_integer(scored, 1) or scored > symbols.shape[2]:
            raise ValueError(
                f"{title}: `scored` must be an integer from 1 to the number of steps, "
                f"{symbols.shape[2]}. Received: scored={scored!r}"
            )
        if targets.shape != (*symbols.shape[:2], scored):
            raise ValueError(
                f"{title}: `targets` must have shape (trials, networks, scored), here "
                f"{(*symbols.shape[:2], scored)}. Received the shape {targets.shape}."
            )
        noises = (*targets.shape, self.skip + self.units)
        if noise is not None and np.shape(noise) != noises:
            raise ValueError(
                f"{title}: `noise` must have shape (trials, networks, scored, skip + units), here "
                f"{noises}. Received the shape {np.shape(noise)}."
            )
        for name, array, size in (
            ("symbols", symbols, self.inputs),
            ("targets", targets, self.outputs),
        ):
            if not np.issubdtype(array.dtype, np.integer) or not (
                0 <= array.min(initial=0) <= array.max(initial=0) < size
            ):
                raise ValueError(
                    f"{title}: `{name}` must be integers from 0 to {size - 1}. Received "
                    f"{array.dtype} from {array.min()} to {array.max()}."
                )
        dtype = weights["memory_kernel"].dtype
        included, learning_rate = (
            tf.broadcast_to(tf.cast(1.0 if value is None else value, dtype), (networks,))
            for value in (included, learning_rate)
        )
        symbols, targets = (tf.constant(array, "int32") for array in (symbols, targets))
        noise = None if noise is None else tf.cast(noise, dtype)
        return self._train_symbols(weights, symbols, targets, learning_rate, included, noise)

    @functools.cached_property
    def _train_symbols(self):
        A, rows = self.activation, self.inputs * self.skip

        def add(kernel, symbols, values):
            """Adds `values` (networks, steps, out) to the rows of the symbols."""
            networks = tf.broadcast_to(tf.range(symbols.shape[0])[:, None], symbols.shape)
            return tf.tensor_scatter_nd_add(kernel, tf.stack([networks, symbols], -1), values)

        def step(weights, symbols, targets, rate, included, noise):
            """One sequence: in the equations of `step` and `gradients` the axis 1 is the time."""
            steps, scored = symbols.shape[1], targets.shape[1]
            nets = tf.gather(weights["memory_kernel"], symbols, batch_dims=1)
            net_i, net_c = tf.split(nets, 2, axis=-1)
            g, z = A(net_i), A(net_c)
            CEC = tf.cumsum(z * g, axis=1)[:, steps - scored :]
            scale = self.output_scale * included[:, None, None]
            if noise is not None:
                scale = scale * (1 + noise[:, :, self.skip :])
            m, kernel = scale * A(CEC), weights["of_memory"]
            net_o = tf.einsum("nsk,nko->nso", m, kernel)
            last, x = symbols[:, steps - scored :], 1.0
            if self.skip:
                x = x if noise is None else 1 + noise[:, :, :1]
                net_o += x * tf.gather(weights["of_inputs"], last, batch_dims=1)
            if self.use_bias:
                net_o += weights["output_bias"][:, None]
            y = net_o if self.output_activation is None else self.output_activation(net_o)
            error = y - tf.one_hot(targets, self.outputs, dtype=y.dtype)
            dL_dnet = error
            if self.output_activation is not None:
                dL_dnet = error * self.output_activation.derivative(net_o)
            dCEC = tf.einsum("nso,nko->nsk", dL_dnet, kernel) * scale * A.derivative(CEC)
            # What a step writes into the CEC counts at it and at all steps that follow.
            later = tf.cumsum(dCEC, axis=1, reverse=True)
            before = tf.repeat(later[:, :1], steps - scored, axis=1)
            later = tf.concat([before, later], axis=1)
            of_gates = tf.concat(
                [later * z * A.derivative(net_i), later * A.derivative(net_c) * g], axis=-1
            )
            down = -rate[:, None, None]
            after = {
                "memory_kernel": add(weights["memory_kernel"], symbols, down * of_gates),
                "of_memory": kernel + down * tf.einsum("nsk,nso->nko", m, dL_dnet),
            }
            if self.skip:
                after["of_inputs"] = add(weights["of_inputs"], last, down * x * dL_dnet)
            if self.use_bias:
                after["output_bias"] = weights["output_bias"] + down[:, 0] * tf.reduce_sum(
                    dL_dnet, axis=1
                )
            loss = tf.reduce_sum(tf.square(error), axis=-1) / 2
            return after, loss, tf.reduce_max(tf.abs(error), axis=-1)

        @tf.function(jit_compile=True, autograph=False)
        def train(weights, symbols, targets, rate, included, noise):
            trials = symbols.shape[0]
            weights = dict(weights)
            of_outputs = weights.pop("output_kernel")
            weights["of_memory"] = of_outputs[:, rows:]
            if self.skip:
                weights["of_inputs"] = of_outputs[:, :rows]
            losses, errors = (
                tf.TensorArray(rate.dtype, size=trials, element_shape=targets.shape[1:])
                for _ in range(2)
            )

            def one_trial(trial, weights, losses, errors):
                weights, loss, error = step(
                    weights,
                    symbols[trial],
                    targets[trial],
                    rate,
                    included,
                    None if noise is None else noise[trial],
                )
                return trial + 1, weights, losses.write(trial, loss), errors.write(trial, error)

            _, weights, losses, errors = tf.while_loop(
                lambda trial, *_: trial < trials, one_trial, (0, weights, losses, errors)
            )
            kernels = [weights.pop("of_inputs")] if self.skip else []
            weights["output_kernel"] = tf.concat([*kernels, weights.pop("of_memory")], axis=1)
            return weights, losses.stack(), errors.stack()

        return train

    def to_keras(self, weights, network=0, name=None):
        """One of the networks as a Keras model, for example for `convert`.

        Args:
            weights: Dictionary of weights.
            network: Position of the network.
            name: Name of the model.

        Returns:
            A Keras model with inputs `(batch, steps, in)` and outputs `(batch, steps, out)`.
        """
        inputs = keras.Input((None, self.inputs))
        memory = AdaptiveAnalogLSTM(
            self.units,
            activation=self.activation,
            normalize_at=self.normalize_at,
            return_sequences=True,
            name="memory",
        )
        features = [inputs] if self.skip else []
        if self.hidden:
            hidden = keras.layers.Dense(
                self.hidden, self.activation, use_bias=self.use_bias, name="hidden"
            )
            features.append(hidden(inputs))
        features.append(memory(inputs))
        if len(features) > 1:
            features = [keras.layers.Concatenate(name="features")(features)]
        output = keras.layers.Dense(
            self.outputs, self.output_activation, use_bias=self.use_bias, name="output"
        )
        model = keras.Model(inputs, output(features[0]), name=name)
        for layer in (memory, output, *([hidden] if self.hidden else [])):
            names = [f"{layer.name}_kernel", f"{layer.name}_bias"]
            layer.set_weights([weights[name][network].numpy() for name in names if name in weights])
        return model


def _check_count(name, value, low):
    if not checks.is_integer(value, low):
        raise ValueError(
            f"TruncatedRTRL: `{name}` must be an integer of at least {low}. Received: "
            f"{name}={value!r}"
        )


def _product(x, kernel):
    """Product of each network's inputs with its kernel."""
    return tf.einsum("ni,nio->no", x, kernel)
