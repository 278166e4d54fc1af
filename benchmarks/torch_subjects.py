"""What runs in PyTorch: snnTorch, Norse and SpikingJelly.

Each is used in the fastest way that gives the same work: the inputs of all steps are projected by
one product, and the loop takes its steps from `unbind`, because the gradient of `x[t]` is a tensor
of the size of `x`, at each step. `torch.compile` compiles ten steps at once: one alone is slower,
and hundreds take minutes to compile.
"""

import numpy as np
import snntorch
import torch
from norse.torch import LIFBoxCell, LIFBoxFeedForwardState, LIFBoxParameters
from spikingjelly.activation_based import neuron, surrogate

from benchmarks.data import GATES, PLAIN, batch_of, is_recurrent, kernels_of
from benchmarks.workloads import SEED

CHUNK = 10
"""Steps that are compiled as one."""

VERSIONS = {"torch": torch.__version__, "numpy": np.__version__}


def use_threads(count):
    """Has PyTorch compute with so many threads."""
    torch.set_num_threads(count)


def build(name, workload, mode, batches):
    """Makes one of the subjects: see `benchmarks.tensorflow_subjects.build`."""
    torch.manual_seed(SEED)
    if name == "torch_products":
        return _products(workload, mode), None, None
    peer, _, variant = name.partition("_")
    loop_of = {"snntorch": _snntorch, "norse": _norse, "spikingjelly": _spikingjelly}[peer]
    network = Network(workload, lambda units: loop_of(workload, units, variant))
    readout = torch.nn.Linear(workload.units[-1], 10)
    loss_of = torch.nn.CrossEntropyLoss()
    x, labels = batch_of(workload, 1 if mode == "training" else batches)
    x = torch.from_numpy(x).transpose(0, 1).contiguous()
    labels = torch.from_numpy(labels)

    def training():
        network.zero_grad(set_to_none=True)
        readout.zero_grad(set_to_none=True)
        loss = loss_of(readout(network(x).mean(0)), labels)
        loss.backward()
        return loss.item()

    def inference():
        with torch.inference_mode():
            for part in x.split(workload.batch, dim=1):
                readout(network(part).mean(0)).numpy()

    def activity():
        with torch.inference_mode(mode == "inference"):
            layers = network.outputs(x[:, : workload.batch])
            return [float((outputs != 0).float().mean()) for outputs in layers]

    def gradient_through_time():
        inputs = x[:CHUNK, : workload.batch].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(inputs)[3].sum(), inputs)
        return float(gradient[0].abs().max())

    network.train(mode == "training")
    step = training if mode == "training" else inference
    return step, activity, gradient_through_time


