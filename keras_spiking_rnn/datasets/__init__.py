"""Recordings of event cameras, `(events, label)` each, read when they are asked for.

They are sequences with `len` and an index, as the datasets of `tonic`, and
`keras_spiking_rnn.events.dataset` makes batches of them for `Model.fit`. Nothing is downloaded:
each takes the directory that its files are in.
"""

from keras_spiking_rnn.datasets.cifar10_dvs import CIFAR10DVS
from keras_spiking_rnn.datasets.mnist_dvs import MNISTDVS
from keras_spiking_rnn.datasets.recordings import Recordings
from keras_spiking_rnn.datasets.saccades import Saccades

__all__ = ["CIFAR10DVS", "MNISTDVS", "Recordings", "Saccades"]
