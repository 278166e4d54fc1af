"""What makes the reference quick changes no integer, and is used only where that is proven."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import KINDS, networks, small_network

from lava_export import LIF, Conv, Dense, arithmetic, reference


def plain_decay(x, keep):
    """In 64-bit integers: the size, shifted down, with its sign."""
    product = np.asarray(x, np.int64) * keep
    return (np.sign(product) * (np.abs(product) >> 12)).astype(np.int32)


@pytest.fixture
def plain(monkeypatch):
    """A function that runs the reference without any shortcut.

    One sample at a time, all products and decays in integers of 64 bits, and each value compared
    with the limits of its register.
    """

    def run(pairs, spikes, record):
        with monkeypatch.context() as patch:
            patch.setattr(reference, "CHUNK", 1)
            patch.setattr(arithmetic, "decay", plain_decay)
            patch.setattr(arithmetic, "within", lambda x, limit: False)
            patch.setattr(arithmetic, "exact_type", lambda largest: np.int64)
            return reference.simulate_in_chunks(pairs, spikes, record)

    return run


def assert_equal(actual, expected):
    for field in dataclasses.fields(reference.Simulation):
        a, b = getattr(actual, field.name), getattr(expected, field.name)
        assert_same(a, b)


def assert_same(a, b):
    if isinstance(b, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(b, list):
        assert len(a) == len(b)
        for pair in zip(a, b, strict=True):
            assert_same(*pair)
    elif isinstance(b, np.ndarray):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype and a.flags.c_contiguous
    else:
        assert a == b


# The fixture holds no state from one example to the next.
REUSED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@REUSED
@given(data=st.data())
def test_equals_the_plain_arithmetic(data, kind, plain):
    pairs, spikes = data.draw(networks(kinds=(kind,), most_samples=20))
    record = reference.recordable(pairs)
    expected = plain(pairs, spikes, record)
    assert_equal(reference.simulate_in_chunks(pairs, spikes, record), expected)


@REUSED
@given(network=networks(most_samples=20))
def test_equals_the_plain_arithmetic_in_networks_of_all_kinds(network, plain):
    pairs, spikes = network
    record = reference.recordable(pairs)
    expected = plain(pairs, spikes, record)
    assert_equal(reference.simulate_in_chunks(pairs, spikes, record), expected)


@pytest.mark.parametrize("exponent", [-1, 7], ids=["within 24 bits", "beyond 24 bits"])
def test_a_lively_network(exponent, plain):
    """What the other tests compare is neither silence nor always far from the limits."""
    generator = np.random.default_rng(0)
    pairs = small_network(generator, [40, 30, 20], exponent=exponent)
    spikes = (generator.random((30, 25, 40)) < 0.4).astype(np.int8)
    record = reference.recordable(pairs)
    expected = plain(pairs, spikes, record)
    assert_equal(reference.simulate_in_chunks(pairs, spikes, record), expected)
    assert all(0.05 < layer.mean() < 0.95 for layer in expected.states["spikes"])
    assert (expected.saturations[0] > 0) == (exponent == 7)


class TestProduct:
    """Products of floats, as long as the worst that messages can do stays in the mantissa."""

    @pytest.fixture
    def types(self, monkeypatch):
        """The types that products were computed in."""
        used, right = [], arithmetic.exact_type
        monkeypatch.setattr(
            arithmetic, "exact_type", lambda largest: used.append(right(largest)) or used[-1]
        )
        return used

    @pytest.mark.parametrize(("last", "dtype"), [(1, np.float32), (2, np.float64)])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_at_the_bound_of_float32(self, last, dtype, sign, types):
        weights = np.append(np.full(2**24 // 255, 255), last)[None]
        most = 2**24 + last - 1
        assert arithmetic.largest_sum(weights) == most
        synapses = Dense(sign * weights)
        messages = np.array([[1], [0]], np.int8) * np.ones(weights.shape, np.int8)
        assert synapses.product()(messages).tolist() == [[sign * most], [0]]
        assert types == [dtype]
        # One beyond the bound a float32 is wrong, so the bound is no lower than it must be.
        assert (int(np.float32(most)) == most) == (dtype is np.float32)

    @pytest.mark.parametrize(("inputs", "dtype"), [(257, np.float32), (258, np.float64)])
    def test_with_graded_messages(self, inputs, dtype, types):
        weights = np.full((1, inputs), 256)
        assert arithmetic.largest_sum(weights, 8) == inputs * 256 * 255  # 257 * 255 is 2**16 - 1
        messages = np.full((1, inputs), -255, np.int32)
        assert arithmetic.product(weights, 0, 8)(messages).item() == -inputs * 256 * 255
        assert types == [dtype]

    @pytest.mark.parametrize(("inputs", "dtype"), [(2**21, np.float64), (2**21 + 1, np.int64)])
    def test_at_the_bound_of_float64(self, inputs, dtype, types):
        """Sums of 53 bits wrap in 32 of them as Python's integers would."""
        weights = np.full((1, inputs), -256)
        message = 2**24 - 1
        messages = np.full((1, inputs), message, np.int32)
        total = -256 * message * inputs
        wrapped = (total + 2**31) % 2**32 - 2**31
        assert arithmetic.product(weights, 0, 24)(messages).item() == wrapped
        assert arithmetic.product(weights, 0, 24, np.int64)(messages).item() == total
        assert types == [dtype] * 2

    @pytest.mark.parametrize("bits", [24, 53])
    def test_the_bounds_themselves(self, bits):
        inside, beyond = arithmetic.exact_type(1 << bits), arithmetic.exact_type((1 << bits) + 1)
        assert np.finfo(inside).nmant + 1 == bits
        assert inside != beyond

    def test_of_a_convolution(self, types):
        """Its sums stay within 24 bits, as `Conv` makes sure."""
        conv = Conv(np.ones((2, 1, 2, 1), int), (1, 5, 1))
        assert conv.product()(np.ones((1, 5), np.int8)).tolist() == [[2] * 8]
        assert types == [np.float32]


