"""Figure 5: digits, rate code, with networks of 5, 10 and 15 layers of SRC, and of LIF.

    python -m examples.src.depth --preset reduced   what two cores can do
    python -m examples.src.depth --preset paper     the sizes of the paper
    python -m examples.src.depth --preset quick     a minute

Writes the record `depth-PRESET-SEED.json`, with the norm of the gradient of each layer after
training.
"""

import numpy as np
import tensorflow as tf

from examples import experiment
from examples.data import IMAGE_SOURCES
from examples.src import networks

PRESETS = {
    "quick": {"hidden": 20, "steps": 30, "train": 200, "test": 100, "epochs": 1, "batch_size": 20},
    "reduced": {
        "hidden": 128,
        "steps": 50,
        "train": None,
        "test": None,
        "epochs": 4,
        "batch_size": 16,
        "bias": -5.0,
        "clip_each": True,
    },
    "paper": {**networks.PAPER, "epochs": 100},
}
# What section 4.5.2 says of them; figure 5 has no numbers.
PUBLISHED = {
    5: "98.39 % (LIF 98.08 %)",
    10: "SRC learns (LIF unstable)",
    15: "SRC learns (LIF fails)",
}


def rows(numbers, protocol):
    """The rows of the table of reproductions: one for each number of layers.

    Args:
        numbers: Dictionary from `"LAYERS-NEURON"` to what `networks.measured` gives.
        protocol: What differs from the paper, in words.
    """
    return [
        {
            "paper": "004",
            "what": f"Depth: MNIST, rate code, {layers} layers",
            "published": PUBLISHED.get(layers, ""),
            "ours": ours,
            "beside": beside,
            "protocol": protocol,
        }
        for layers, ours, beside in networks.by_layers(numbers)
    ]


def gradient_norms(model, x, y):
    """Norm of the gradient of the loss for the kernel of each layer, of one batch."""
    kernels = {
        layer.name: layer.cell.kernel for layer in model.layers if layer.name.startswith("layer_")
    }
    with tf.GradientTape() as tape:
        loss = model.loss(y, model(x))
    gradients = tape.gradient(loss, [kernel.value for kernel in kernels.values()])
    return {
        name: float(f"{np.linalg.norm(gradient):.3g}")
        for name, gradient in zip(kernels, gradients, strict=True)
    }


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/depth", networks.PRESETS, IMAGE_SOURCES["mnist"])
    parser.add_argument("--layers", nargs="+", type=experiment.positive, default=[5, 10, 15])
    parser.add_argument(
        "--neurons", nargs="+", choices=networks.NEURONS, default=list(networks.NEURONS)
    )
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {"source": given.source, "protocol": protocol}
    output = experiment.directory(given, "src/depth", config)
    parts = networks.parts_of("mnist", protocol, given.source, given.data_dir, given.seed)
    numbers = {}
    for layers in given.layers:
        for neuron in given.neurons:
            name = f"{layers}-{neuron}"
            print(f"{layers} layers of {networks.TITLES[neuron]}")
            case = {"neuron": neuron, "coding": "rate", "layers": layers}
            model, found = networks.measured(parts, protocol, case, output, name, given.seed)
            found["gradients"] = gradient_norms(model, *(each[:100] for each in parts[1]))
            numbers[name] = found
            print(f"Test: {experiment.percent(numbers[name]['accuracy'])}")
    experiment.record(
        "src.depth",
        given,
        parser,
        name="depth",
        config={**config, "layers": given.layers, "neurons": given.neurons},
        seconds=sum(each["seconds"] for each in numbers.values()),
        numbers=numbers,
        rows=rows(numbers, networks.reduced(protocol, parts, PRESETS["paper"]["epochs"])),
    )


if __name__ == "__main__":
    main()
