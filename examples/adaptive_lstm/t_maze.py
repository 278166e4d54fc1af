"""T-maze: agents of analog LSTMs learn it by rewards, spiking agents walk it (paper 2018, table 1).

    python -m examples.adaptive_lstm.t_maze --preset quick   5 agents, a corridor of 10
    python -m examples.adaptive_lstm.t_maze --preset paper   20 agents, a corridor of 20

The maze is that of `maze`. The agents, 12 AANs and 3 Adaptive Analog LSTMs each, learn side by side
by RL-LSTM in a compiled loop. An agent has converged when the mean total reward of its last 100
episodes is above 3.5, the paper's criterion, which tells the steps that it took; it learns on until
that mean is above `stop`, as a spiking agent is not as precise. A killed run goes on where it was,
with the same numbers in the end, from the checkpoints in --output.

Then each agent that converged becomes a spiking one, which walks the maze window by window and
takes the action with the largest mean output: of the whole window, as in the paper, or of its
second half (`correct_at_end`). It is correct if it reaches the goal on both sides. Writes what
`records` describes.
"""

import dataclasses
import time
import warnings

import numpy as np
from tqdm import tqdm

import lava_export
from examples.adaptive_lstm import records
from examples.adaptive_lstm.maze import DOWN, GOAL, LABELS, UP, CompiledTMaze, TMaze
from keras_spiking_rnn import AAN, AdaptiveSpikingNeuron, fit_aan, metrics
from keras_spiking_rnn.adaptive_lstm import convert
from keras_spiking_rnn.learning import RLLSTM, TruncatedRTRL

TASKS = ("t-maze", "noisy-t-maze")
PRESETS = {
    "paper": {
        "length": 20,
        "agents": 20,
        "steps": {"t-maze": 1_000_000, "noisy-t-maze": 1_750_000},
        "seeds": 5,
        "exported": 20,
        "on_lava": 2,
    },
    "quick": {
        "length": 10,
        "agents": 5,
        "steps": {"t-maze": 60_000, "noisy-t-maze": 120_000},
        "seeds": 2,
        "exported": 1,
        "on_lava": 0,
    },
}
BLOCK = 2000
CRITERION = 3.5
EPISODES = 100
WINDOW = 200e-3
# The second half of a window: what the junction writes into a CEC is in it by then.
END = 100e-3
CHECKPOINT_SECONDS = 10.0
SAMPLE = 20


