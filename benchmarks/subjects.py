"""Who is measured: the name of each subject, what it is, and in which framework it runs.

A peer is one or more subjects, its variants: the same work in different ways. The fastest one
stands for the peer.
"""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """One way to do the work of a workload.

    Attributes:
        peer: Whom it stands for, as goals and `--peers` name it.
        how: What is done, as the tables have it.
        framework: `"tensorflow"` or `"torch"`: the module `benchmarks.<framework>_subjects`.
    """

    peer: str
    how: str
    framework: str


SUBJECTS = {
    "fused": Subject("fused", "the layer", "tensorflow"),
    "products": Subject("products", "the matrix products alone", "tensorflow"),
    "torch_products": Subject("torch_products", "the same, in PyTorch", "torch"),
    "cell": Subject("cell", "the cell in `keras.layers.RNN`", "tensorflow"),
    "cell_compiled": Subject("cell", "the same, `jit_compile=True`", "tensorflow"),
    "keras_lstm": Subject("keras_lstm", "`keras.layers.LSTM`", "tensorflow"),
    "keras_lstm_compiled": Subject("keras_lstm", "the same, `jit_compile=True`", "tensorflow"),
    "keras_gru": Subject("keras_gru", "`keras.layers.GRU`", "tensorflow"),
    "keras_gru_compiled": Subject("keras_gru", "the same, `jit_compile=True`", "tensorflow"),
    "snntorch": Subject("snntorch", "`Leaky` or `SLSTM`, a loop over the steps", "torch"),
    "snntorch_compiled": Subject("snntorch", "the same, `torch.compile` of ten steps", "torch"),
    "norse": Subject("norse", "`LIFBoxCell`, a loop over the steps", "torch"),
    "norse_compiled": Subject("norse", "the same, `torch.compile` of ten steps", "torch"),
    "spikingjelly": Subject("spikingjelly", "`LIFNode`, a loop over the steps", "torch"),
    "spikingjelly_multistep": Subject("spikingjelly", '`LIFNode(step_mode="m")`', "torch"),
    "spikingjelly_compiled": Subject(
        "spikingjelly", "a loop, `torch.compile` of ten steps", "torch"
    ),
}

PEERS = ("snntorch", "norse", "spikingjelly")

TITLES = {
    "fused": "this library",
    "products": "matrix products (bound)",
    "torch_products": "matrix products in PyTorch",
    "cell": "keras.layers.RNN(cell)",
    "keras_lstm": "keras.layers.LSTM",
    "keras_gru": "keras.layers.GRU",
    "snntorch": "snnTorch",
    "norse": "Norse",
    "spikingjelly": "SpikingJelly",
}


def variants(peer):
    """Names of the subjects that stand for a peer."""
    return [name for name, subject in SUBJECTS.items() if subject.peer == peer]
