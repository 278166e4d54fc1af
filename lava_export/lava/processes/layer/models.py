"""The model."""

from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_export.lava import batched, stock
from lava_export.lava.processes.layer.process import Layer


@implements(proc=Layer, protocol=LoihiProtocol)
@tag("fixed_pt")
class SubLayer(AbstractSubProcessModel):
    """Layer as Dense or Conv, units, and Dense."""

    def __init__(self, process):
        parameters = process.proc_params
        synapses, units = parameters["synapses"], parameters["units"]
        name = parameters["name"]
        self.units = batched.PROCESSES[type(units)](
            units=units,
            shape=(synapses.units // units.ports,),
            period=parameters["period"],
            delay=parameters["delay"],
            traces={},
            name=f"units of {name}",
        )
        self.feedforward = stock.stock_synapses(synapses, f"of {name}")
        stock.connect(process.in_ports.s_in, self.feedforward.s_in)
        stock.connect(self.feedforward.a_out, self.units.a_in)
        if units.recurrent is not None:
            self.feedback = stock.stock_dense(units.recurrent, f"recurrent dense of {name}")
            self.units.feedback().connect(self.feedback.s_in)
            self.feedback.a_out.connect(self.units.r_in)
        self.units.s_out.connect(process.out_ports.s_out)
        for state in units.states:
            getattr(process.vars, state).alias(getattr(self.units.vars, state))