@dataclasses.dataclass(frozen=True)
class Config:
    """What the result of training depends on, besides the version of the code.

    Args:
        task: One of `TASKS`.
        variant: One of `records.VARIANTS`.
        length: N, moves from the start to the junction.
        agents: Number of agents.
        steps: Steps of each agent at most.
        seed: Seed of weights, actions and mazes.
        time_limit: Steps after which an episode is cut off.
        hidden: Number of AANs.
        units: Number of LSTMs.
        learning_rate, discount, trace_decay, advantage_scale: Of `RLLSTM`, as in the paper.
        temperature, minimum_temperature, exploration_rate, exploration_discount: Of `RLLSTM`.
        stop: Mean total reward at which an agent stops learning.
        output_limit: Largest absolute weight of the outputs at the start.
        optimism: Number that is added to the biases of the outputs at the start. It is more than
            there is to gain: agents try what they have not tried yet.
        hidden_start: Mean and largest deviation of the weights of the AANs, for each of the three
            inputs. They are active in the corridor and at the start, not at the junction: what is
            learned about walls in the corridor is not taken for the turn.
        active: Number of AANs that start so; the others start inactive, which saves spikes.
        memory_start: The same of the LSTMs. Gates and input cells start shut in the corridor and
            open at the junction, one of an agent's LSTMs open for the one side and one for the
            other. An input cell starts with the weights of its gate, give or take 0.1.
    """

    task: str
    variant: str
    length: int
    agents: int
    steps: int
    seed: int = 0
    time_limit: int = 150
    hidden: int = 12
    units: int = 3
    learning_rate: float = 0.0002
    discount: float = 0.98
    trace_decay: float = 0.8
    advantage_scale: float = 0.1
    temperature: float = 0.0003
    minimum_temperature: float = 0.01
    exploration_rate: float = 0.01
    exploration_discount: float = 0.0
    stop: float = 3.99
    output_limit: float = 0.03
    optimism: float = 5.0
    hidden_start: tuple = ((8.0, 1.0), (-2.0, 1.0), (8.0, 1.0))
    active: int = 9
    memory_start: tuple = ((-8.0, 10.0), (8.0, 1.0), (-8.0, 10.0))

    @property
    def neuron(self):
        """The spiking neuron that the agents are converted to.

        Adaptation relative to the threshold at rest is the form with which the published numbers
        of the activation are closest to the neuron's response, and the one that fires less.
        """
        return AdaptiveSpikingNeuron(
            adaptation="relative", stochastic=self.variant != "deterministic"
        )

    @property
    def activation(self):
        """The activation that the agents are trained with."""
        return AAN() if self.variant == "published" else fit_aan(self.neuron).activation

    @property
    def maze(self):
        """Arguments of `TMaze`."""
        noisy = self.task == "noisy-t-maze"
        return {"length": self.length, "noisy": noisy, "time_limit": self.time_limit}

    def make(self):
        """Agents that have learned nothing, at the start of their mazes."""
        network = TruncatedRTRL(
            3, self.units, 4, self.hidden, activation=self.activation, normalize_at=1.0
        )
        agents = RLLSTM(
            network,
            self.agents,
            learning_rate=self.learning_rate,
            discount=self.discount,
            trace_decay=self.trace_decay,
            advantage_scale=self.advantage_scale,
            temperature=self.temperature,
            minimum_temperature=self.minimum_temperature,
            exploration_rate=self.exploration_rate,
            exploration_discount=self.exploration_discount,
            seed=self.seed,
        )
        for name, weight in agents.weights.items():
            weight.assign(self.initial_weights(name, weight.shape))
        agents.start(CompiledTMaze(**self.maze), EPISODES)
        return agents

    def initial_weights(self, name, shape):
        """Initial weights of all agents, called as in `TruncatedRTRL`."""
        names = ("memory_kernel", "output_kernel", "hidden_kernel", "output_bias", "hidden_bias")
        random = np.random.default_rng([self.seed, names.index(name)])
        uniform = random.uniform(-1, 1, shape)
        if name == "memory_kernel":
            mean, deviation = np.array(self.memory_start).T
            gate, apart = np.split(uniform, 2, axis=-1)
            # A third of the range for each of three LSTMs, and the more a weight is for the one
            # side, the less is that for the other.
            part = random.permuted(np.broadcast_to(np.arange(self.units), gate.shape), axis=-1)
            part[:, 2] = self.units - 1 - part[:, 0]
            gate = (2 * part + 1 + gate) / self.units - 1
            gate = mean[:, None] + deviation[:, None] * gate
            return np.concatenate([gate, gate + 0.1 * apart], axis=-1)
        if name == "hidden_kernel":
            mean, deviation = np.array(self.hidden_start).T
            kernel = mean[:, None] + deviation[:, None] * uniform
            kernel[..., self.active :] = uniform[..., self.active :] - 1
            return kernel
        if name == "hidden_bias":
            return uniform
        return self.output_limit * uniform + self.optimism * (name == "output_bias")


def save(path, config, agents, seconds):
    """Writes a checkpoint."""
    records.save_checkpoint(path, config, {"seconds": seconds, **agents.snapshot()})


def load(path, config, agents):
    """Reads the checkpoint of a run with the same configuration: the seconds that it took."""
    arrays = records.load_checkpoint(path, config)
    seconds = float(arrays.pop("seconds"))
    agents.restore(arrays)
    return seconds


def train(config, path, progress=True):
    """Trains until all agents have converged or there are no steps left: `(agents, seconds)`.

    It resumes from the checkpoint `path`.
    """
    agents = config.make()
    before = load(path, config, agents) if path.exists() else 0.0
    started = saved = time.perf_counter()
    far = agents.progress
    bar = tqdm(
        total=config.steps,
        initial=agents.steps,
        unit=" steps",
        desc=f"{config.task}, {config.variant}",
        disable=not progress,
    )
    with bar:
        while not far.stopped.all() and agents.steps < config.steps:
            steps = min(BLOCK, config.steps - agents.steps)
            far = agents.train(steps, CRITERION, config.stop)
            bar.update(agents.steps - bar.n)
            bar.set_postfix(
                converged=int(far.converged.sum()),
                stopped=int(far.stopped.sum()),
                reward=f"{np.nanmean(far.mean_return):.2f}",
            )
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                save(path, config, agents, before + time.perf_counter() - started)
                saved = time.perf_counter()
    seconds = before + time.perf_counter() - started
    save(path, config, agents, seconds)
    return agents, seconds


