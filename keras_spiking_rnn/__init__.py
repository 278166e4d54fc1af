"""Recurrent spiking neural networks as Keras layers.

Only Keras' TensorFlow backend is supported: the spikes' surrogate gradients are
`tf.custom_gradient` functions.
"""

from keras_spiking_rnn import _backend

_backend.require_tensorflow()

from keras_spiking_rnn import metrics, plots, surrogates  # noqa: E402
from keras_spiking_rnn.encoders import DirectEncoder, PoissonEncoder  # noqa: E402
from keras_spiking_rnn.readouts import TimeSum  # noqa: E402
from keras_spiking_rnn.rlif import RLIF, RLIFCell  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "DirectEncoder",
    "PoissonEncoder",
    "RLIF",
    "RLIFCell",
    "TimeSum",
    "metrics",
    "plots",
    "surrogates",
]
