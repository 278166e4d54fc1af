"""Figure 7: SRC with noise in the strengths of its feedbacks, r and r_s.

    python -m examples.src.noise --preset reduced   what two cores can do
    python -m examples.src.noise --preset paper     the sizes of the paper, 5 networks each
    python -m examples.src.noise --preset quick     a minute

Both strengths are drawn anew for each neuron, sequence and step; the paper does not say how often
it draws. The networks are tested without noise and with that of the training. Writes the record
`noise-PRESET-SEED.json`. Figure 6 is drawn by `examples.src.response`.
"""

import numpy as np

from examples import experiment
from examples.data import IMAGE_SOURCES
from examples.src import networks
from examples.src.gradients import PRESETS as SIZES
from examples.src.gradients import summary

PRESETS = {
    "quick": {**SIZES["quick"], "stddevs": [0.0, 0.2]},
    "reduced": {**SIZES["reduced"], "stddevs": [0.0, 0.1, 0.2]},
    "paper": {**SIZES["paper"], "stddevs": [0.0, 0.05, 0.1, 0.2]},
}


def accuracy_with_noise(model, x, y, batch_size):
    """Part of the samples that a model gets right with the noise that it has in training."""
    right = [
        np.argmax(model(x[start : start + batch_size], training=True), axis=1)
        == y[start : start + batch_size]
        for start in range(0, len(x), batch_size)
    ]
    return round(float(np.mean(np.concatenate(right))), 4)


def rows(numbers, layers, protocol):
    """The rows of the table of reproductions, one for each level of noise.

    Args:
        numbers: Dictionary from a standard deviation, as text, to a list of what
            `networks.measured` gives, with `noisy_accuracy`.
        layers: Number of layers.
        protocol: What differs from the paper, in words.
    """
    return [
        {
            "paper": "004",
            "what": f"Noise of r and r_s with standard deviation {stddev}, {layers} layers",
            "published": "98.39 %" if float(stddev) == 0 else "as without noise",
            "ours": summary([each["accuracy"] for each in found]),
            "beside": f"tested with noise {summary([each['noisy_accuracy'] for each in found])}"
            if float(stddev)
            else "",
            "protocol": protocol,
        }
        for stddev, found in numbers.items()
    ]


def main(arguments=None):
    parser = experiment.parser(__doc__, "src/noise", networks.PRESETS, IMAGE_SOURCES["mnist"])
    given = parser.parse_args(arguments)
    protocol = PRESETS[given.preset]
    config = {"source": given.source, "protocol": protocol}
    output = experiment.directory(given, "src/noise", config)
    parts = networks.parts_of("mnist", protocol, given.source, given.data_dir, given.seed)
    x_test, y_test = parts[2]
    differences = networks.reduced(protocol, parts, PRESETS["paper"]["epochs"])
    if protocol["layers"] != PRESETS["paper"]["layers"]:
        differences += f", {protocol['layers']} layers (paper {PRESETS['paper']['layers']})"
    numbers = {}
    for stddev in protocol["stddevs"]:
        case = {"neuron": "src", "coding": "rate", "layers": protocol["layers"]}
        case["noise_stddev"] = stddev
        key = f"{stddev:g}"
        numbers[key] = []
        for seed in range(given.seed, given.seed + protocol["networks"]):
            print(f"Noise {stddev:g}, seed {seed}")
            model, found = networks.measured(
                parts, protocol, case, output, f"{stddev:g}-{seed}", seed
            )
            found["noisy_accuracy"] = accuracy_with_noise(
                model, x_test, y_test, protocol["batch_size"]
            )
            numbers[key].append(found)
            print(f"Test: {experiment.percent(found['accuracy'])}")
    experiment.record(
        "src.noise",
        given,
        parser,
        name="noise",
        config=config,
        seconds=sum(each["seconds"] for found in numbers.values() for each in found),
        numbers=numbers,
        rows=rows(numbers, protocol["layers"], differences),
    )


if __name__ == "__main__":
    main()
