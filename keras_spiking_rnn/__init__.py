"""Recurrent spiking neural networks as Keras layers.

Only Keras' TensorFlow backend is supported: the spikes' surrogate gradients are
`tf.custom_gradient` functions.
"""

from keras_spiking_rnn import _backend

_backend.require_tensorflow()

from keras_spiking_rnn import (  # noqa: E402
    activations,
    adaptive_lstm,
    callbacks,
    datasets,
    distributed,
    encoders,
    events,
    learning,
    losses,
    metrics,
    plots,
    records,
    regularizers,
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
    DeltaEncoder,
    DirectEncoder,
    LatencyEncoder,
    OnOffPoissonEncoder,
    PoissonEncoder,
)
from keras_spiking_rnn.lif import LIF, GatedLIF, GatedLIFCell, LIFCell  # noqa: E402
from keras_spiking_rnn.lif_lstm import LIFLSTM, LIFLSTMCell  # noqa: E402
from keras_spiking_rnn.readouts import (  # noqa: E402
    LeakyIntegratorCell,
    LeakyReadout,
    MembraneReadout,
    TimeSum,
)
from keras_spiking_rnn.rlif import (  # noqa: E402
    RLIF,
    ConvRLIF2D,
    ConvRLIF2DCell,
    RLIFCell,
)
from keras_spiking_rnn.spiking_lstm import SpikingLSTM, SpikingLSTMCell  # noqa: E402
from keras_spiking_rnn.src import SRC, SRCCell  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "AAN",
    "AdaptiveAnalogLSTM",
    "AdaptiveAnalogLSTMCell",
    "AdaptiveSpikingLSTM",
    "AdaptiveSpikingNeuron",
    "ConvRLIF2D",
    "ConvRLIF2DCell",
    "DeltaEncoder",
    "DirectEncoder",
    "GatedLIF",
    "GatedLIFCell",
    "LIF",
    "LIFCell",
    "LIFLSTM",
    "LIFLSTMCell",
    "LatencyEncoder",
    "LeakyIntegratorCell",
    "LeakyReadout",
    "MembraneReadout",
    "OnOffPoissonEncoder",
    "PoissonEncoder",
    "RLIF",
    "RLIFCell",
    "SRC",
    "SRCCell",
    "SpikingLSTM",
    "SpikingLSTMCell",
    "TimeSum",
    "activations",
    "adaptive_lstm",
    "callbacks",
    "datasets",
    "distributed",
    "encoders",
    "events",
    "fit_aan",
    "learning",
    "losses",
    "metrics",
    "plots",
    "records",
    "regularizers",
    "surrogates",
]
