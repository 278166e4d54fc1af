"""Recurrent spiking neural networks as Keras layers.

Only Keras' TensorFlow backend is supported: the spikes' surrogate gradients are
`tf.custom_gradient` functions.
"""

from keras_spiking_rnn import _backend

_backend.require_tensorflow()

from keras_spiking_rnn import (  # noqa: E402
    adaptive_lstm,
    encoders,
    learning,
    metrics,
    plots,
    surrogates,
)
from keras_spiking_rnn.adaptive_lstm import (  # noqa: E402
    AAN,
    AdaptiveAnalogLSTM,
    AdaptiveAnalogLSTMCell,
    AdaptiveSpikingLSTM,
    AdaptiveSpikingNeuron,
    fit_aan,
)
from keras_spiking_rnn.encoders import (  # noqa: E402
    DirectEncoder,
    LatencyEncoder,
    PoissonEncoder,
)
from keras_spiking_rnn.lif import LIF, GatedLIF, GatedLIFCell, LIFCell  # noqa: E402
from keras_spiking_rnn.readouts import LeakyReadout, TimeSum  # noqa: E402
from keras_spiking_rnn.rlif import RLIF, RLIFCell  # noqa: E402
from keras_spiking_rnn.spiking_lstm import SpikingLSTM, SpikingLSTMCell  # noqa: E402
from keras_spiking_rnn.src import SRC, SRCCell  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "AAN",
    "AdaptiveAnalogLSTM",
    "AdaptiveAnalogLSTMCell",
    "AdaptiveSpikingLSTM",
    "AdaptiveSpikingNeuron",
    "DirectEncoder",
    "GatedLIF",
    "GatedLIFCell",
    "LIF",
    "LIFCell",
    "LatencyEncoder",
    "LeakyReadout",
    "PoissonEncoder",
    "RLIF",
    "RLIFCell",
    "SRC",
    "SRCCell",
    "SpikingLSTM",
    "SpikingLSTMCell",
    "TimeSum",
    "adaptive_lstm",
    "encoders",
    "fit_aan",
    "learning",
    "metrics",
    "plots",
    "surrogates",
]