class TestCountedWork:
    @pytest.fixture
    def products(self, monkeypatch):
        """The numbers of rows of all products, for each time that `product` was called."""
        made, right = [], Dense.product

        def product(self, *arguments):
            weighted, rows = right(self, *arguments), []
            made.append(rows)

            def counted(messages):
                rows.append(messages.size // messages.shape[-1])
                return weighted(messages)

            return counted

        monkeypatch.setattr(Dense, "product", product)
        return made

    def test_one_product_a_layer_and_chunk_for_all_steps(self, products, monkeypatch):
        pairs = small_network(np.random.default_rng(0), [12, 10, 6])
        spikes = np.ones((7, 5, 12), np.int8)
        monkeypatch.setattr(reference, "STEP", 4 * 12)  # four samples at once
        reference.simulate_in_chunks(pairs, spikes)
        assert products[0] == [4 * 5, 3 * 5]
        # Matrices are made once for all chunks; of 32 bits that cannot wrap, none for the check.
        assert len(products) == 2

    def test_silent_steps_have_none(self, products):
        pairs = [(Dense(np.ones((3, 4), int)), LIF(vth=1))]
        spikes = np.zeros((2, 6, 4), np.int8)
        spikes[0, 2, 1] = spikes[1, 5, 3] = 1
        reference.simulate_in_chunks(pairs, spikes)
        assert products == [[2 * 2]]

    def test_nor_have_silent_recurrent_steps(self, products):
        """A unit fires at steps 2 and 5: what comes of it arrives at 3, and after the end."""
        units = LIF(vth=1, dv=4095, recurrent=Dense([[1]]))
        spikes = np.array([[[0], [0], [1], [0], [0], [1]]], np.int8)
        result = reference.simulate_in_chunks([(Dense([[2]]), units)], spikes)
        assert result.spikes.ravel().tolist() == [0, 0, 1, 0, 0, 1]
        assert sorted(products) == [[1], [2]]

    def test_a_sum_that_could_wrap_is_computed_twice(self, products):
        """As int32 and as int64, to count those that did."""
        synapses = Dense(np.full((1, 300), 254), 7, message_bits=8)
        units = LIF(vth=1)
        reference.simulate_in_chunks([(synapses, units)], np.full((1, 2, 300), 255, np.int32))
        assert products == [[2], [2]]
