"""What is measured, on what sizes, and the goals: the largest ratios of medians that are wanted."""

from __future__ import annotations

import dataclasses
import math

SEED = 0


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network of one kind of layers, and the batch that it is trained on.

    Attributes:
        model: Name of the layer in `keras_spiking_rnn`.
        inputs: Number of features of a step.
        units: Units of each layer.
        batch: Sequences in a batch.
        steps: Steps of a sequence.
        options: Arguments of the layers.
        scale: Factor of the initial input weights, which are Glorot's otherwise, so that the units
            fire neither never nor always.
        goals: Largest wanted ratio of the time of a training step to that of another subject, by
            the name of the latter.
        memory_goals: The same of the peak memory of a training step.
        peers: Libraries that have this model, or one that does the same work.
        rate: Share of the inputs that are 1; the others are 0.
        batches: Batches of one call of `model.predict`: enough to hide the time of the call.
    """

    model: str
    inputs: int
    units: tuple[int, ...]
    batch: int = 64
    steps: int = 200
    options: dict = dataclasses.field(default_factory=dict)
    scale: float = 1.0
    goals: dict = dataclasses.field(default_factory=dict)
    memory_goals: dict = dataclasses.field(default_factory=dict)
    peers: tuple[str, ...] = ()
    rate: float = 0.1
    batches: int = 4

    def to_json(self):
        """The workload as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content):
        """The workload that `to_json` has made `content` of."""
        lists = {name: tuple(content[name]) for name in ("units", "peers")}
        return cls(**{**content, **lists})

    @property
    def title(self):
        """Model and sizes, as the tables have them."""
        widths = "-".join(str(width) for width in (self.inputs, *self.units))
        return f"{self.model} {widths}, batch {self.batch}, T {self.steps}"


# The dynamics of the peers: v = 0.9 v + input, a spike at 1, then 0.
_LEAKY = {"threshold": 1.0, "leak_initializer": 0.9}
_PEERS = ("snntorch", "norse", "spikingjelly")

WORKLOADS = {
    "rlif": Workload(
        "RLIF",
        784,
        (512,),
        options=_LEAKY,
        scale=1.5,
        goals={"products": 1.2, "cell": 0.6, **dict.fromkeys(_PEERS, 0.5)},
        peers=_PEERS,
    ),
    "spiking_lstm": Workload(
        "SpikingLSTM",
        784,
        (512,),
        goals={"products": 1.4, "keras_lstm": 0.7, "snntorch": 0.5},
        peers=("snntorch",),
    ),
    "gated_lif": Workload(
        "GatedLIF",
        40,
        (550, 550),
        options={"recurrent_gates": True},
        goals={"products": 1.6, "keras_gru": 0.9},
    ),
    "src": Workload(
        "SRC",
        784,
        (512, 100),
        scale=1.5,
        goals={"products": 2.0, "snntorch": 0.6},
        peers=("snntorch",),
    ),
    "lif_lstm": Workload(
        "LIFLSTM", 256, (256,), steps=100, options={"threshold": 0.1}, goals={"keras_lstm": 1.1}
    ),
    "rlif_small": Workload(
        "RLIF",
        28,
        (100,),
        batch=128,
        steps=28,
        options=_LEAKY,
        scale=1.5,
        goals={"cell": 0.7},
        peers=_PEERS,
        batches=64,
    ),
}

# Of `model.predict`, for each workload.
INFERENCE_GOALS = {"cell": 0.7}

MEMORY_WORKLOADS = {
    "rlif_long": dataclasses.replace(
        WORKLOADS["rlif"], steps=1000, goals={}, memory_goals={"cell": 0.5, "snntorch": 0.4}
    ),
}


def _growing(size, values, checkpoints=False, **sizes):
    base = dataclasses.replace(WORKLOADS["rlif"], goals={}, **sizes)
    workloads = [dataclasses.replace(base, **{size: value}) for value in values]
    if not checkpoints:
        return workloads
    return [
        dataclasses.replace(
            each, options={**each.options, "checkpoint_every": math.isqrt(each.steps)}
        )
        for each in workloads
    ]


_STEPS = (125, 250, 500, 1000, 2000, 4000)

# The field that grows, the workloads, and whether their memory is measured.
GROWTH_WORKLOADS = {
    "steps": ("steps", _growing("steps", _STEPS, batch=32), True),
    "steps_with_checkpoints": ("steps", _growing("steps", _STEPS, True, batch=32), True),
    "batch": ("batch", _growing("batch", (16, 32, 64, 128, 256), steps=100), False),
    "units": (
        "units",
        _growing("units", ((128,), (256,), (512,), (1024,), (2048,)), steps=100),
        False,
    ),
}

LARGEST_EXPONENT = 1.05
"""Of time and memory in the number of steps; in other sizes, how much above that of the products
it may be is 0.05."""


def goals_of(workload, mode):
    """The goals of a workload for the time of training or of inference."""
    return workload.goals if mode == "training" else INFERENCE_GOALS