def walk(act, mazes, sides):
    """Walks some mazes at once until all episodes are over.

    Args:
        act: Function from observations `(mazes, 3)` to actions `(mazes,)`.
        mazes: List of `TMaze`.
        sides: Side of the goal of each.

    Returns:
        A tuple `(observations, actions, totals, lengths, reached)`: those of all steps,
        `(mazes, steps, 3)` and `(mazes, steps)`, the total rewards, the steps after which the
        episodes were over, and whether they ended at the goal.
    """
    seen = np.stack(
        [
            maze.reset(seed=n, options={"side": side})[0]
            for n, (maze, side) in enumerate(zip(mazes, sides, strict=True))
        ]
    )
    totals, lengths = np.zeros(len(mazes)), np.zeros(len(mazes), int)
    reached = np.zeros(len(mazes), bool)
    observations, actions = [], []
    while not (lengths > 0).all():
        observations.append(seen.copy())
        actions.append(act(seen))
        for n in np.flatnonzero(lengths == 0):
            seen[n], reward, terminated, truncated, _ = mazes[n].step(int(actions[-1][n]))
            totals[n] += reward
            if terminated or truncated:
                lengths[n], reached[n] = len(actions), reward == GOAL
    return np.stack(observations, axis=1), np.stack(actions, axis=1), totals, lengths, reached


def analog_actions(network, weights, n, batch):
    """The `act` of an analog agent: greedy, with the CEC of the steps before."""
    weights = {name: np.repeat(value[n : n + 1], batch, axis=0) for name, value in weights.items()}
    state = network.initial_state(batch)

    def act(observations):
        nonlocal state
        advantages, state, _ = network.step(weights, state, observations)
        return advantages.numpy().argmax(axis=1)

    return act


def spiking_actions(spiking, seed, responses, last=None):
    """The `act` of a spiking agent: the largest mean output of a window, or of its `last` seconds.

    It appends to `responses`.
    """

    def act(observations):
        state = responses[-1].state if responses else None
        responses.append(spiking(observations[:, None], seed=seed, state=state))
        return responses[-1].averages(last)[:, 0].argmax(axis=1)

    return act


def integer_actions(network, window, expected):
    """The `act` of an agent in integers.

    Args:
        network: The exported agent.
        window: Time steps of a window.
        expected: Observations that it will probably see, `(mazes, steps, 3)`: as long as they come,
            what it fires is known from one run. Otherwise it runs all windows so far once more.
    """
    observations = []
    fired = network.run(network.encode(expected))

    def act(seen):
        observations.append(seen.copy())
        so_far = np.stack(observations, axis=1)
        steps = so_far.shape[1]
        if np.array_equal(so_far, expected[:, :steps]):
            return network.decode(fired[:, : steps * window]).argmax(axis=1)
        return network.decode(network.run(network.encode(so_far))).argmax(axis=1)

    return act


def mazes_of(config, pairs):
    """`pairs` times a maze with the goal up and one with the goal down: with the sides.

    An agent that has lost its way is cut off after three times the shortest way.
    """
    limit = 3 * (config.length + 1)
    mazes = [TMaze(**{**config.maze, "time_limit": limit}) for _ in range(2 * pairs)]
    return mazes, [UP, DOWN] * pairs


