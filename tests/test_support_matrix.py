"""The support matrix on the page is what the code answers."""

import keras_spiking_rnn
from keras_spiking_rnn.base import SpikingRNN
from lava_export import convert
from lava_export.training import aware
from lava_export.training.layer import QuantizedCell
from tools import support_matrix


def test_the_page_shows_what_the_code_answers():
    assert support_matrix.table() in support_matrix.PAGE.read_text(encoding="utf-8")


def test_every_layer_has_a_row():
    public = (getattr(keras_spiking_rnn, name) for name in keras_spiking_rnn.__all__)
    layers = {
        thing for thing in public if isinstance(thing, type) and issubclass(thing, SpikingRNN)
    }
    readouts = {keras_spiking_rnn.MembraneReadout}
    assert layers - readouts == {row.layer for row in support_matrix.ROWS}


def test_every_cell_of_the_registries_has_a_row():
    cells = {row.layer.cell_class for row in support_matrix.ROWS}
    assert set(aware.QUANTIZED) <= cells
    assert {cell for cell in convert.CELLS if not issubclass(cell, QuantizedCell)} <= cells


def test_a_layer_that_is_refused_has_no_network():
    row = support_matrix.Row("refused", keras_spiking_rnn.RLIF, {"output_mode": "analog"}, {})
    assert support_matrix.row_of(row)[3:] == ("–", "–", "–", "yes", "–", "–")
