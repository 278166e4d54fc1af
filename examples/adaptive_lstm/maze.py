r"""The T-maze: a corridor at whose end an agent must remember what it saw at the start.

    start  .  .  .  .  .  .  junction      up or down: one of them is the goal

What the agent observes, three numbers, depends on where it is:

| place    | noise-free              | noisy                                     |
|----------|-------------------------|-------------------------------------------|
| start    | 011 or 110: the side of the goal, up or down                       ||
| corridor | 101                     | a0b, a and b uniform in [0, 1], each step  |
| junction | 010                                                                ||

It moves up, down, right or left. The reward is 4 at the goal and -0.4 on the other side, which end
the episode; -0.4 for a move against a wall; 0 for every other move.

What the paper leaves open, and what is done here:

- A move against a wall leaves the agent where it is, and in the noisy maze a, b are drawn anew.
- "The system is reset" after the wrong turn: the episode is over, the next one draws a new side.
- The start shows the side whenever the agent is there, as it depends on the place and not the time.
- The corridor length N is the number of moves from the start to the junction.
- An episode is cut off after `time_limit` steps.

`TMaze` is a Gymnasium environment; `CompiledTMaze` is the same maze for `RLLSTM.start`, in which
agents learn side by side in a compiled loop. From the same random numbers both make the same maze.

Reference:
    *Gating out sensory noise in a spike-based Long Short-Term Memory network* (2018), section 3,
    "T-Maze task".
"""

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium.error import ResetNeeded

UP, DOWN, RIGHT, LEFT = range(4)
GOAL, PENALTY = 4.0, -0.4
LABELS = ("up", "down", "right", "left")


def _check(title, length, time_limit):
    integers = all(isinstance(value, int | np.integer) for value in (length, time_limit))
    if not integers or length < 1 or time_limit <= length:
        raise ValueError(
            f"{title}: `length` must be an integer of at least 1 and `time_limit` one above it. "
            f"Received: length={length!r}, time_limit={time_limit!r}"
        )


class TMaze(gymnasium.Env):
    """The T-maze as a Gymnasium environment.

    Observations are `float32` arrays of three numbers between 0 and 1, actions the integers `UP`,
    `DOWN`, `RIGHT` and `LEFT`. `reset(options={"side": UP})` puts the goal on a side.

    Args:
        length: N, moves from the start to the junction, at least 1.
        noisy: Whether the corridor is noise.
        time_limit: Steps after which an episode is cut off.

    Raises:
        ValueError: If an argument or the side is out of range, or the action is none of the four.
        gymnasium.error.ResetNeeded: If there is a step before `reset`, or after an episode's end.
    """

    metadata = {"render_modes": []}
    randoms = 3  # of each step: a, b, and the side of the goal, which counts at a start only

    def __init__(self, length=20, noisy=False, time_limit=1000):
        _check("TMaze", length, time_limit)
        self.length = length
        self.noisy = noisy
        self.time_limit = time_limit
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.running = False

    def reset(self, *, seed=None, options=None):
        """Puts the agent at the start: `(observation, info)`."""
        super().reset(seed=seed)
        uniform = self.np_random.random(self.randoms, np.float32)
        self.side = UP if uniform[2] < 0.5 else DOWN
        options = options or {}
        self.side = options.get("side", self.side)
        if set(options) - {"side"} or self.side not in (UP, DOWN):
            raise ValueError(
                f"TMaze: `options` may have the key 'side', {UP} (UP) or {DOWN} (DOWN), and no "
                f"other. Received: {options}"
            )
        self.position = self.steps = 0
        self.running = True
        return self._observation(uniform), {"side": self.side}

    def step(self, action):
        """Moves the agent: `(observation, reward, terminated, truncated, info)`."""
        if not self.action_space.contains(action):
            raise ValueError(
                "TMaze: the action must be UP, DOWN, RIGHT or LEFT, an integer from 0 to 3. "
                f"Received: {action!r}"
            )
        if not self.running:
            raise ResetNeeded("TMaze: the episode is over, or has not begun: call reset() first.")
        uniform = self.np_random.random(self.randoms, np.float32)
        self.steps += 1
        reward, terminated = 0.0, False
        if self.position == self.length and action in (UP, DOWN):
            reward, terminated = (GOAL if action == self.side else PENALTY), True
        else:
            moved = self.position + {RIGHT: 1, LEFT: -1}.get(int(action), 0)
            if moved == self.position or not 0 <= moved <= self.length:
                reward = PENALTY
            else:
                self.position = moved
        truncated = self.steps >= self.time_limit and not terminated
        self.running = not (terminated or truncated)
        return self._observation(uniform), reward, terminated, truncated, {"side": self.side}

    def _observation(self, uniform):
        if self.position == 0:
            seen = (0, 1, 1) if self.side == UP else (1, 1, 0)
        elif self.position == self.length:
            seen = (0, 1, 0)
        else:
            seen = (uniform[0], 0, uniform[1]) if self.noisy else (1, 0, 1)
        return np.array(seen, np.float32)


class CompiledTMaze:
    """`TMaze` for many agents at once, in TensorFlow: see `RLLSTM.start`.

    The state is a dictionary of integers `(networks,)`: `position`, `side` and `steps`.

    Args:
        length: N, as of `TMaze`.
        noisy: As of `TMaze`.
        time_limit: As of `TMaze`.
    """

    randoms = TMaze.randoms

    def __init__(self, length=20, noisy=False, time_limit=1000):
        _check("CompiledTMaze", length, time_limit)
        self.length = length
        self.noisy = noisy
        self.time_limit = time_limit

    def reset(self, uniform):
        """Puts all agents at the start: `(state, observations)`."""
        position = tf.zeros(uniform.shape[0], "int32")
        side = tf.where(uniform[:, 2] < 0.5, UP, DOWN)
        state = {"position": position, "side": side, "steps": position}
        return state, self._observations(state, uniform)

    def step(self, state, actions, uniform):
        """Moves all agents: `(state, observations, rewards, terminated, truncated)`."""
        position, side, steps = state["position"], state["side"], state["steps"] + 1
        terminated = (position == self.length) & ((actions == UP) | (actions == DOWN))
        move = tf.cast(actions == RIGHT, "int32") - tf.cast(actions == LEFT, "int32")
        moved = tf.clip_by_value(position + move, 0, self.length)
        turned = tf.where(actions == side, GOAL, PENALTY)
        rewards = tf.where(terminated, turned, tf.where(moved == position, PENALTY, 0.0))
        truncated = (steps >= self.time_limit) & ~terminated
        state = {"position": moved, "side": side, "steps": steps}
        return state, self._observations(state, uniform), rewards, terminated, truncated

    def _observations(self, state, uniform):
        a, b = (uniform[:, 0], uniform[:, 1]) if self.noisy else (1.0, 1.0)
        start, junction = state["position"] == 0, state["position"] == self.length
        up = state["side"] == UP

        def seen(at_start, elsewhere):
            return tf.where(start, tf.cast(at_start, "float32"), tf.where(junction, 0.0, elsewhere))

        first, last = seen(~up, a), seen(up, b)
        return tf.stack([first, tf.cast(start | junction, "float32"), last], axis=-1)
