"""The process."""

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class BatchLIF(AbstractProcess):
    """Lava's LIF for (batch, units), with du, dv and vth of each unit.

    Args:
        shape: (batch, units).
        du, dv, vth, bias_mant, bias_exp: As of `lava_export.LIF`, one integer or (units,).
        u0, v0: State before the first step of every round of samples, one integer or (units,).
        period: Steps T of a round.
        delay: Lava steps before the first step of the first round.
        u_trace, v_trace: Shared int32 arrays (n, batch, units) for the last n states; that of
            Lava's step k is written at `(k - 1) % n`.
        name: Name in messages.
    """

    def __init__(
        self,
        *,
        shape,
        du,
        dv,
        vth,
        bias_mant,
        bias_exp,
        u0,
        v0,
        period,
        delay,
        u_trace,
        v_trace,
        name,
    ):
        super().__init__(
            u0=u0, v0=v0, period=period, delay=delay, u_trace=u_trace, v_trace=v_trace, name=name
        )
        units = shape[1:]
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.v = Var(shape=shape, init=0)
        self.du = Var(shape=units, init=np.broadcast_to(du, units))
        self.dv = Var(shape=units, init=np.broadcast_to(dv, units))
        self.vth = Var(shape=units, init=np.broadcast_to(vth, units))
        self.bias_mant = Var(shape=units, init=np.broadcast_to(bias_mant, units))
        self.bias_exp = Var(shape=units, init=np.broadcast_to(bias_exp, units))
