"""The T-maze of `examples/adaptive_lstm`: its rules, and agents on the small preset."""

import gymnasium.error
import gymnasium.utils.env_checker
import numpy as np
import pytest
import tensorflow as tf

from examples.adaptive_lstm import records, t_maze
from examples.adaptive_lstm.maze import DOWN, LEFT, RIGHT, UP, CompiledTMaze, TMaze

pytestmark = pytest.mark.xdist_group("t_maze")  # one run for all

VARIANTS = ("refitted", "deterministic")  # the third is as the first


class TestMaze:
    def walked(self, maze, side, actions):
        observations, rewards, ends = (
            [maze.reset(seed=0, options={"side": side})[0].tolist()],
            [],
            [],
        )
        for action in actions:
            observation, reward, terminated, truncated, info = maze.step(action)
            assert info["side"] == side
            observations.append(observation.tolist())
            rewards.append(reward)
            ends.append((terminated, truncated))
        return observations, rewards, ends

    @pytest.mark.parametrize("side,start", [(UP, [0, 1, 1]), (DOWN, [1, 1, 0])])
    def test_the_shortest_way_to_the_goal(self, side, start):
        observations, rewards, ends = self.walked(TMaze(3), side, [RIGHT] * 3 + [side])
        assert observations == [start, [1, 0, 1], [1, 0, 1], [0, 1, 0], [0, 1, 0]]
        assert rewards == [0, 0, 0, 4]
        assert ends == [(False, False)] * 3 + [(True, False)]

    def test_the_wrong_turn_ends_the_episode(self):
        _, rewards, ends = self.walked(TMaze(1), UP, [RIGHT, DOWN])
        assert rewards == [0, -0.4]
        assert ends[-1] == (True, False)

    def test_walls_and_the_way_back(self):
        # Against three walls at the start, two in the corridor, back, and the end wall.
        actions = [UP, DOWN, LEFT, RIGHT, UP, DOWN, LEFT, RIGHT, RIGHT, RIGHT, LEFT]
        observations, rewards, ends = self.walked(TMaze(2), DOWN, actions)
        start, corridor, junction = [1, 1, 0], [1, 0, 1], [0, 1, 0]
        expected = [start] * 4 + [corridor] * 3 + [start, corridor, junction, junction, corridor]
        assert observations == expected
        assert rewards == [-0.4] * 3 + [0] + [-0.4] * 2 + [0, 0, 0, -0.4, 0]
        assert not any(terminated or truncated for terminated, truncated in ends)

    def test_noise(self):
        observations, _, _ = self.walked(TMaze(400, noisy=True), UP, [RIGHT] * 399)
        a, middle, b = np.array(observations[1:]).T
        assert observations[0] == [0, 1, 1]
        assert (middle == 0).all()
        for noise in (a, b):
            assert len(np.unique(noise)) == len(noise)
            assert noise.min() >= 0 and noise.max() <= 1
            assert np.mean(noise) == pytest.approx(0.5, abs=0.06)
            assert np.std(noise) == pytest.approx(12**-0.5, abs=0.03)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.15

    def test_both_sides_are_as_likely(self):
        maze = TMaze(1)
        maze.reset(seed=0)
        sides = [maze.reset()[1]["side"] for _ in range(400)]
        assert abs(np.mean(sides) - 0.5) < 0.1

    @pytest.mark.parametrize("side", [2, "up", None])
    def test_sides_that_there_are_not(self, side):
        with pytest.raises(ValueError, match=r"'side', 0 \(UP\) or 1 \(DOWN\)"):
            TMaze(3).reset(options={"side": side})
        with pytest.raises(ValueError, match="no other"):
            TMaze(3).reset(options={"sides": UP})

    def test_steps_outside_of_episodes(self):
        maze = TMaze(1)
        with pytest.raises(gymnasium.error.ResetNeeded):
            maze.step(RIGHT)
        _, _, ends = self.walked(maze, UP, [RIGHT, UP])
        assert ends[-1] == (True, False)
        with pytest.raises(gymnasium.error.ResetNeeded):
            maze.step(UP)

    @pytest.mark.parametrize("action", [4, -1, 0.5])
    def test_actions_that_there_are_not(self, action):
        maze = TMaze(3)
        maze.reset(seed=0)
        with pytest.raises(ValueError, match=f"an integer from 0 to 3. Received: {action}"):
            maze.step(action)

    @pytest.mark.parametrize("kind", [TMaze, CompiledTMaze])
    @pytest.mark.parametrize("length", [0, 2.5, "3"])
    def test_lengths_that_there_are_not(self, kind, length):
        with pytest.raises(ValueError, match=f"{kind.__name__}: `length` must be an integer"):
            kind(length)

    def test_time_limit(self):
        _, _, ends = self.walked(TMaze(2, time_limit=3), UP, [LEFT] * 3)
        assert ends == [(False, False)] * 2 + [(False, True)]
        _, _, ends = self.walked(TMaze(2, time_limit=3), UP, [RIGHT, RIGHT, UP])
        assert ends[-1] == (True, False)
        with pytest.raises(ValueError, match="`time_limit` one above it"):
            TMaze(3, time_limit=3)

    @pytest.mark.parametrize("noisy", [False, True])
    def test_it_is_a_gymnasium_environment(self, noisy):
        gymnasium.utils.env_checker.check_env(TMaze(5, noisy), skip_render_check=True)

    @pytest.mark.parametrize("noisy", [False, True])
    def test_the_compiled_maze_is_the_same(self, noisy):
        # 16 mazes side by side, walked at random with a liking for the right; the compiled ones
        # get the random numbers that Gymnasium's draw.
        count, arguments = 16, {"length": 4, "noisy": noisy, "time_limit": 12}
        mazes = [TMaze(**arguments) for _ in range(count)]
        numbers = [np.random.Generator(np.random.PCG64(seed)) for seed in range(count)]

        def uniform():
            return tf.constant(
                np.stack([random.random(TMaze.randoms, np.float32) for random in numbers])
            )

        compiled = CompiledTMaze(**arguments)
        step = tf.function(compiled.step, jit_compile=True)
        observations = np.stack([maze.reset(seed=n)[0] for n, maze in enumerate(mazes)])
        state, of_compiled = compiled.reset(uniform())
        np.testing.assert_array_equal(of_compiled, observations)
        random, running = np.random.default_rng(0), np.ones(count, bool)
        seen = set()
        for _ in range(12):
            actions = random.choice(4, count, p=[0.15, 0.15, 0.5, 0.2])
            state, *of_compiled = step(state, tf.constant(actions, "int32"), uniform())
            expected = [
                np.stack(values)
                for values in zip(*self.stepped(mazes, actions, running), strict=True)
            ]
            for ours, theirs in zip(of_compiled, expected, strict=True):
                np.testing.assert_allclose(ours.numpy()[running], theirs[running])
            seen |= set(expected[1][running].tolist())
            running &= ~(expected[2] | expected[3])
        assert seen == {4.0, -0.4, 0.0}
        assert not running.any()

    def stepped(self, mazes, actions, running):
        over = np.zeros(3, np.float32), 0.0, True, True
        return [
            maze.step(int(action))[:4] if here else over
            for maze, action, here in zip(mazes, actions, running, strict=True)
        ]


