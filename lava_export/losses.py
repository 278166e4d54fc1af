"""What a file format cannot hold of a network: named, and only dropped where that is allowed."""

from __future__ import annotations

import warnings

from lava_export.quantize import ConversionError


class LossWarning(UserWarning):
    """A conversion that lost something, with all that it lost."""


class Losses:
    """The losses of one conversion.

    Args:
        conversion: What is converted, for messages: "lava-dl's netx".
    """

    def __init__(self, conversion):
        self.conversion = conversion
        self.found = []

    def add(self, loss):
        """Note a loss, a sentence without its full stop."""
        self.found.append(loss)

    def settle(self, allowed, stacklevel=4):
        """Warn of the losses if they are allowed.

        Args:
            allowed: Whether they are.
            stacklevel: How far up the caller is to whom the warning is shown.

        Raises:
            ConversionError: If there are losses and they are not allowed.
        """
        if not self.found:
            return
        losses = "; ".join(self.found)
        if not allowed:
            raise ConversionError(
                f"{self.conversion} would lose something: {losses}. "
                "Pass allow_lossy=True to convert nevertheless."
            )
        warnings.warn(f"{self.conversion}: {losses}.", LossWarning, stacklevel=stacklevel)
