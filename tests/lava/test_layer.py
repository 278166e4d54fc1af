"""A layer of an exported network in a Lava network of one's own."""

import numpy as np
import pytest

pytest.importorskip("lava_export.lava", reason="needs Python 3.10 and lava-nc 0.10.0")

from lava.proc.io.sink import RingBuffer as Sink  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402

from lava_export import LIF, LIFLSTM, Conv, Dense, SpikingLSTM, reference  # noqa: E402
from lava_export.lava.processes.layer.process import Layer  # noqa: E402
from lava_export.lava.session import LavaSession  # noqa: E402

pytestmark = pytest.mark.usefixtures("nothing_left")

GENERATOR = np.random.default_rng(0)
INPUTS, UNITS, STEPS = 12, 10, 9


def random_dense(lines, inputs, exponent=0, message_bits=0):
    weights = GENERATOR.integers(-100, 130, (lines, inputs))
    return Dense(weights, exponent, message_bits=message_bits)


LAYERS = {
    "SpikingLSTM": (
        random_dense(4 * UNITS, INPUTS),
        SpikingLSTM(GENERATOR.integers(-200, 100, 4 * UNITS), random_dense(4 * UNITS, UNITS)),
    ),
    "recurrent LIF": (
        random_dense(UNITS, INPUTS),
        LIF(dv=300, vth=200, v0=500, recurrent=random_dense(UNITS, UNITS)),
    ),
    "LIF": (random_dense(UNITS, INPUTS), LIF(dv=300, vth=200, bias_mant=40)),
    "Conv": (
        Conv(GENERATOR.integers(-100, 130, (5, 2, 3, 2)), (3, 2, 2), padding=(0, 0, 1, 0)),
        LIF(dv=np.resize([100, 300, 500, 700, 900], UNITS), vth=200),
    ),
    # What goes back is not what leaves.
    "LIFLSTM": (
        random_dense(4 * UNITS, INPUTS),
        LIFLSTM(
            threshold=600,
            keep=4000,
            shift=4,
            recurrent=random_dense(4 * UNITS, UNITS, exponent=-8, message_bits=12),
        ),
    ),
}


@pytest.mark.parametrize("samples, period", [(1, 0), (3, STEPS)])
@pytest.mark.parametrize("name", LAYERS)
def test_it_gives_what_the_reference_gives(name, samples, period):
    synapses, units = LAYERS[name]
    spikes = (np.random.default_rng(1).random((samples, STEPS, INPUTS)) < 0.4).astype(np.int8)
    length = samples * STEPS
    expected = reference.simulate_layer(synapses, units, spikes)
    with LavaSession() as session:
        source = Source(data=np.concatenate(spikes).T.astype(int))
        layer = Layer(synapses=synapses, units=units, period=period)
        sink = Sink(shape=(UNITS,), buffer=length + 1)
        source.s_out.connect(layer.s_in)
        layer.s_out.connect(sink.a_in)
        session.start(layer)
        session.run(length + 1)
        outputs = sink.data.get().T[1:].reshape(samples, STEPS, UNITS)
        states = {name: getattr(layer, name).get() for name in units.states}
    np.testing.assert_array_equal(outputs, expected.spikes)
    assert 0.05 < outputs.mean() < 0.95
    for name, state in states.items():
        np.testing.assert_array_equal(state, expected.final[0][name][-1])
