"""What our processes of units share: ports, states, the start of a round, and traces."""

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class UnitsProcess(AbstractProcess):
    """A layer of units, for one sample or for many at once.

    Currents come from the synapses before the layer through `a_in`, and from its recurrent ones
    through `r_in`, which is not heard at the first step of a round. A subclass has a class of
    `lava_export.units` as `kind`.

    Args:
        units: The registers, of the class `kind`.
        shape: (units,), or (batch, units).
        period: Steps T of a round, after which the states start again from the initial ones; 0 if
            there is but one round.
        delay: Lava steps before the first step of the first round.
        traces: For each state, a shared int32 array (T, *shape) for its last T values, in which
            that of Lava's step k is written at `(k - 1) % T`; or (1, *shape) for that after the
            last step of a round.
        name: Name in messages.
        origin: A shared number, which the parent may change between two runs: Lava steps before
            those that `delay` counts.
    """

    kind = None

    def __init__(self, *, units, shape, period, delay, traces, name, origin=(0,)):
        super().__init__(
            units=units, period=period, delay=delay, traces=traces, origin=origin, name=name
        )
        self.a_in = InPort(shape=(*shape[:-1], self.kind.ports * shape[-1]))
        self.r_in = InPort(shape=self.a_in.shape)
        self.s_out = OutPort(shape=shape)
        for state in self.kind.states:
            setattr(self, state, Var(shape=shape, init=0))
        for register in self.kind.registers():
            if register in vars(self) or register in (f"{s}0" for s in self.kind.states):
                continue  # an initial state is not a variable of the unit
            ports = self.kind.ports if register in self.kind.of_ports else 1
            size = (1,) if register in self.kind.of_all else (ports * shape[-1],)
            value = np.broadcast_to(getattr(units, register), size)
            setattr(self, register, Var(shape=size, init=value))

    def feedback(self):
        """The port of what goes to the recurrent synapses."""
        return self.s_out


class PyUnits(PyLoihiProcessModel):
    """Base of the models of `UnitsProcess` on a CPU; a subclass computes in `step`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    r_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        """One step; the first of a round starts from the initial states."""
        parameters = self.proc_params
        steps = self.time_step - 1
        period = parameters["period"]
        in_round = steps - int(parameters["origin"][0]) - parameters["delay"]
        in_round = in_round % period if period else in_round
        current = self.a_in.recv()
        # Without synapses behind it a port gives zeros, of which a sum is a waste.
        recurrent = self.r_in.recv() if self.r_in.csp_ports else None
        if in_round == 0:
            for name, value in parameters["units"].initial().items():
                getattr(self, name)[:] = value
        elif recurrent is not None:
            current = current + recurrent
        self.s_out.send(self.step(current))
        for name, trace in parameters["traces"].items():
            if len(trace) > 1 or in_round == period - 1:
                trace[steps % len(trace)] = getattr(self, name)

    def step(self, current):
        """Changes the states, and returns the outputs."""
        raise NotImplementedError
