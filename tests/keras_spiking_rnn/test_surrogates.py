"""Spike functions: an exact step forward, the documented surrogate backward."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_spiking_rnn import surrogates
from keras_spiking_rnn.surrogates import (
    ArcTan,
    FastSigmoid,
    Gaussian,
    Rectangular,
    Sigmoid,
    StraightThrough,
    Triangular,
)

EACH = [
    Rectangular(0.25, height=2.0),
    Gaussian(0.3, height=1.5),
    Gaussian(4.0),
    Triangular(0.5, height=0.3),
    ArcTan(3.0),
    FastSigmoid(10.0, height=0.5),
    Sigmoid(5.0),
    StraightThrough(0.7),
]
each = pytest.mark.parametrize("surrogate", EACH, ids=repr)


def gradient(surrogate, x, upstream=1.0):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        spikes = surrogate(x)
    return tape.gradient(
        spikes, x, output_gradients=tf.fill(x.shape, tf.constant(upstream, x.dtype))
    )


class TestForward:
    @each
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_it_is_a_step_that_fires_at_the_threshold(self, surrogate, dtype):
        x = tf.constant([-np.inf, -1.0, -1e-7, -0.0, 0.0, 1e-7, 1.0, np.inf], dtype)
        spikes = surrogate(x)
        assert spikes.dtype == x.dtype
        np.testing.assert_array_equal(tf.cast(spikes, "float32"), [0, 0, 0, 1, 1, 1, 1, 1])

    def test_a_strict_step_does_not_fire_at_the_threshold(self):
        x = tf.constant([-1.0, -0.0, 0.0, 1e-30, math.nan])
        np.testing.assert_array_equal(Gaussian()(x, strict=True), [0, 0, 0, 1, 0])

    @given(x=st.floats(width=32, allow_nan=False, allow_subnormal=False))
    @settings(deadline=None)
    def test_it_is_a_step_everywhere(self, x):
        assert float(Rectangular()(tf.constant(x, "float32"))) == float(x >= 0)

    def test_not_a_number_is_no_spike(self):
        assert float(Rectangular()(tf.constant(math.nan))) == 0

    @pytest.mark.parametrize("x", [[1, 2], [True]])
    def test_integers_have_no_gradient(self, x):
        with pytest.raises(TypeError, match="floating point tensor.*keras.ops.cast"):
            Rectangular()(x)


class TestBackward:
    @pytest.mark.parametrize(
        "surrogate,at",
        [
            # Equation (12): height 1 whatever the width, and the ends belong to the interval.
            (Rectangular(), {-0.5: 1, 0: 1, 0.5: 1, -0.5001: 0, 0.5001: 0}),
            (Rectangular(0.25), {-0.25: 1, 0.25: 1, 0.26: 0}),
            (Rectangular(2, height=0.25), {-2: 0.25, 2: 0.25, 2.01: 0}),
            (Gaussian(4), {0: 0.282095, 1: 0.219696, -1: 0.219696, 2: 0.103777}),
            (Gaussian(0.3), {0: 1.030065, 0.5: 0.447664, -0.5: 0.447664, 1: 0.036747}),
            (Gaussian(1, height=2), {0: 2, 1: 2 / math.e}),
            (Triangular(), {0: 1, 0.25: 0.75, -0.5: 0.5, 1: 0, -1: 0, 1.5: 0}),
            (Triangular(2, height=0.3), {0: 0.3, 1: 0.15, -2: 0, 3: 0}),
            (ArcTan(), {0: 1, 1 / math.pi: 0.5, -1 / math.pi: 0.5}),
            (ArcTan(4), {0: 2, 1 / (2 * math.pi): 1}),
            (FastSigmoid(), {0: 1, 0.04: 0.25, -0.04: 0.25, 1: 1 / 676}),
            (FastSigmoid(1, height=2), {0: 2, 1: 0.5, -3: 0.125}),
            (Sigmoid(), {0: 1, math.log(3) / 4: 0.75, -math.log(3) / 4: 0.75}),
            (Sigmoid(1), {0: 0.25}),
            (StraightThrough(), {-100: 1, 0: 1, 100: 1}),
            (StraightThrough(0.5), {-1: 0.5}),
        ],
        ids=repr,
    )
    def test_values_from_the_formulas(self, surrogate, at):
        x = np.array(list(at), "float64")
        np.testing.assert_allclose(gradient(surrogate, x), list(at.values()), atol=5e-7)

    @each
    @given(x=st.floats(-50, 50), upstream=st.floats(-8, 8))
    @settings(max_examples=20, deadline=None)
    def test_the_gradient_is_upstream_times_the_derivative(self, surrogate, x, upstream):
        x = np.array([x])
        expected = upstream * np.asarray(surrogate.derivative(x))
        actual = gradient(surrogate, x, upstream)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=np.finfo("float64").tiny)

    @each
    @given(x=st.floats(0, 1e30))
    @settings(max_examples=20, deadline=None)
    def test_the_derivative_is_even_finite_and_largest_at_the_threshold(self, surrogate, x):
        at, mirrored, peak = np.asarray(surrogate.derivative(np.array([x, -x, 0.0])))
        assert at == pytest.approx(mirrored, rel=1e-12)
        assert 0 <= at <= peak < math.inf

    @each
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_derivative_may_be_taken_elsewhere(self, surrogate, jit_compile):
        x, at = tf.constant([-0.5, 0.0, 0.5]), tf.constant([0.1, 0.2, -0.4])

        @tf.function(jit_compile=jit_compile)
        def run(x, at):
            with tf.GradientTape() as tape:
                tape.watch([x, at])
                spikes = surrogate(x, slope_at=at)
            return spikes, *tape.gradient(spikes, [x, at], unconnected_gradients="zero")

        spikes, of_x, of_at = run(x, at)
        np.testing.assert_array_equal(spikes, [0, 1, 1])
        np.testing.assert_allclose(of_x, surrogate.derivative(at), rtol=1e-6)
        np.testing.assert_array_equal(of_at, [0, 0, 0])

    @pytest.mark.parametrize(
        "surrogate",
        [Rectangular(0.2, height=2.5), Gaussian(0.3), Gaussian(4), Triangular(), Sigmoid(6)],
        ids=repr,
    )
    def test_area_is_one(self, surrogate):
        x = np.linspace(-10, 10, 400_001)
        area = np.asarray(surrogate.derivative(x)).mean() * 20
        assert area == pytest.approx(1, abs=1e-3)

    @each
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_dtypes(self, surrogate, dtype):
        x = tf.constant([-300.0, -0.3, 0.0, 0.3, 300.0], dtype)
        actual = gradient(surrogate, x)
        assert actual.dtype == x.dtype
        expected = np.asarray(surrogate.derivative(tf.cast(x, "float64")))
        tolerance = {"float16": 4e-3, "bfloat16": 4e-2}.get(dtype, 1e-5)
        np.testing.assert_allclose(tf.cast(actual, "float64"), expected, tolerance, tolerance)

    @each
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_graphs_agree_with_eager(self, surrogate, jit_compile):
        x = tf.constant(np.linspace(-1, 1, 41), "float32")

        @tf.function(jit_compile=jit_compile)
        def run(x):
            return surrogate(x), gradient(surrogate, x)

        spikes, slopes = run(x)
        np.testing.assert_array_equal(spikes, surrogate(x))
        np.testing.assert_allclose(slopes, surrogate.derivative(x), rtol=1e-5)


class TestGet:
    @pytest.mark.parametrize("name", surrogates.NAMES)
    def test_names_and_defaults(self, name):
        assert surrogates.get(name) == surrogates.NAMES[name]()

    def test_default(self):
        assert surrogates.get(None) == Rectangular(half_width=0.5, height=1.0)

    @each
    def test_round_trips(self, surrogate):
        assert surrogates.get(surrogate) is surrogate
        assert surrogates.get(surrogates.serialize(surrogate)) == surrogate
        assert type(surrogate).from_config(surrogate.get_config()) == surrogate
        package = surrogates.serialize(surrogate)["registered_name"]
        assert package == f"keras_spiking_rnn>{type(surrogate).__name__}"

    def test_unknown_names_are_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match="'heaviside'.*rectangular, gaussian, triangular"):
            surrogates.get("heaviside")

    @pytest.mark.parametrize("thing", [3, Rectangular, keras.regularizers.L2(), {}])
    def test_other_things_are_refused(self, thing):
        with pytest.raises((ValueError, TypeError)):
            surrogates.get(thing)

    def test_a_serialized_object_of_another_kind_is_refused(self):
        with pytest.raises(ValueError, match="Unknown surrogate"):
            surrogates.get(keras.saving.serialize_keras_object(keras.regularizers.L2()))


class TestEquality:
    def test_it_is_by_class_and_configuration(self):
        assert Rectangular(0.5) == Rectangular()
        assert len({Rectangular(0.5), Rectangular(), Rectangular(0.4)}) == 2
        assert Rectangular(0.4) != Rectangular()
        assert Rectangular() != Triangular(0.5)
        assert Rectangular() != "rectangular"

    def test_repr_shows_how_to_make_it(self):
        assert repr(Triangular(0.5)) == "Triangular(half_width=0.5, height=1.0)"


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "wide", None])
@pytest.mark.parametrize(
    "kind,argument",
    [
        (Rectangular, "half_width"),
        (Rectangular, "height"),
        (Gaussian, "alpha"),
        (Triangular, "half_width"),
        (Triangular, "height"),
        (ArcTan, "slope"),
        (FastSigmoid, "slope"),
        (FastSigmoid, "height"),
        (Sigmoid, "slope"),
        (StraightThrough, "height"),
    ],
)
def test_arguments_must_be_positive(kind, argument, value):
    with pytest.raises(ValueError, match=f"{kind.__name__}: `{argument}` must be a finite number"):
        kind(**{argument: value})


class TestOwnSurrogate:
    def test_a_subclass_needs_only_a_derivative(self):
        class Half(surrogates.Surrogate):
            def derivative(self, x):
                return 0.5 * tf.ones_like(x)

        assert surrogates.get(Half()) == Half()
        np.testing.assert_array_equal(gradient(Half(), np.array([-1.0, 1.0])), [0.5, 0.5])

    def test_without_a_derivative_it_says_so(self):
        with pytest.raises(NotImplementedError, match="does not define derivative"):
            gradient(surrogates.Surrogate(), np.array([0.0]))
