"""A layer of an exported network, with its synapses."""
