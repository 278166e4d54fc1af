"""Paper 004: deep networks of spiking recurrent cells, beside LIF networks of the same size."""
