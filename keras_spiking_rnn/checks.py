"""Checks of arguments that many parts of the library share, and their errors.

`title` is what an error begins with: the class, and the name of the layer, or the function.
"""

import math
import numbers


def is_integer(value, low=-math.inf, high=math.inf):
    """Tells whether `value` is an integer in [low, high]; `True` and `False` are none."""
    is_one = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_one and low <= value <= high


def is_number(value, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """Tells whether `value` is a finite number in [low, high], or open at an end."""
    is_one = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_one or not math.isfinite(value) or not low <= value <= high:
        return False
    return not (open_low and value == low or open_high and value == high)


def positive_integer(title, name, value, meaning=""):
    """`value` as an integer, if it is one above 0; `meaning` says in the error what it is."""
    if not is_integer(value, low=1):
        raise ValueError(
            f"{title}: `{name}` must be a positive integer{meaning and ', ' + meaning}. Received: "
            f"{name}={value!r}"
        )
    return int(value)


def number(title, name, value, low=-math.inf, high=math.inf, open_low=False):
    """`value` as a float, if it is finite and in [low, high], or in (low, high]."""
    if not is_number(value, low, high, open_low):
        limits = []
        if low > -math.inf:
            limits.append(f"{'above' if open_low else 'at least'} {low:g}")
        if high < math.inf:
            limits.append(f"at most {high:g}")
        raise ValueError(
            f"{title}: `{name}` must be a finite number"
            + (f", {' and '.join(limits)}" if limits else "")
            + f". Received: {name}={value!r}"
        )
    return float(value)


def one_of(title, name, value, known):
    """`value`, if it is one of the strings or numbers that are `known`."""
    if value not in tuple(known):
        raise ValueError(
            f"{title}: `{name}` must be one of {', '.join(map(str, known))}. Received: "
            f"{name}={value!r}"
        )
    return value


def either(title, name, value, choices):
    """`value`, if it is one of the few `choices`."""
    if value not in tuple(choices):
        *others, last = map(repr, choices)
        expected = f"{', '.join(others)} or {last}"
        raise ValueError(f"{title}: `{name}` must be {expected}. Received: {name}={value!r}")
    return value
