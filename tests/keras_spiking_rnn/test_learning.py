"""Truncated RTRL against backpropagation through time, and RL-LSTM against numbers by hand."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_rnn import AAN
from keras_spiking_rnn.adaptive_lstm import AdaptiveSpikingNeuron, convert, fit_aan
from keras_spiking_rnn.learning import RLLSTM, TruncatedRTRL
from keras_spiking_rnn.learning.rl_lstm import advantage_error, updated_traces

NETWORKS = [
    {},
    {"skip": True, "use_bias": False},
    {"hidden": 4},
    {
        "hidden": 4,
        "skip": True,
        "activation": AAN(383.9, -6.648, 6.044, -1.113),
        "output_activation": AAN(),
        "normalize_at": 1.0,
    },
]


def float64(weights):
    return {name: tf.cast(value, "float64") for name, value in weights.items()}


def losses_and_gradients(network, weights, x, targets):
    """RTRL: the outputs, and the gradients summed over the steps."""

    @tf.function
    def step(state, x, target):
        y, state, inside = network.step(weights, state, x)
        return y, state, network.gradients(weights, inside, y - target)

    state = network.initial_state(len(x), "float64")
    total = {name: 0.0 for name in weights}
    outputs = []
    for t in range(x.shape[1]):
        y, state, gradients = step(state, tf.constant(x[:, t]), tf.constant(targets[:, t]))
        total = {name: total[name] + gradients[name] for name in weights}
        outputs.append(y)
    return np.stack(outputs, axis=1), total


class TestTruncatedRTRL:
    @pytest.mark.parametrize("arguments", NETWORKS)
    def test_gradients_are_those_of_backpropagation_through_time(self, arguments):
        random = np.random.default_rng(1)
        network = TruncatedRTRL(3, 2, 5, **arguments)
        weights = float64(network.initial_weights(3, limit=1.5, seed=2))
        x = random.normal(0.5, 1, (3, 50, 3))
        targets = random.normal(size=(3, 50, 5))
        outputs, gradients = losses_and_gradients(network, weights, x, targets)

        before = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            models = [network.to_keras(weights, n) for n in range(3)]
        finally:
            keras.config.set_floatx(before[0])
            keras.config.set_dtype_policy(before[1])
        for n, model in enumerate(models):
            with tf.GradientTape() as tape:
                y = model(x[n : n + 1])
                loss = tf.reduce_sum(tf.square(y - targets[n : n + 1])) / 2
            expected = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
            np.testing.assert_allclose(outputs[n], y[0], rtol=1e-9, atol=1e-12)
            names = {
                "_".join(weight.path.split("/")[-2:]).replace("memory_cell", "memory"): gradient
                for weight, gradient in zip(model.trainable_weights, expected, strict=True)
            }
            assert set(names) == set(weights)
            for name, gradient in names.items():
                np.testing.assert_allclose(
                    gradients[name][n], gradient, rtol=1e-8, atol=1e-11, err_msg=name
                )
                assert np.abs(gradient).max() > 1e-4

    def test_partial_derivatives_by_hand(self):
        # One LSTM, inputs 1 and then 2, weights 0: z = g = A(0), A' = A'(0).
        network = TruncatedRTRL(1, 1, 1, use_bias=False)
        weights = {
            "memory_kernel": tf.zeros((1, 1, 2), "float64"),
            "output_kernel": tf.constant([[[3.0]]], "float64"),
        }
        A = AAN()
        low, slope = float(A(np.float64(0))), float(A.derivative(np.float64(0)))
        state = network.initial_state(1, "float64")
        for x in (1.0, 2.0):
            y, state, inside = network.step(weights, state, tf.constant([[x]], "float64"))
        assert state.CEC.numpy().item() == pytest.approx(2 * low**2)
        assert state.dCEC_dW_c.numpy().item() == pytest.approx(slope * low * (1 + 2))
        assert state.dCEC_dW_i.numpy().item() == pytest.approx(slope * low * (1 + 2))
        m = float(A(np.float64(2 * low**2)))
        assert y.numpy().item() == pytest.approx(3 * m)
        gradients = network.gradients(weights, inside, tf.constant([[0.5]], "float64"))
        assert gradients["output_kernel"].numpy().item() == pytest.approx(0.5 * m)
        of_cec = 0.5 * 3 * float(A.derivative(np.float64(2 * low**2)))
        np.testing.assert_allclose(
            np.ravel(gradients["memory_kernel"]), [of_cec * slope * low * 3] * 2
        )

    def trained(self, update, networks=2, **arguments):
        random = np.random.default_rng(3)
        network = TruncatedRTRL(3, 2, 2, hidden=3)
        weights = network.initial_weights(networks, limit=1.0, seed=4)
        x = random.normal(0.5, 1, (4, networks, 6, 3)).astype("float32")
        targets = random.normal(size=(4, networks, 6, 2)).astype("float32")
        after, outputs = network.train(weights, x, targets, 0.1, update=update, **arguments)
        return network, weights, x, targets, after, outputs

    @pytest.mark.parametrize("update", ["step", "sequence"])
    def test_training_is_gradient_descent(self, update):
        included, step_weights = [1.0, 0.5], [0, 1, 1, 0.5, 1, 2]
        network, weights, x, targets, after, outputs = self.trained(
            update, included=included, step_weights=step_weights
        )
        assert outputs.shape == (4, 2, 6, 2)
        for trial in range(4):
            state = network.initial_state(2)
            total = {name: 0.0 for name in weights}
            for t in range(6):
                y, state, inside = network.step(
                    weights, state, tf.constant(x[trial, :, t]), tf.constant(included)
                )
                np.testing.assert_allclose(outputs[trial, :, t], y, rtol=1e-4, atol=1e-5)
                error = step_weights[t] * (y - targets[trial, :, t])
                gradients = network.gradients(weights, inside, error)
                if update == "step":
                    weights = {name: weights[name] - 0.1 * gradients[name] for name in weights}
                total = {name: total[name] + gradients[name] for name in weights}
            if update == "sequence":
                weights = {name: weights[name] - 0.1 * total[name] for name in weights}
        for name, value in weights.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-5)

    def test_networks_side_by_side_do_not_mix(self):
        network, weights, x, targets, after, _ = self.trained("step", networks=3)
        for n in range(3):
            alone, _ = network.train(
                {name: value[n : n + 1] for name, value in weights.items()},
                x[:, n : n + 1],
                targets[:, n : n + 1],
                0.1,
            )
            for name, value in alone.items():
                np.testing.assert_allclose(after[name][n], value[0], rtol=1e-4, atol=1e-5)
                assert not np.allclose(value[0], weights[name][n], atol=1e-4)

    def test_memory_that_is_not_included_does_not_learn(self):
        _, weights, _, _, after, _ = self.trained("step", included=[0.0, 1.0])
        same = [
            np.array_equal(weights["memory_kernel"][n], after["memory_kernel"][n]) for n in (0, 1)
        ]
        assert same == [True, False]
        assert not np.array_equal(weights["hidden_kernel"][0], after["hidden_kernel"][0])

    def symbols(self, scored, networks=3, steps=7):
        """Sequences in which symbols repeat, for networks of two LSTMs, and for one without."""
        random = np.random.default_rng(5)
        symbols = random.integers(0, 4, (6, networks, steps))
        return symbols, random.integers(0, 5, (6, networks, scored))

    # Each network and each number of steps that count, not each pair of them.
    @pytest.mark.parametrize(
        "arguments,scored,update",
        [
            (NETWORKS[0], 7, "sequence"),
            (NETWORKS[0], 1, "step"),
            (NETWORKS[1], 3, "sequence"),
            ({**NETWORKS[3], "hidden": 0}, 7, "sequence"),
            ({**NETWORKS[3], "hidden": 0}, 1, "step"),
        ],
    )
    def test_symbols_are_one_hot_inputs(self, arguments, scored, update):
        network = TruncatedRTRL(4, 2, 5, **arguments)
        weights = float64(network.initial_weights(3, limit=1.0, memory_offset=0.5, seed=4))
        symbols, targets = self.symbols(scored)
        rates, included = [0.5, 1.0, 0.0], [1.0, 0.0, 1.0]
        after, losses, errors = network.train_symbols(
            weights, symbols, targets, rates, included, scored
        )
        one_hot = np.zeros((6, 3, 7, 5))
        one_hot[:, :, 7 - scored :] = np.eye(5)[targets]
        expected, outputs = network.train(
            weights,
            np.eye(4)[symbols],
            one_hot,
            rates,
            included,
            step_weights=np.arange(7) >= 7 - scored,
            update=update,
        )
        assert after.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
        moved = np.abs(after["memory_kernel"] - weights["memory_kernel"]).max(axis=(1, 2))
        assert moved[0] > 1e-3 and moved[1] == moved[2] == 0
        difference = (outputs - one_hot)[:, :, 7 - scored :]
        np.testing.assert_allclose(losses, np.square(difference).sum(-1) / 2, rtol=1e-9)
        np.testing.assert_allclose(errors, np.abs(difference).max(-1), rtol=1e-9)

    @pytest.mark.parametrize("skip", [False, True])
    def test_noise_is_on_what_the_outputs_get(self, skip):
        """The gradient is that of the loss with the noise, as automatic differentiation has it."""
        network = TruncatedRTRL(4, 2, 5, skip=skip, output_activation=AAN())
        weights = float64(network.initial_weights(3, limit=1.0, memory_offset=0.5, seed=4))
        symbols, targets = (values[:1] for values in self.symbols(scored=3))
        noise = np.random.default_rng(6).normal(0, 0.5, (1, 3, 3, skip + 2))
        included = [1.0, 0.0, 1.0]
        after, losses, _ = network.train_symbols(
            weights, symbols, targets, 0.5, included, scored=3, noise=noise
        )
        with tf.GradientTape() as tape:
            tape.watch(weights)
            state, loss = network.initial_state(3, "float64"), 0.0
            for t in range(7):
                x = tf.one_hot(symbols[0, :, t], 4, dtype="float64")
                _, state, inside = network.step(weights, state, x, tf.constant(included, "float64"))
                if t < 4:
                    continue
                factor = 1 + noise[0, :, t - 4]
                parts = [factor[:, :1] * x] if skip else []
                of_memory = factor[:, skip:] * inside["features"][:, -2:]
                features = tf.concat([*parts, of_memory], axis=-1)
                net = tf.einsum("nf,nfo->no", features, weights["output_kernel"])
                error = AAN()(net + weights["output_bias"]) - np.eye(5)[targets[0, :, t - 4]]
                np.testing.assert_allclose(
                    losses[0, :, t - 4], tf.reduce_sum(error**2, -1) / 2, rtol=1e-9
                )
                loss += tf.reduce_sum(error**2) / 2
        for name, gradient in tape.gradient(loss, weights).items():
            np.testing.assert_allclose(
                after[name], weights[name] - 0.5 * gradient, rtol=1e-8, atol=1e-11, err_msg=name
            )

    def test_symbols_that_do_not_fit(self):
        network = TruncatedRTRL(4, 2, 5)
        weights = network.initial_weights(3)
        symbols, targets = self.symbols(scored=2)
        with pytest.raises(ValueError, match="`symbols` must have shape .* with 3 networks"):
            network.train_symbols(weights, symbols[:, :2], targets, 0.1)
        with pytest.raises(ValueError, match="`scored` must be an integer from 1 to .* 7"):
            network.train_symbols(weights, symbols, targets, 0.1, scored=8)
        with pytest.raises(ValueError, match=r"`targets` must have shape .* here \(6, 3, 7\)"):
            network.train_symbols(weights, symbols, targets, 0.1)
        with pytest.raises(ValueError, match="`symbols` must be integers from 0 to 3"):
            network.train_symbols(weights, symbols + 1, targets, 0.1, scored=2)
        with pytest.raises(ValueError, match="`targets` must be integers from 0 to 4"):
            network.train_symbols(weights, symbols, targets + 0.5, 0.1, scored=2)
        with pytest.raises(ValueError, match=r"`noise` must have shape .* here \(6, 3, 2, 2\)"):
            network.train_symbols(weights, symbols, targets, 0.1, scored=2, noise=np.ones(2))
        hidden = TruncatedRTRL(4, 2, 5, hidden=3)
        with pytest.raises(ValueError, match="has a hidden layer"):
            hidden.train_symbols(hidden.initial_weights(3), symbols, targets, 0.1, scored=2)

    def test_it_learns_what_only_a_memory_can_know_and_converts(self):
        # The last symbol of (x, a1, a2, a3, x) or (y, a1, a2, a3, y) is the first one: half of the
        # networks have no LSTMs and cannot do better than 0.5 for each.
        symbols, trials, networks = 5, 1500, 8
        activation = fit_aan(AdaptiveSpikingNeuron()).activation
        random = np.random.default_rng(0)
        first = random.integers(0, 2, (trials, networks))
        between = [np.full_like(first, symbol) for symbol in (2, 3, 4)]
        sequence = np.stack([first, *between, first])
        one_hot = np.moveaxis(np.eye(symbols)[sequence], 0, 2).astype("float32")
        network = TruncatedRTRL(symbols, 3, symbols, skip=True, activation=activation)
        weights = network.initial_weights(networks, limit=0.5, memory_offset=1.0, seed=1)
        included = np.arange(networks) < networks // 2
        weights, outputs = network.train(
            weights, one_hot[:, :, :-1], one_hot[:, :, 1:], 0.3, included=included
        )
        errors = np.abs(outputs - one_hot[:, :, 1:])[-100:, :, -1].max(axis=-1).mean(axis=0)
        assert (errors[~included] > 0.4).all()
        converged = errors < 0.25
        assert converged[included].sum() >= 3

        x = np.stack([np.eye(symbols)[[s, 2, 3, 4]] for s in (0, 1)]).astype("float32")
        right = {None: [], 100e-3: []}
        for n in np.flatnonzero(converged):
            model = network.to_keras(weights, int(n))
            np.testing.assert_array_equal(model(x)[:, -1, :2].numpy().argmax(axis=-1), [0, 1])
            response = convert(model, AdaptiveSpikingNeuron(), cec_weight="exact")(x)
            for last in right:
                chosen = response.averages(last)[:, -1, :2].argmax(axis=-1)
                right[last].append(chosen.tolist() == [0, 1])
        assert all(right[100e-3])
        assert not all(right[None]), "the last symbol is still being written at a window's start"

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"inputs": 0}, "`inputs` must be an integer of at least 1"),
            ({"hidden": -1}, "`hidden` must be an integer of at least 0"),
            ({"activation": "relu"}, "`activation` must be an AAN"),
            ({"output_activation": "relu"}, "`output_activation` must be an AAN"),
            ({"normalize_at": 0}, "`normalize_at` must be a number above 0 or None"),
        ],
    )
    def test_arguments_out_of_range(self, arguments, message):
        with pytest.raises(ValueError, match=f"TruncatedRTRL: {message}"):
            TruncatedRTRL(**{"inputs": 2, "units": 1, "outputs": 1, **arguments})

    def test_sequences_that_do_not_fit(self):
        network = TruncatedRTRL(2, 1, 3)
        weights = network.initial_weights(2)
        x, targets = np.ones((1, 2, 4, 2)), np.ones((1, 2, 4, 3))
        with pytest.raises(ValueError, match="`x` must have shape .* here with 2 networks"):
            network.train(weights, x[:, :1], targets, 0.1)
        with pytest.raises(ValueError, match="`targets` must have shape .* out = 3"):
            network.train(weights, x, targets[..., :2], 0.1)
        with pytest.raises(ValueError, match="`update` must be 'step' or 'sequence'"):
            network.train(weights, x, targets, 0.1, update="trial")


class TMaze:
    """A corridor of `length` steps, then up or down as the first observation said."""

    def __init__(self, length, seed=0):
        self.length = length
        self.random = np.random.default_rng(seed)

    def observation(self):
        if self.position == self.length:
            return np.array([0.0, 1, 0])
        at_start = [0.0, 1, 1] if self.up else [1.0, 1, 0]
        return np.array(at_start if self.position == 0 else [1.0, 0, 1])

    def reset(self):
        self.position, self.steps, self.up = 0, 0, bool(self.random.integers(2))
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        if self.position == self.length and action < 2:
            reward = 4.0 if (action == 0) == self.up else -0.4
            return self.observation(), reward, True, False, {}
        moved = min(max(self.position + {2: 1, 3: -1}.get(action, 0), 0), self.length)
        reward = 0.0 if moved != self.position else -0.4
        self.position = moved
        return self.observation(), reward, False, self.steps >= 50, {}


class Recall:
    """A cue, `length` steps of waiting, and a reward for the action it named; in TensorFlow."""

    randoms = 1

    def __init__(self, length=2, time_limit=99):
        self.length = length
        self.time_limit = time_limit

    def reset(self, uniform):
        cue = tf.cast(uniform[:, 0] < 0.5, "int32")
        return {"cue": cue, "steps": tf.zeros_like(cue)}, tf.one_hot(cue, 3)

    def step(self, state, actions, uniform):
        steps = state["steps"] + 1
        terminated = steps > self.length
        rewards = tf.where(terminated & (actions == state["cue"]), 1.0, 0.0)
        waiting = tf.one_hot(tf.fill(tf.shape(steps), 2), 3)
        truncated = (steps >= self.time_limit) & ~terminated
        return {**state, "steps": steps}, waiting, rewards, terminated, truncated


class TestCompiledEnvironment:
    def agents(self, networks=3, **arguments):
        network = TruncatedRTRL(3, 2, 2, hidden=2, normalize_at=1.0)
        return RLLSTM(
            network,
            networks,
            **{"learning_rate": 0.05, "limit": 0.8, "memory_offset": 1.0, "seed": 5, **arguments},
        )

    def test_the_loop_does_what_step_after_step_does(self, monkeypatch):
        # With the same random numbers, one call of `learn` for each step. Episodes of the first two
        # agents end, those of the third one are cut off.
        environment = Recall(np.array([2, 2, 4]), time_limit=np.array([99, 99, 3]))
        agents, others = self.agents(), self.agents()
        monkeypatch.setattr(others, "_uniform", lambda draw: agents._uniform(draw, 1))
        draw = tf.function(agents._uniform, jit_compile=True)
        agents.start(environment)
        state, x = environment.reset(agents._uniform(tf.constant([5, 1]), 1)[:, 2:])
        actions = others.begin(x)
        totals, returns = np.zeros(3), [[], [], []]
        for number in range(2, 14):
            np.testing.assert_array_equal(agents._agents["episode"]["action"], actions)
            uniform = draw(tf.constant([5, number]), 1)[:, 2:]
            state, x, rewards, terminated, truncated = environment.step(state, actions, uniform)
            done = (terminated | truncated).numpy()
            first_state, first = environment.reset(uniform)
            state = {name: tf.where(done, first_state[name], state[name]) for name in state}
            actions = others.learn(rewards, x, terminated, truncated, first)
            agents.train(1)
            for ours, expected in zip(
                tf.nest.flatten(agents._agents), tf.nest.flatten(others._agents), strict=True
            ):
                np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
            totals = totals + rewards.numpy()
            for agent in np.flatnonzero(done):
                returns[agent].append(totals[agent])
                totals[agent] = 0
        learned = agents.weights["output_kernel"].numpy()
        assert not np.allclose(learned, self.agents().weights["output_kernel"], atol=1e-4)
        steps, episodes, mean_return, converged, _ = agents.progress
        assert steps.tolist() == [12] * 3
        assert episodes.tolist() == [len(of_agent) for of_agent in returns] == [4] * 3
        np.testing.assert_allclose(mean_return, [np.mean(of_agent) for of_agent in returns])
        assert not converged.any()

    def test_chunks_and_snapshots_change_nothing(self):
        agents, restored = self.agents(), self.agents()
        agents.start(Recall())
        beginning = agents.snapshot()
        whole = agents.train(60)
        weights = {name: value.numpy() for name, value in agents.weights.items()}
        agents.restore(beginning)
        agents.train(25)
        snapshot = agents.snapshot()
        agents.train(35)
        restored.start(Recall())
        restored.restore(snapshot)
        restored.train(10)
        restored.train(25)
        for those in (agents, restored):
            for name, value in weights.items():
                np.testing.assert_array_equal(those.weights[name], value)
            np.testing.assert_array_equal(those.progress.mean_return, whole.mean_return)
            assert those.progress.steps.tolist() == [60] * 3
            assert those.steps == 60
        agents.start(Recall())
        restored.restore(agents.snapshot())
        assert restored.steps == agents.steps == 0

    def test_agents_stop_learning_when_they_have_converged(self):
        agents = self.agents(networks=12, seed=3, trace_decay=0.5, temperature=0.1)
        agents.start(Recall(0), episodes=20)
        before = agents.train(0, target=0.85)
        assert np.isnan(before.mean_return).all()
        some = None
        for _ in range(40):
            progress = agents.train(100, target=0.85)
            if some is None and progress.converged.any() and not progress.converged.all():
                some = progress, {name: value.numpy() for name, value in agents.weights.items()}
        progress_then, weights_then = some
        stopped = progress_then.converged
        assert (progress.converged >= stopped).all()
        assert (progress.mean_return[progress.converged] > 0.85).all()
        assert (progress.episodes >= 20).all()
        np.testing.assert_array_equal(progress.steps[stopped], progress_then.steps[stopped])
        for name, value in agents.weights.items():
            np.testing.assert_array_equal(value.numpy()[stopped], weights_then[name][stopped])
            assert not np.array_equal(value.numpy()[~stopped], weights_then[name][~stopped])

    def test_agents_may_go_on_learning_when_they_have_converged(self):
        agents = self.agents(networks=6, seed=3, trace_decay=0.5, temperature=0.1)
        agents.start(Recall(0), episodes=20)
        target, progress = 0.6, agents.train(0)
        while not progress.converged.any():
            progress = agents.train(100, target, stop=1.1)
        converged = progress.converged
        before = agents.weights["output_kernel"].numpy()[converged]
        later = agents.train(200, target, stop=1.1)
        np.testing.assert_array_equal(later.steps[converged], progress.steps[converged])
        assert (later.episodes > progress.episodes).all()
        assert not later.stopped.any(), "nobody has a reward of 1.1"
        assert not np.array_equal(agents.weights["output_kernel"].numpy()[converged], before)

    def test_calls_that_do_not_fit(self):
        agents = self.agents()
        with pytest.raises(RuntimeError, match=r"call start\(environment\) before train"):
            agents.train(5)
        with pytest.raises(ValueError, match="`episodes` must be an integer of at least 1"):
            agents.start(Recall(), episodes=0)
        agents.start(Recall())
        snapshot = agents.snapshot()
        with pytest.raises(RuntimeError, match="call begin"):
            agents.learn([0, 0, 0], np.ones((3, 3)), False, False)
        agents.begin(np.ones((3, 3)))
        with pytest.raises(RuntimeError, match="call start"):
            agents.train(5)
        for call in (agents.snapshot, lambda: agents.restore(snapshot)):
            with pytest.raises(RuntimeError, match="call start"):
                call()
        agents.start(Recall())
        for steps in (-5, 2.5, "a"):
            with pytest.raises(ValueError, match="`steps` must be an integer of at least 0"):
                agents.train(steps)
        others = self.agents(networks=2)
        others.start(Recall())
        with pytest.raises(ValueError, match="`snapshot` must be of agents with the same network"):
            others.restore(snapshot)


class TestAdvantageLearning:
    def test_errors_by_hand(self):
        # V = 2, V' = 3: 2 + (r + 0.9 * 3 - 2) / 0.5 - A(s, a), and without V' at the end.
        advantages = tf.constant([[1.0, 2.0], [1.0, 2.0]])
        error = advantage_error(
            advantages,
            action=tf.constant([0, 1]),
            reward=tf.constant([1.0, -0.4]),
            next_advantages=tf.constant([[3.0, -1.0], [3.0, -1.0]]),
            terminated=tf.constant([False, True]),
            discount=0.9,
            scale=0.5,
        )
        np.testing.assert_allclose(
            error, [2 + (1 + 2.7 - 2) / 0.5 - 1, 2 + (-0.4 - 2) / 0.5 - 2], rtol=1e-6
        )

    def test_traces_by_hand(self):
        traces = {"a": tf.constant([[2.0], [2.0]]), "b": tf.constant([1.0, 1.0])}
        gradients = {"a": tf.constant([[0.5], [0.25]]), "b": tf.constant([3.0, -1.0])}
        moved = updated_traces(traces, gradients, 0.75, tf.constant([False, True]))
        np.testing.assert_array_equal(moved["a"], [[2.0], [0.25]])
        np.testing.assert_array_equal(moved["b"], [3.75, -1.0])

    def agent(self, networks=2, **arguments):
        network = TruncatedRTRL(3, 2, 4, hidden=2, normalize_at=1.0)
        return RLLSTM(
            network, networks, **{"learning_rate": 0.1, "limit": 0.8, "seed": 5, **arguments}
        )

    def test_weights_follow_the_rule(self):
        # Replays an agent with the equations, given its actions; the second agent's episode ends
        # at step 2, and is cut off at step 4.
        agent = self.agent()
        network = agent.network
        random = np.random.default_rng(6)
        x = random.uniform(0, 1, (7, 2, 3)).astype("float32")
        first = random.uniform(0, 1, (7, 2, 3)).astype("float32")
        rewards = random.normal(size=(7, 2)).astype("float32")
        terminated, truncated = np.zeros((2, 7, 2), bool)
        terminated[2, 1], truncated[4, 1] = True, True

        weights = {name: value.numpy() for name, value in agent.weights.items()}
        observed, state = x[0], network.initial_state(2)
        traces = {name: np.zeros_like(value) for name, value in weights.items()}
        decay = np.zeros(2)
        actions = agent.begin(x[0])
        for t in range(1, 7):
            tensors = {name: tf.constant(value, "float32") for name, value in weights.items()}
            y, state, inside = network.step(tensors, state, tf.constant(observed))
            chosen = np.eye(4, dtype="float32")[actions]
            gradients = network.gradients(tensors, inside, tf.constant(chosen))
            for name in weights:
                shape = (2, *[1] * (weights[name].ndim - 1))
                traces[name] = decay.reshape(shape) * traces[name] + gradients[name].numpy()
            next_y, _, _ = network.step(tensors, state, tf.constant(x[t]))
            V, next_V = y.numpy().max(axis=1), next_y.numpy().max(axis=1)
            next_V[terminated[t]] = 0
            error = V + (rewards[t] + 0.98 * next_V - V) / 0.1 - (y.numpy() * chosen).sum(axis=1)
            for name in weights:
                shape = (2, *[1] * (weights[name].ndim - 1))
                weights[name] = weights[name] + 0.1 * error.reshape(shape) * traces[name]
            actions = agent.learn(rewards[t], x[t], terminated[t], truncated[t], first[t])
            np.testing.assert_allclose(agent.errors, error, rtol=1e-4, atol=1e-4)
            for name, value in agent.weights.items():
                np.testing.assert_allclose(value, weights[name], rtol=1e-4, atol=1e-4)
            done = terminated[t] | truncated[t]
            state = tf.nest.map_structure(
                lambda value, done=done: (
                    value.numpy() * ~done.reshape(2, *[1] * (len(value.shape) - 1))
                ),
                state,
            )
            observed = np.where(done[:, None], first[t], x[t])
            decay = np.where(done, 0.0, 0.98 * 0.8)
        assert np.abs(error).max() > 0.1

    def test_actions_are_drawn_with_the_temperature(self):
        agent = self.agent(networks=4000, exploration="boltzmann", temperature=0.5)
        for weight in agent.weights.values():
            weight.assign(tf.zeros_like(weight))
        agent.weights["output_bias"].assign(tf.tile([[0.0, 0.5, -0.5, 1.0]], (4000, 1)))
        actions = agent.begin(np.ones((4000, 3)))
        expected = np.exp([0.0, 1.0, -1.0, 2.0])
        expected /= expected.sum()
        counted = np.bincount(actions, minlength=4) / 4000
        assert (np.abs(counted - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)).all()

    def test_directed_exploration_predicts_the_error(self):
        # Errors do not depend on weights that do not learn, so v settles at |error| / (1 - beta).
        agent = self.agent(
            networks=1,
            learning_rate=0.0,
            exploration="directed",
            exploration_rate=0.05,
            exploration_discount=0.5,
        )
        for weight in agent.weights.values():
            weight.assign(tf.zeros_like(weight))
        x = np.ones((1, 3))
        agent.begin(x)
        for _ in range(400):
            agent.learn([0.3], x, False, False)
        assert agent.errors.numpy().item() == pytest.approx(0.3 / 0.1, rel=1e-4)
        predicted = agent._predicted_error(agent.exploration_weights, tf.constant(x, "float32"))
        assert predicted.numpy().item() == pytest.approx(3 / (1 - 0.5), rel=1e-2)

    def test_weights_stay_without_learning(self):
        agent = self.agent()
        before = {name: value.numpy() for name, value in agent.weights.items()}
        agent.run([TMaze(1), TMaze(1)], 20, learn=False)
        for name, value in agent.weights.items():
            np.testing.assert_array_equal(value, before[name])
        agent.run([TMaze(1), TMaze(1)], 20)
        assert not np.array_equal(agent.weights["output_kernel"], before["output_kernel"])

    def test_seeds(self):
        x = np.ones((50, 3))
        actions = [self.agent(networks=50, seed=seed).begin(x).tolist() for seed in (1, 1, 2)]
        assert actions[0] == actions[1] != actions[2]
        agent = self.agent(networks=50, seed=1)
        assert [agent.begin(x).tolist() for _ in range(2)][0] == actions[0]
        assert agent.begin(x).tolist() != actions[0], "each draw is a new one"

    def test_it_learns_a_short_t_maze(self):
        # Without memory the mean reward is at most (4 - 0.4) / 2 = 1.8.
        network = TruncatedRTRL(3, 3, 4, hidden=6, normalize_at=1.0)
        agent = RLLSTM(
            network,
            networks=16,
            learning_rate=0.01,
            trace_decay=0.5,
            advantage_scale=0.3,
            temperature=0.1,
            limit=0.5,
            memory_offset=1.0,
            seed=1,
        )
        returns = agent.run([TMaze(1, seed) for seed in range(16)], 3000)
        early, late = (
            np.array([np.mean(of_agent[part]) for of_agent in returns])
            for part in (slice(50), slice(-50, None))
        )
        assert np.median(early) < 1.8
        assert np.median(late) > 1.8
        assert (late > 3.5).sum() >= 4
        best = int(late.argmax())
        model = network.to_keras(agent.weights, best)
        assert model(np.ones((1, 2, 3))).shape == (1, 2, 4)

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"learning_rate": -1}, "`learning_rate` must be at least 0"),
            ({"discount": 1.1}, "`discount` must be at least 0 and at most 1"),
            ({"advantage_scale": 0}, "`advantage_scale` must be at least 1e-06 and at most 1"),
            ({"temperature": math.nan}, "`temperature` must be at least"),
            ({"exploration": "greedy"}, "`exploration` must be 'directed' or 'boltzmann'"),
        ],
    )
    def test_arguments_out_of_range(self, arguments, message):
        with pytest.raises(ValueError, match=f"RLLSTM: {message}"):
            RLLSTM(TruncatedRTRL(1, 1, 2), **arguments)

    def test_calls_that_do_not_fit(self):
        agent = self.agent()
        with pytest.raises(RuntimeError, match=r"call begin\(observations\) before learn"):
            agent.learn([0, 0], np.ones((2, 3)), False, False)
        with pytest.raises(ValueError, match=r"must have shape \(networks, in\), here \(2, 3\)"):
            agent.begin(np.ones(3))
        with pytest.raises(ValueError, match="must be a list of 2 environments"):
            agent.run([TMaze(1)], 5)
