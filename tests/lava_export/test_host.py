"""Operations on the host; that they equal their Keras layers is in test_convert.py."""

import numpy as np
import pytest

from lava_export import host


def test_poisson_encoding_draws_the_same_spikes_at_each_call():
    x = np.random.default_rng(0).random((3, 4, 5))
    encode = host.PoissonEncoding(6, seed=1)
    spikes = encode(x)
    assert (spikes.shape, spikes.dtype) == ((3, 6, 4, 5), np.int8)
    np.testing.assert_array_equal(encode(x), spikes)
    assert (host.PoissonEncoding(6, seed=2)(x) != spikes).any()


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_poisson_encoding_spikes_at_the_rate_of_the_intensity(gain):
    x = np.linspace(-0.5, 1.5, 9)[None]
    spikes = host.PoissonEncoding(20_000, gain)(x)
    np.testing.assert_allclose(spikes.mean(axis=1), np.clip(gain * x, 0, 1), atol=0.015)


def test_poisson_encoding_is_certain_at_the_ends():
    spikes = host.PoissonEncoding(1000)(np.array([[0, 1]], np.uint8))
    np.testing.assert_array_equal(spikes.mean(axis=1), [[0, 1]])


def test_samples_and_steps_are_drawn_independently():
    spikes = host.PoissonEncoding(50)(np.full((4, 3), 0.5))
    assert len({sample.tobytes() for sample in spikes}) == 4
    assert np.abs(np.corrcoef(spikes.reshape(200, 3).T) - np.eye(3)).max() < 0.3


def test_repeat_gives_the_same_input_at_each_step():
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(host.Repeat(4)(x), np.stack([x] * 4, axis=1))


def test_spikes_are_counted_beyond_the_range_of_their_type():
    spikes = np.ones((1, 1000, 1), np.int8)
    assert host.TimeSum()(spikes).item() == 1000
    assert host.TimeSum(mean=True)(spikes).item() == 1


def test_softmax_and_sigmoid_do_not_overflow():
    scores = np.float32([[1e4, 0, -1e4]])
    with np.errstate(over="raise"):
        np.testing.assert_array_equal(host.Activation("softmax")(scores), [[1, 0, 0]])
        np.testing.assert_array_equal(host.Activation("sigmoid")(scores), [[1, 0.5, 0]])


def test_quantize_rounds_and_clips():
    x = np.array([[0.0, 0.26, -0.26, 0.1, 7.0, -7.0]])
    messages = host.Quantize(0.25, 4)(x)
    assert messages.tolist() == [[0, 1, -1, 0, 4, -4]]
    assert messages.dtype == np.int32


def test_hold_keeps_each_step_of_a_sequence():
    x = np.arange(12).reshape(2, 3, 2)
    held = host.Hold(4)(x)
    assert held.shape == (2, 12, 2)
    np.testing.assert_array_equal(held[:, 3:9:4], x[:, :2])
    np.testing.assert_array_equal(held[1, 4:8], [x[1, 1]] * 4)


def test_window_mean_by_hand():
    spikes = np.array([1, 0, 0, 0, 1, 1])[None, :, None]
    # Currents 1, 1/2, 1/4 | 1/8, 17/16, 49/32, of which the last two of each window count.
    means = host.WindowMean(window=3, last=2, leak=0.5)(spikes)
    assert means.ravel().tolist() == [(1 / 2 + 1 / 4) / 2, (17 / 16 + 49 / 32) / 2]
    assert (means.shape, means.dtype) == ((1, 2, 1), np.float32)
