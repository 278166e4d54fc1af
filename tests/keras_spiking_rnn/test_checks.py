"""The checks of arguments that all parts of the library share."""

import math

import numpy as np
import pytest

from keras_spiking_rnn import checks


@pytest.mark.parametrize("value", [1, 8, np.int32(3), np.uint8(8)])
def test_integers(value):
    assert checks.is_integer(value, 1, 8)
    result = checks.positive_integer("A 'b'", "n", value)
    assert result == value and type(result) is int


@pytest.mark.parametrize("value", [0, 9, True, np.True_, 2.0, "2", None, math.nan, [1]])
def test_no_integers_from_1_to_8(value):
    assert not checks.is_integer(value, 1, 8)


@pytest.mark.parametrize("value", [0, -1, False, 2.5, None])
def test_the_error_of_a_positive_integer(value):
    with pytest.raises(ValueError) as error:
        checks.positive_integer("A 'b'", "n", value, "the number of things")
    assert str(error.value) == (
        "A 'b': `n` must be a positive integer, the number of things. Received: n=" + repr(value)
    )


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_numbers(value):
    result = checks.number("A 'b'", "x", value, 0, 1)
    assert result == value and type(result) is float


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, True, "1", None, 1j, [0.5]])
def test_no_numbers_from_0_to_1(value):
    assert not checks.is_number(value, 0, 1)


def test_open_ends():
    assert not checks.is_number(0, 0, 1, open_low=True)
    assert not checks.is_number(1, 0, 1, open_high=True)
    assert checks.is_number(1, 0, 1, open_low=True) and checks.is_number(0, 0, 1, open_high=True)


@pytest.mark.parametrize(
    "limits,text",
    [
        ({}, ""),
        ({"low": 0}, ", at least 0"),
        ({"low": 0, "open_low": True}, ", above 0"),
        ({"high": 1}, ", at most 1"),
        ({"low": 0, "high": 1}, ", at least 0 and at most 1"),
    ],
)
def test_the_error_of_a_number(limits, text):
    with pytest.raises(ValueError) as error:
        checks.number("A 'b'", "x", math.nan, **limits)
    assert str(error.value) == f"A 'b': `x` must be a finite number{text}. Received: x=nan"


def test_choices():
    assert checks.one_of("A 'b'", "kind", "up", ("up", "down")) == "up"
    assert checks.either("A 'b'", "off", None, ("complement", None)) is None
    with pytest.raises(ValueError) as error:
        checks.one_of("A 'b'", "kind", "left", {"up": 1, "down": 2})
    assert str(error.value) == "A 'b': `kind` must be one of up, down. Received: kind='left'"
    with pytest.raises(ValueError) as error:
        checks.either("A 'b'", "off", "both", ("complement", "independent", None))
    assert str(error.value) == (
        "A 'b': `off` must be 'complement', 'independent' or None. Received: off='both'"
    )
    # Not even what cannot be a key of a dictionary.
    with pytest.raises(ValueError, match=r"kind=\[\]"):
        checks.one_of("A 'b'", "kind", [], {"up": 1})