class Network(torch.nn.Module):
    """A projection of the inputs of all steps and a loop for each layer; the time comes first."""

    def __init__(self, workload, loop_of):
        super().__init__()
        # An SRC is compared with a LIF neuron, which has as many columns.
        gates = GATES[workload.model]
        widths = [workload.inputs, *workload.units]
        self.projections = torch.nn.ModuleList(
            torch.nn.Linear(before, gates * after)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        if workload.model in PLAIN:
            for projection, kernel in zip(self.projections, kernels_of(workload), strict=True):
                projection.weight.data = torch.from_numpy(kernel.T.copy())
                torch.nn.init.zeros_(projection.bias)
        self.loops = torch.nn.ModuleList(loop_of(units) for units in workload.units)

    def outputs(self, x):
        """Outputs of all steps of each layer, `(steps, batch, units)`."""
        results = []
        for projection, loop in zip(self.projections, self.loops, strict=True):
            x = loop(projection(x))
            results.append(x)
        return results

    def forward(self, x):
        """Outputs of all steps of the last layer."""
        return self.outputs(x)[-1]


class Loop(torch.nn.Module):
    """Calls a neuron, `(currents, *states) -> (spikes, *states)`, step by step."""

    def __init__(self, neuron, units, states, variant):
        super().__init__()
        self.neuron = neuron
        self.units = units
        self.states = states
        self.run = self.steps
        if variant == "compiled":
            self.run = torch.compile(self.steps)

    def steps(self, currents, *states):
        """Some steps: a list of the spikes of each and the states after the last."""
        spikes = []
        for current in currents:
            spike, *states = self.neuron(current, *states)
            spikes.append(spike)
        return spikes, states

    def forward(self, currents):
        """Spikes of all steps, from states of 0."""
        states = [currents.new_zeros(currents.shape[1], self.units) for _ in range(self.states)]
        currents = currents.unbind(0)
        spikes = []
        for start in range(0, len(currents), CHUNK):
            some, states = self.run(currents[start : start + CHUNK], *states)
            spikes += some
        return torch.stack(spikes)


class SLSTM(snntorch.SLSTM):
    """`snntorch.SLSTM` on projected inputs, whose states are kept from step to step.

    snnTorch 1.0.0 compares the shape of the states with that of the inputs, and begins with 0 again
    at each step if they differ: then there is no recurrence, and no gradient through time.
    """

    def __init__(self, units):
        # A hidden state is below 1: the default threshold of 1 would have it never fire.
        super().__init__(units, units, threshold=0.05)
        self.lstm_cell = LSTMCell(units)

    def forward(self, projected, synapse, membrane):
        """One step, as `snntorch.SLSTM.forward`."""
        self.syn, self.mem = synapse, membrane
        self.syn, self.mem = self.state_function(projected)
        return self.fire(self.mem), self.syn, self.mem


class LSTMCell(torch.nn.Module):
    """`torch.nn.LSTMCell` on inputs that are projected already."""

    def __init__(self, units):
        super().__init__()
        self.recurrent = torch.nn.Linear(units, 4 * units, bias=False)

    def forward(self, projected, states):
        """One step."""
        hidden, cell = states
        i, f, g, o = (projected + self.recurrent(hidden)).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


def _snntorch(workload, units, variant):
    if workload.model == "SpikingLSTM":
        return Loop(SLSTM(units), units, 2, variant)
    beta = torch.full((units,), 0.9)
    leaky = snntorch.Leaky(beta=beta, learn_beta=True, reset_mechanism="zero")
    return Loop(leaky, units, 1, variant)


class NorseNeuron(torch.nn.Module):
    """`LIFBoxCell`, v = 0.9 v + 0.1 current, with ten times the current."""

    def __init__(self):
        super().__init__()
        self.cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(100.0)), dt=0.001)

    def forward(self, current, membrane):
        """One step."""
        state = LIFBoxFeedForwardState(v=membrane)
        spikes, state = self.cell(10 * current, state)
        return spikes, state.v


def _norse(workload, units, variant):
    return Loop(NorseNeuron(), units, 1, variant)


class SpikingJellyNeuron(torch.nn.Module):
    """`LIFNode` with its state as an argument: for ten steps to be compiled alike."""

    def __init__(self):
        super().__init__()
        self.node = _lif_node("s")

    def forward(self, current, membrane):
        """One step."""
        self.node.v = membrane
        return self.node(current), self.node.v


class SpikingJellyMultistep(torch.nn.Module):
    """`LIFNode` with a loop of its own."""

    def __init__(self):
        super().__init__()
        self.node = _lif_node("m")

    def forward(self, currents):
        """Spikes of all steps."""
        self.node.reset()
        return self.node(currents)


def _lif_node(step_mode):
    return neuron.LIFNode(
        tau=10.0,
        decay_input=False,
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(),
        step_mode=step_mode,
    )


def _spikingjelly(workload, units, variant):
    if variant == "multistep":
        return SpikingJellyMultistep()
    return Loop(SpikingJellyNeuron(), units, 1, variant)


def _products(workload, mode):
    """The products of `benchmarks.tensorflow_subjects`, to see whether they are a fair bound."""
    gates = GATES[workload.model]
    x, _ = batch_of(workload)
    rows = workload.batch * workload.steps
    widths = [workload.inputs, *workload.units]
    inputs = [torch.from_numpy(x.reshape(rows, -1)), *(torch.randn(rows, w) for w in widths[1:-1])]
    kernels = [
        torch.randn(before, gates * after)
        for before, after in zip(widths, widths[1:], strict=False)
    ]
    factors = list(zip(inputs, kernels, [i > 0 for i in range(len(kernels))], strict=True))
    if is_recurrent(workload):
        for units in workload.units:
            factors.append((torch.randn(rows, units), torch.randn(units, gates * units), True))

    def step():
        results = []
        for inputs, kernel, with_input_gradient in factors:
            net = inputs @ kernel
            results.append(net)
            if mode == "training":
                results.append(inputs.T @ net)
                if with_input_gradient:
                    results.append(net @ kernel.T)
        return results

    return step