def simulate(config, agents, n, seeds):
    """Analog and spiking results of an agent, as `records` describes them, and what is behind."""
    weights = {name: value.numpy() for name, value in agents.weights.items()}
    act = analog_actions(agents.network, weights, n, EPISODES)
    _, _, totals, _, _ = walk(act, *mazes_of(config, EPISODES // 2))
    model = agents.network.to_keras(agents.weights, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the published numbers do not fit
        spiking = convert(model, config.neuron, WINDOW, cec_weight="exact")
    responses = []
    walked = walk(spiking_actions(spiking, config.seed, responses), *mazes_of(config, seeds))
    _, _, rewards, lengths, reached = walked
    at_end = walk(spiking_actions(spiking, config.seed, [], END), *mazes_of(config, seeds))
    # What an agent fires after the end of its episode, while others walk on, does not count.
    fired = np.stack([response.spike_count() for response in responses], axis=1)
    fired = [row[:length].sum() for row, length in zip(fired, lengths, strict=True)]
    neurons = sum(train.shape[-1] for train in responses[0].spikes.values())
    rates = fired / (lengths * WINDOW * neurons)
    runs = [
        {
            "correct": bool(reached[pair].all()),
            "correct_at_end": bool(at_end[-1][pair].all()),
            "measure": float(rewards[pair].mean()),
            "spikes": float(np.mean(np.array(fired)[pair])),
            "rate": float(rates[pair].mean()),
        }
        for pair in np.arange(2 * seeds).reshape(seeds, 2)
    ]
    return float(totals.mean()), runs, (model, spiking, responses, walked, at_end)


def arrays_of(behind):
    """The arrays of the figures: the first episode, with the goal up."""
    model, _, responses, (observations, _, _, lengths, _), _ = behind
    x = observations[:1, : lengths[0]]
    parts = [records.window_samples(_first(response), SAMPLE) for response in responses]
    parts = parts[: lengths[0]]
    return {
        "analog_outputs": model.predict(x, verbose=0)[0],
        "analog_cec": metrics.trace(model.get_layer("memory"), x)["cec"][0],
        **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        "labels": list(LABELS),
        "sample": SAMPLE,
        "window": round(WINDOW * 1e3),
    }


def _first(response):
    """The response to the first sequence of a batch."""
    return dataclasses.replace(
        response,
        outputs=response.outputs[0],
        cec={name: values[0] for name, values in response.cec.items()},
    )


def in_integers(config, spiking, observations, on_lava):
    """Whether an agent in integers is correct: `(reference, Lava, mismatches)`.

    It walks the first pair of mazes on the reference, with the read-out at the end of windows. Lava
    then gets what it saw there; it is correct if the reference is and its last action is the same.
    The last two are `None` unless `on_lava`.
    """
    expected = observations[:2]
    # Start, corridor and junction have all that the scales depend on; in the noisy task of other
    # mazes than those that are walked.
    calibration = observations[-2:, [0, 1, 2, config.length]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the walk tells what the integers lose
        network = lava_export.export(spiking, calibration=calibration, last=END)
    act = integer_actions(network, spiking.window, expected)
    seen, actions, _, _, reached = walk(act, *mazes_of(config, 1))
    right = bool(reached.all())
    if not on_lava:
        return right, None, None
    messages = network.encode(seen)
    fired = network.run(messages)
    of_lava = network.run(messages, backend="lava", mode="batched")
    same = (network.decode(of_lava).argmax(axis=1) == actions[:, -1]).all()
    return right, bool(right and same), int((fired != of_lava).sum())


def experiment(config, preset, output, progress=True):
    """Trains and converts all agents: the record without its command, and the figure's arrays."""
    output.mkdir(parents=True, exist_ok=True)
    agents, seconds = train(config, output / f"{config.task}-{config.variant}-agents.npz", progress)
    far, started = agents.progress, time.perf_counter()
    stochastic = config.neuron.stochastic
    seeds = preset["seeds"] if stochastic or config.task == "noisy-t-maze" else 1
    networks, arrays, exported = [], None, []
    for n in tqdm(range(config.agents), desc="spiking", disable=not progress):
        converged, analog, runs = bool(far.converged[n]), None, []
        if converged:
            analog, runs, behind = simulate(config, agents, n, seeds)
            if arrays is None and all(run["correct"] for run in runs):
                arrays = arrays_of(behind)
            if not stochastic and len(exported) < preset["exported"]:
                _, spiking, _, _, (observations, *_) = behind
                on_lava = len(exported) < preset["on_lava"]
                exported.append(in_integers(config, spiking, observations, on_lava))
        networks.append(
            {
                "converged": converged,
                "iterations": int(far.steps[n]) if converged else None,
                "episodes": int(far.episodes[n]),
                "reward": float(far.mean_return[n]),
                "analog": analog,
                "spiking": runs,
            }
        )
    record = {
        "task": config.task,
        "variant": config.variant,
        "seed": config.seed,
        "config": {
            **dataclasses.asdict(config),
            "activation": dataclasses.asdict(config.activation),
            "neuron": dataclasses.asdict(config.neuron),
            "window": WINDOW,
        },
        "seconds": {
            "training": round(seconds, 1),
            "spiking": round(time.perf_counter() - started, 1),
        },
        "networks": networks,
        "lava": records.lava(exported),
    }
    return record, arrays


def main(arguments=None):
    given = records.arguments(__doc__.splitlines()[0], PRESETS, TASKS, arguments)
    preset = PRESETS[given.preset]
    for task in given.tasks:
        for variant in given.variants:
            config = Config(
                task=task,
                variant=variant,
                length=preset["length"],
                agents=preset["agents"],
                steps=preset["steps"][task],
                seed=given.seed,
            )
            record, arrays = experiment(config, preset, given.output)
            record["preset"] = given.preset
            record["command"] = records.command("t_maze", given, task, variant)
            records.save(record, arrays, given.results)
            print(records.summary(record))


if __name__ == "__main__":
    main()