def small(**more):
    arguments = {"task": "t-maze", "variant": "refitted", "length": 3, "agents": 3, "steps": 6000}
    return t_maze.Config(**{**arguments, **more})


def test_a_killed_run_ends_with_the_same_numbers(tmp_path, monkeypatch):
    whole, _ = t_maze.train(small(), tmp_path / "whole.npz", progress=False)
    monkeypatch.setattr(t_maze, "CHECKPOINT_SECONDS", 0.0)
    calls, saved = [], t_maze.save

    def killed_at_the_second(*arguments):
        saved(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(t_maze, "save", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        t_maze.train(small(), tmp_path / "killed.npz", progress=False)
    resumed, _ = t_maze.train(small(), tmp_path / "killed.npz", progress=False)
    assert len(calls) > 2
    first, second = whole.snapshot(), resumed.snapshot()
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    with pytest.raises(ValueError, match="a run with another configuration"):
        t_maze.train(small(seed=1), tmp_path / "killed.npz", progress=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    output = tmp_path_factory.mktemp("t_maze")
    variants = ["--variants", *VARIANTS]
    t_maze.main(["--preset", "quick", *variants, "--output", str(output)])
    return records.load(output), output


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("task", t_maze.TASKS)
def test_agents_learn_and_their_spikes_walk(quick, task, variant):
    record = quick[0][task, variant]
    converged = [network for network in record["networks"] if network["converged"]]
    assert len(converged) == len(record["networks"]) == 5
    assert all(100 * 11 <= network["iterations"] for network in converged)
    assert all(network["reward"] > 3.5 for network in converged)
    runs = [run for network in converged for run in network["spiking"]]
    assert np.mean([run["correct"] for run in runs]) >= 0.9
    assert 10 < np.mean([run["rate"] for run in runs]) < 100
    if variant == "deterministic":
        assert record["lava"]["networks"] == record["lava"]["correct"] == 1


@pytest.mark.parametrize("task", t_maze.TASKS)
def test_arrays_of_the_figures(quick, task):
    # One episode of a spiking agent, and the analog one with the same observations.
    arrays = records.load_arrays(task, "deterministic", quick[1])
    steps = len(arrays["analog_outputs"])
    samples = steps * arrays["window"] // arrays["sample"]
    assert arrays["analog_outputs"].shape == (steps, 4)
    assert arrays["spiking_outputs"].shape == (samples, 4)
    assert arrays["analog_cec"].shape == (steps, 3)
    assert arrays["spiking_cec"].shape == (samples, 3)
    assert arrays["labels"].tolist() == ["up", "down", "right", "left"]
    assert arrays["labels"][arrays["spiking_outputs"][-10:].mean(axis=0).argmax()] == "up"
    np.testing.assert_allclose(arrays["spiking_cec"][-1], arrays["analog_cec"][-1], rtol=0.5)
