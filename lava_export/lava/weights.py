"""The weights that Lava's processes compute with."""

from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights


def rounded(weights, num_weight_bits):
    """Weights as Lava's `Dense` rounds them, by Lava's own functions."""
    sign_mode = determine_sign_mode(weights)
    return truncate_weights(
        clip_weights(weights, sign_mode, num_bits=8), sign_mode, num_weight_bits
    )
