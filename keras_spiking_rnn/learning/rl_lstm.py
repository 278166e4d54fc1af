"""Reinforcement learning with Adaptive Analog LSTMs: RL-LSTM.

References:
    *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018), section 2,
    "Learning rule used for training the spiking LSTM", and section 3, "T-Maze task".

    *Reinforcement learning with Long Short-Term Memory* (2002), which the paper follows.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_spiking_rnn import checks
from keras_spiking_rnn.learning.truncated_rtrl import RTRLState

EXPLORATIONS = ("directed", "boltzmann")


def advantage_error(advantages, action, reward, next_advantages, terminated, discount, scale):
    r"""Temporal difference error of Advantage learning.

    $$ \delta = V(s) + \frac{r + \gamma V(s') - V(s)}{\kappa} - A(s, a), \quad V = \max_a A $$

    Args:
        advantages: $A(s, \cdot)$, `(networks, actions)`.
        action: The action $a$ that was taken, integers, `(networks,)`.
        reward: $r$, `(networks,)`.
        next_advantages: $A(s', \cdot)$, `(networks, actions)`.
        terminated: Whether the episode ended in $s'$, whose value is then 0, `(networks,)`.
        discount: $\gamma$.
        scale: $\kappa$, at most 1: the smaller, the further the advantages are apart. 1 is
            Q-learning.

    Returns:
        $\delta$, `(networks,)`.
    """
    value = tf.reduce_max(advantages, axis=-1)
    next_value = tf.where(terminated, 0.0, tf.reduce_max(next_advantages, axis=-1))
    chosen = tf.gather(advantages, action, axis=-1, batch_dims=1)
    return value + (reward + discount * next_value - value) / scale - chosen


def updated_traces(traces, gradients, decay, restart):
    r"""Eligibility traces, $e \leftarrow \gamma \lambda\,e + \partial A(s, a) / \partial w$.

    Args:
        traces: Dictionary of the traces of the previous step, with the first axis `networks`.
        gradients: Dictionary of the derivatives of the chosen actions' advantages.
        decay: $\gamma \lambda$.
        restart: Whether an episode starts, `(networks,)`: the old traces are dropped.

    Returns:
        A dictionary of the traces.
    """
    kept = tf.where(restart, 0.0, decay)
    return {name: _each(kept, trace) * trace + gradients[name] for name, trace in traces.items()}


def _each(factor, like):
    """`factor`, one number for each network, in a shape that multiplies `like`."""
    return tf.reshape(factor, (-1, *[1] * (like.shape.rank - 1)))


class Progress(NamedTuple):
    """How far agents have come: arrays with one entry for each.

    Attributes:
        steps: Actions until the agent converged, or so far.
        episodes: Episodes that it finished while it learned.
        mean_return: Mean total reward of the last of these, NaN before the first one has ended.
        converged: Whether the agent has converged.
        stopped: Whether it has stopped learning.
    """

    steps: np.ndarray
    episodes: np.ndarray
    mean_return: np.ndarray
    converged: np.ndarray
    stopped: np.ndarray


class RLLSTM:
    r"""Agents that learn the advantages of actions with Adaptive Analog LSTMs, side by side.

    The outputs of a network are the advantages $A(s, a)$ of the actions. After each action,

    $$
    \begin{aligned}
    \delta &= V(s) + \frac{r + \gamma V(s') - V(s)}{\kappa} - A(s, a)\\
    e &\leftarrow \gamma \lambda\,e + \frac{\partial A(s, a)}{\partial w}\\
    w &\leftarrow w + \alpha\,\delta\,e
    \end{aligned}
    $$

    with the derivatives of truncated RTRL. $\delta$ and $e$ are computed with the weights before
    the update, the next action is chosen with those after it. Actions are drawn with the
    probabilities $\mathrm{softmax}(A(s, \cdot) / T)$. With directed exploration, a second network
    of each agent predicts from the observation how far the advantages are off,
    $v(s) \to |\delta| + \beta\,v(s')$, and $T$ is proportional to $(1 - \beta)\,v$, a mean of
    $|\delta|$ over the next steps: agents explore where they err.

    `run` lets agents act in environments as those of Gymnasium, one call for each step; `begin` and
    `learn` are its parts. `start` and `train` do so in an environment written in TensorFlow, in one
    compiled loop, which is some hundred times as fast.

    Args:
        network: A `TruncatedRTRL` with an output for each action.
        networks: Number of agents.
        learning_rate: $\alpha$.
        discount: $\gamma$.
        trace_decay: $\lambda$.
        advantage_scale: $\kappa$.
        exploration: `"directed"`, or `"boltzmann"` for a fixed temperature.
        temperature: $T$, or with directed exploration its factor to $(1 - \beta)\,v$.
        minimum_temperature: Lower limit of $T$ in directed exploration.
        exploration_units: Hidden units of the network of directed exploration.
        exploration_rate: Its learning rate.
        exploration_discount: $\beta$.
        limit: Weights are drawn between -`limit` and `limit`.
        memory_offset: Number that is added to the weights of the LSTMs: see
            `TruncatedRTRL.initial_weights`.
        seed: Seed of weights and actions.

    Raises:
        ValueError: If an argument is out of range.

    References:
        *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018),
        section 2, "Learning rule used for training the spiking LSTM".

        *Reinforcement learning with Long Short-Term Memory* (2002): $\alpha$, $\gamma$, $\lambda$
        and $\kappa$, and directed exploration. Its other settings are not given here by any
        source.
    """

    def __init__(
        self,
        network,
        networks=1,
        learning_rate=0.0002,
        discount=0.98,
        trace_decay=0.8,
        advantage_scale=0.1,
        exploration="directed",
        temperature=1.0,
        minimum_temperature=0.05,
        exploration_units=8,
        exploration_rate=0.01,
        exploration_discount=0.9,
        limit=0.1,
        memory_offset=0.0,
        seed=0,
    ):
        for name, value, low, high in (
            ("learning_rate", learning_rate, 0, math.inf),
            ("discount", discount, 0, 1),
            ("trace_decay", trace_decay, 0, 1),
            ("advantage_scale", advantage_scale, 1e-6, 1),
            ("temperature", temperature, 1e-6, math.inf),
            ("minimum_temperature", minimum_temperature, 1e-6, math.inf),
            ("exploration_rate", exploration_rate, 0, math.inf),
            ("exploration_discount", exploration_discount, 0, 1),
        ):
            if not checks.is_number(value, low, high):
                limits = f"at least {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
                raise ValueError(f"RLLSTM: `{name}` must be {limits}. Received: {name}={value!r}")
        checks.either("RLLSTM", "exploration", exploration, EXPLORATIONS)
        self.network = network
        self.networks = networks
        self.learning_rate = learning_rate
        self.discount = discount
        self.trace_decay = trace_decay
        self.advantage_scale = advantage_scale
        self.exploration = exploration
        self.temperature = temperature
        self.minimum_temperature = minimum_temperature
        self.exploration_rate = exploration_rate
        self.exploration_discount = exploration_discount
        self.seed = seed
        self.weights = _variables(
            network.initial_weights(networks, limit=limit, memory_offset=memory_offset, seed=seed)
        )
        random = np.random.default_rng((seed, 1))
        scale = 1 / math.sqrt(network.inputs)
        # With this bias the first temperature is about `temperature`.
        self.exploration_weights = {
            "hidden_kernel": random.normal(0, scale, (networks, network.inputs, exploration_units)),
            "hidden_bias": np.zeros((networks, exploration_units)),
            "output_kernel": random.normal(0, 0.1, (networks, exploration_units)),
            "output_bias": np.full(networks, 1 / max(1 - exploration_discount, 0.01)),
        }
        self.exploration_weights = _variables(self.exploration_weights)
        # All that changes. Variables, since a compiled function takes long to pass on many tensors.
        empty = network.initial_state(networks)
        self._agents = {
            "weights": self.weights,
            "exploration_weights": self.exploration_weights,
            "episode": _variables(
                {
                    "x": tf.zeros((networks, network.inputs)),
                    "state": empty._asdict(),
                    "advantages": tf.zeros((networks, network.outputs)),
                    "action": tf.zeros(networks, "int32"),
                    "traces": {name: tf.zeros_like(value) for name, value in self.weights.items()},
                }
            ),
        }
        self._draws = 0
        self._begun = False
        self._environment = None

    def begin(self, observations):
        """Starts an episode of each agent.

        Args:
            observations: First observations, `(networks, in)`.

        Returns:
            The agents' actions, integers, `(networks,)`.
        """
        self._begun = True
        self._environment = None
        self.errors = None
        return self._begin(self._observations(observations), self._next_draw()).numpy()

    def learn(
        self, rewards, observations, terminated, truncated, first_observations=None, learn=True
    ):
        """Learns from what the last actions led to, and chooses the next actions.

        Args:
            rewards: Rewards, `(networks,)`.
            observations: What the agents observe now, `(networks, in)`.
            terminated: Whether the episode ended, `(networks,)`; nothing more is to be gained.
            truncated: Whether the episode was cut off, `(networks,)`.
            first_observations: First observations of the next episodes, `(networks, in)`; they
                count where an episode ended or was cut off.
            learn: Whether to change the weights.

        Returns:
            The agents' next actions, integers, `(networks,)`. The attribute `errors` is their last
            temporal difference error.

        Raises:
            RuntimeError: If no episode was started with `begin`.
            ValueError: If a shape does not fit.
        """
        if not self._begun:
            raise RuntimeError("RLLSTM: call begin(observations) before learn().")
        x = self._observations(observations)
        first = x if first_observations is None else self._observations(first_observations)
        terminated, truncated = (
            tf.constant(np.broadcast_to(flags, self.networks), "bool")
            for flags in (terminated, truncated)
        )
        reward = tf.constant(np.broadcast_to(rewards, self.networks), "float32")
        actions, self.errors = self._advance(
            reward,
            x,
            terminated,
            truncated,
            first,
            tf.constant(float(learn)),
            self._next_draw(),
        )
        return actions.numpy()

    def run(self, environments, steps, learn=True):
        """Lets each agent act in its environment, and learn.

        An environment is what Gymnasium calls one: it has `reset() -> (observation, info)` and
        `step(action) -> (observation, reward, terminated, truncated, info)`. Each is reset at the
        start, and whenever an episode ends.

        Args:
            environments: List of an environment for each agent.
            steps: Number of actions of each agent.
            learn: Whether the weights change.

        Returns:
            For each agent the list of the total rewards of the episodes that it finished.

        Raises:
            ValueError: If there are not as many environments as agents.
        """
        if len(environments) != self.networks:
            raise ValueError(
                f"RLLSTM.run: `environments` must be a list of {self.networks} environments, one "
                f"for each agent. Received {len(environments)}."
            )
        returns = [[] for _ in environments]
        totals = np.zeros(self.networks)
        actions = self.begin(np.stack([environment.reset()[0] for environment in environments]))
        for _ in range(steps):
            results = [
                environment.step(int(action))
                for environment, action in zip(environments, actions, strict=True)
            ]
            observations, rewards, terminated, truncated, _ = (
                list(values) for values in zip(*results, strict=True)
            )
            first = list(observations)
            totals += rewards
            for agent, environment in enumerate(environments):
                if terminated[agent] or truncated[agent]:
                    returns[agent].append(float(totals[agent]))
                    totals[agent] = 0
                    first[agent] = environment.reset()[0]
            actions = self.learn(
                rewards, np.stack(observations), terminated, truncated, np.stack(first), learn
            )
        return returns

    def start(self, environment, episodes=100):
        """Puts each agent into a compiled environment, at the start of an episode.

        The environment computes with tensors whose first axis is `networks`, an entry for each
        agent, and has no state or randomness of its own:

        - `reset(uniform) -> (state, observations)` starts episodes. `uniform` are random numbers
          between 0 and 1, `(networks, randoms)`; `state` is a tensor, or a dictionary or tuple of
          tensors.
        - `step(state, actions, uniform) -> (state, observations, rewards, terminated, truncated)`
          as with Gymnasium.
        - `randoms` is how many random numbers an agent's step needs.

        Args:
            environment: The environment.
            episodes: Over how many of an agent's last episodes total rewards are averaged.

        Raises:
            ValueError: If `episodes` is no integer above 0.
        """
        if not checks.is_integer(episodes, 1):
            raise ValueError(
                "RLLSTM.start: `episodes` must be an integer of at least 1. Received: "
                f"episodes={episodes!r}"
            )
        uniform = self._uniform(self._next_draw(), environment.randoms)
        state, x = environment.reset(uniform[:, self.network.outputs :])
        restart = tf.ones(self.networks, "bool")
        agents = self._acted(_read(self._agents), x, restart, uniform)
        _assign(self._agents, agents)
        self._environment = environment
        self._run = _variables(
            {
                "state": state,
                "total": tf.zeros(self.networks),
                "recent": tf.zeros((self.networks, episodes)),
                "episodes": tf.zeros(self.networks, "int32"),
                "steps": tf.zeros(self.networks, "int32"),
                "converged": tf.zeros(self.networks, "bool"),
                "stopped": tf.zeros(self.networks, "bool"),
            }
        )
        self._train = self._compiled(environment)
        self._started = self._draws
        self._begun = False

    def train(self, steps, target=math.inf, stop=None):
        """Lets the agents act and learn, in one compiled loop, from where they are.

        An agent whose mean total reward over the last `episodes` episodes is above `target` has
        converged. Once it is above `stop` as well, the agent keeps the weights that it has then.

        Args:
            steps: Number of actions of each agent. If all have stopped, it may be fewer.
            target: Mean total reward from which on an agent has converged.
            stop: Mean total reward at which it stops learning; by default `target`.

        Returns:
            The `Progress` since `start`.

        Raises:
            RuntimeError: If the agents were not put into an environment with `start`.
            ValueError: If `steps` is no integer of at least 0.
        """
        self._need_start("train")
        if not checks.is_integer(steps, 0):
            raise ValueError(
                f"RLLSTM.train: `steps` must be an integer of at least 0. Received: steps={steps!r}"
            )
        seeds = tf.constant([self.seed, self._draws])
        limits = tf.constant([target, target if stop is None else stop], "float32")
        self._draws += int(self._train(tf.constant(steps), limits, seeds))
        return self.progress

    @property
    def steps(self):
        """Actions of each agent since `start`."""
        return self._draws - self._started

    @property
    def progress(self):
        """The `Progress` of the agents since `start`."""
        recent, finished = self._run["recent"].numpy(), self._run["episodes"].numpy()
        episodes = np.minimum(finished, recent.shape[1])
        with np.errstate(invalid="ignore"):
            mean = recent.sum(axis=1) / episodes
        flags = self._run["converged"].numpy(), self._run["stopped"].numpy()
        return Progress(self._run["steps"].numpy(), finished, mean, *flags)

    def snapshot(self):
        """All that agents in a compiled environment have become: a dictionary of arrays.

        `restore` continues from it, with the same numbers as if nothing had come in between.

        Raises:
            RuntimeError: If the agents were not put into an environment with `start`.
        """
        self._need_start("snapshot")
        values = [variable.numpy() for variable in tf.nest.flatten([self._agents, self._run])]
        counts = {"draws": np.array(self._draws), "started": np.array(self._started)}
        return {**counts, **{f"{n}": v for n, v in enumerate(values)}}

    def restore(self, snapshot):
        """Continues from a `snapshot` of agents with the same arguments and the same environment.

        Args:
            snapshot: What `snapshot` returned. Call `start` first.

        Raises:
            RuntimeError: If the agents were not put into an environment with `start`.
            ValueError: If it is not of such agents.
        """
        self._need_start("restore")
        variables = tf.nest.flatten([self._agents, self._run])
        shapes = {f"{n}": tuple(variable.shape) for n, variable in enumerate(variables)}
        given = {name: np.shape(value) for name, value in snapshot.items()}
        if given != {"draws": (), "started": (), **shapes}:
            raise ValueError(
                "RLLSTM.restore: `snapshot` must be of agents with the same network, number and "
                "environment. Make the agents as they were made then, and call start()."
            )
        for name, variable in zip(shapes, variables, strict=True):
            variable.assign(snapshot[name])
        self._draws, self._started = int(snapshot["draws"]), int(snapshot["started"])

    def _need_start(self, method):
        if self._environment is None:
            raise RuntimeError(f"RLLSTM: call start(environment) before {method}().")

    def _observations(self, observations):
        observations = np.asarray(observations, "float32")
        expected = (self.networks, self.network.inputs)
        if observations.shape != expected:
            raise ValueError(
                f"RLLSTM: observations must have shape (networks, in), here {expected}. Received "
                f"the shape {observations.shape}."
            )
        return tf.constant(observations)

    def _next_draw(self):
        self._draws += 1
        return tf.constant([self.seed, self._draws])

    def _predicted_error(self, weights, x):
        """Predicts the error that directed exploration goes by, `(networks,)`."""
        net = tf.einsum("ni,nih->nh", x, weights["hidden_kernel"]) + weights["hidden_bias"]
        hidden = tf.tanh(net)
        return tf.reduce_sum(hidden * weights["output_kernel"], axis=-1) + weights["output_bias"]

    def _acted(self, agents, x, restart, uniform):
        """Computes advantages, draws actions and updates the traces: an episode's next step."""
        weights, episode = agents["weights"], agents["episode"]
        state = RTRLState(
            **{
                name: tf.where(_each(restart, value), 0.0, value)
                for name, value in episode["state"].items()
            }
        )
        advantages, state, inside = self.network.step(weights, state, x)
        temperature = self.temperature
        if self.exploration == "directed":
            predicted = self._predicted_error(agents["exploration_weights"], x)
            predicted *= 1 - self.exploration_discount
            temperature = tf.maximum(temperature * predicted, self.minimum_temperature)[:, None]
        # The largest of the logits with Gumbel noise is a draw from their softmax.
        gumbel = -tf.math.log(-tf.math.log(uniform[:, : self.network.outputs]))
        action = tf.argmax(advantages / temperature + gumbel, axis=-1, output_type="int32")
        chosen = tf.one_hot(action, advantages.shape[-1])
        gradients = self.network.gradients(weights, inside, chosen)
        decay = self.discount * self.trace_decay
        traces = updated_traces(episode["traces"], gradients, decay, restart)
        episode = {
            "x": x,
            "state": state._asdict(),
            "advantages": advantages,
            "action": action,
            "traces": traces,
        }
        return {**agents, "episode": episode}

    def _learned(self, agents, reward, x, terminated, learn):
        """Learns from what the last actions led to: `(agents, errors)`.

        `learn` is a factor of the learning rate, a number or one for each agent.
        """
        weights, episode = agents["weights"], agents["episode"]
        next_advantages, _, _ = self.network.step(weights, RTRLState(**episode["state"]), x)
        error = advantage_error(
            episode["advantages"],
            episode["action"],
            reward,
            next_advantages,
            terminated,
            self.discount,
            self.advantage_scale,
        )
        rate = learn * self.learning_rate * error
        weights = {
            name: weight + _each(rate, weight) * episode["traces"][name]
            for name, weight in weights.items()
        }
        exploration_weights = agents["exploration_weights"]
        if self.exploration == "directed":
            exploration_weights = self._learned_to_explore(agents, error, x, terminated, learn)
        return {**agents, "weights": weights, "exploration_weights": exploration_weights}, error

    def _learned_to_explore(self, agents, error, next_x, terminated, learn):
        """Moves v(s) towards |error| + exploration_discount * v(s')."""
        weights = agents["exploration_weights"]
        following = tf.where(terminated, 0.0, self._predicted_error(weights, next_x))
        target = tf.abs(error) + self.exploration_discount * following
        with tf.GradientTape() as tape:
            tape.watch(weights)
            predicted = self._predicted_error(weights, agents["episode"]["x"])
            loss = tf.reduce_sum(tf.square(predicted - target)) / 2
        rate = learn * self.exploration_rate * tf.ones(self.networks)
        return {
            name: weights[name] - _each(rate, gradient) * gradient
            for name, gradient in tape.gradient(loss, weights).items()
        }

    def _uniform(self, draw, columns=0):
        """Random numbers above 0 of one step, `(networks, actions + columns)`."""
        shape = (self.networks, self.network.outputs + columns)
        return tf.random.stateless_uniform(shape, draw, minval=1e-7, maxval=1.0, alg="philox")

    @functools.cached_property
    def _begin(self):
        restart = np.ones(self.networks, bool)

        @tf.function(autograph=False)
        def begin(x, draw):
            agents = self._acted(_read(self._agents), x, tf.constant(restart), self._uniform(draw))
            _assign(self._agents, agents)
            return agents["episode"]["action"]

        return begin

    @functools.cached_property
    def _advance(self):
        @tf.function(jit_compile=True, autograph=False)
        def advance(reward, x, terminated, truncated, first, learn, draw):
            agents, error = self._learned(_read(self._agents), reward, x, terminated, learn)
            done = terminated | truncated
            x = tf.where(done[:, None], first, x)
            agents = self._acted(agents, x, done, self._uniform(draw))
            _assign(self._agents, agents)
            return agents["episode"]["action"], error

        return advance

    def _compiled(self, environment):
        """The compiled loop over the steps in `environment`."""

        def step(number, agents, run, limits, seeds):
            uniform = self._uniform(seeds + [0, 1 + number], environment.randoms)
            drawn = uniform[:, self.network.outputs :]
            state, x, reward, terminated, truncated = environment.step(
                run["state"], agents["episode"]["action"], drawn
            )
            learning = ~run["stopped"]
            agents, _ = self._learned(agents, reward, x, terminated, tf.cast(learning, "float32"))
            done = terminated | truncated
            total = run["total"] + reward
            place = tf.one_hot(
                run["episodes"] % run["recent"].shape[1], run["recent"].shape[1], True, False
            )
            recent = tf.where(place & (done & learning)[:, None], total[:, None], run["recent"])
            episodes = run["episodes"] + tf.cast(done & learning, "int32")
            full = episodes >= recent.shape[1]
            mean = tf.reduce_mean(recent, axis=1)
            converged = run["converged"] | (full & (mean > limits[0]))
            first_state, first = environment.reset(drawn)
            run = {
                "state": tf.nest.map_structure(
                    lambda new, old: tf.where(_each(done, old), new, old), first_state, state
                ),
                "total": tf.where(done, 0.0, total),
                "recent": recent,
                "episodes": episodes,
                "steps": run["steps"] + tf.cast(~run["converged"], "int32"),
                "converged": converged,
                "stopped": run["stopped"] | (full & converged & (mean > limits[1])),
            }
            agents = self._acted(agents, tf.where(done[:, None], first, x), done, uniform)
            return number + 1, agents, run

        @tf.function(jit_compile=True)
        def train(steps, limits, seeds):
            number, agents, run = tf.while_loop(
                lambda number, _, run: (number < steps) & ~tf.reduce_all(run["stopped"]),
                lambda number, agents, run: step(number, agents, run, limits, seeds),
                (0, _read(self._agents), _read(self._run)),
            )
            _assign([self._agents, self._run], [agents, run])
            return number

        return train


def _variables(tensors):
    def variable(value):
        return tf.Variable(value, dtype="float32" if isinstance(value, np.ndarray) else value.dtype)

    return tf.nest.map_structure(variable, tensors)


def _read(variables):
    return tf.nest.map_structure(tf.convert_to_tensor, variables)


def _assign(variables, values):
    tf.nest.map_structure(lambda variable, value: variable.assign(value), variables, values)
