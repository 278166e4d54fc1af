"""Learning rules other than backpropagation through time."""

from keras_spiking_rnn.learning.rl_lstm import RLLSTM
from keras_spiking_rnn.learning.truncated_rtrl import TruncatedRTRL

__all__ = ["RLLSTM", "TruncatedRTRL"]
