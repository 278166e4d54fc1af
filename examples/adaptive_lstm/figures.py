"""Draws figures 1, 3, 4, 5 and 6 of the paper anew, from the neurons and from the results.

    python -m examples.adaptive_lstm.figures

Figures 1 and 3 are simulated; 4, 5 and 6 come from the arrays that the experiments left, and those
whose arrays are missing are left out, with a note.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from examples.adaptive_lstm import records
from examples.figures import IMAGES, axes_of
from keras_spiking_rnn import (
    AAN,
    AdaptiveAnalogLSTM,
    AdaptiveSpikingNeuron,
    fit_aan,
    metrics,
    plots,
)
from keras_spiking_rnn.adaptive_lstm import convert

NEURON = AdaptiveSpikingNeuron(adaptation="relative")
VARIANT = "refitted"
# How many inputs figure 4 shows, and the constant inputs of figure 3.
SHOWN = 6
SIGNALS = (0.5, 1.0, 2.0)


def response():
    """Figure 1: mean output and rate of the neuron over its input."""
    fit = fit_aan(NEURON)
    figure, ((left, right),) = axes_of(1, 2, 3.2, 4.2)
    S = np.linspace(0, 4.8, 500)
    left.plot(S, AAN()(S), color="#6b6b6b", linestyle="--", linewidth=1.2, label="published")
    plots.response_curve(fit.curve, fit.activation, ax=left)
    left.lines[-1].set_label("refitted")
    left.legend(frameon=False)
    plots.response_curve(fit.curve, quantity="rate", ax=right)
    return figure


def integration(steps=5):
    """Figure 3: input, CEC and output of analog and spiking LSTMs for constant inputs."""
    fit = fit_aan(NEURON)
    layer = AdaptiveAnalogLSTM(1, activation=fit.activation, return_sequences=True, name="memory")
    layer.build((None, None, 2))
    layer.set_weights([np.eye(2)])
    # The gate is open, with an input of 4.8; the inputs are those of the input cell.
    x = np.stack([[[4.8, S]] * steps for S in SIGNALS]).astype("float32")
    analog = {"cec": metrics.trace(layer, x)["cec"][..., 0], "output": np.asarray(layer(x))[..., 0]}
    spiking = convert(layer, NEURON, cec_weight="exact")(x, seed=1)
    cell = NEURON.simulate(np.repeat(x[..., 1], spiking.window, axis=1)[:, :, None], seed=1)
    figure, (axes,) = axes_of(1, 3, 3.2, 4.2)
    time = np.arange(steps * spiking.window)
    ends = np.arange(1, steps + 1) * spiking.window
    for n, signal in enumerate(SIGNALS):
        color, label = plots.COLORS[n], f"S = {signal:g}"
        signal_out = fit.curve.spike_height * cell.psc[n, :, 0]
        axes[0].plot(time, signal_out, color=color, linewidth=0.6, label=label)
        axes[0].axhline(float(fit.activation(signal)), color=color, linestyle="--", linewidth=1)
        axes[1].plot(time, spiking.cec["memory"][n, :, 0], color=color)
        axes[1].plot(
            np.append(0, ends), np.append(0, analog["cec"][n]), "o--", color=color, markersize=3
        )
        smooth = spiking.outputs[n, :, 0].reshape(-1, 50).mean(axis=1)
        axes[2].plot(np.arange(len(smooth)) * 50 + 25, smooth, color=color)
        axes[2].plot(ends, analog["output"][n], "o--", color=color, markersize=3)
    for ax, title in zip(axes, ("output of the input cell", "CEC", "output"), strict=True):
        ax.set(title=title, xlabel="time (ms)")
    axes[0].legend(frameon=False, loc="upper right", ncols=3, fontsize="small")
    axes[0].set_ylim(top=1.3 * axes[0].get_ylim()[1])
    return figure


def outputs(arrays, steps=None, named=None):
    """Figures 4 and 5: outputs of the analog network over steps, of the spiking one over time."""
    total, width = len(arrays["analog_outputs"]), int(arrays["window"])
    first = total - (steps or total)
    samples = arrays["spiking_outputs"][first * width // int(arrays["sample"]) :]
    time = first * width + (np.arange(len(samples)) + 0.5) * int(arrays["sample"])
    figure, ((left, right),) = axes_of(1, 2, 3.2, 4.2, sharey=True)
    labels = [str(label) for label in arrays["labels"]]
    shown = [labels.index(name) for name in named] if named else range(len(labels))
    for number, output in enumerate(shown):
        color = f"C{number}"
        left.plot(
            np.arange(first, total),
            arrays["analog_outputs"][first:, output],
            "o-",
            color=color,
            markersize=3,
            label=labels[output],
        )
        right.plot(time, samples[:, output], color=color, linewidth=1)
    left.set(title="analog", xlabel="step", ylabel="output")
    right.set(title="spiking", xlabel="time (ms)")
    left.legend(frameon=False, fontsize="small")
    return figure


def sequence_outputs(arrays):
    """Figure 4: the last inputs, and the outputs that they ask for."""
    labels = [str(label) for label in arrays["labels"]]
    return outputs(arrays, SHOWN, [*labels[-2 - SHOWN + 1 : -2], "x", "y"])


def cecs(of_sequence, of_maze):
    """Figure 6: analog and spiking CECs; the maze's may be missing."""
    titles = ("noise-free sequence prediction", "noise-free T-maze")
    found = [
        (arrays, title)
        for arrays, title in zip((of_sequence, of_maze), titles, strict=True)
        if arrays is not None
    ]
    figure, (axes,) = axes_of(1, len(found), 3.2, 4.2)
    for ax, (arrays, title) in zip(axes, found, strict=True):
        time = np.arange(1, len(arrays["analog_cec"]) + 1) * int(arrays["window"])
        fine = np.arange(1, len(arrays["spiking_cec"]) + 1) * int(arrays["sample"])
        for unit in range(arrays["analog_cec"].shape[1]):
            color = plots.COLORS[unit]
            name = f" CEC {unit + 1}"
            ax.plot(time, arrays["analog_cec"][:, unit], "--", color=color, label=f"analog{name}")
            ax.plot(fine, arrays["spiking_cec"][:, unit], color=color, label=f"spiking{name}")
        ax.set(title=title, xlabel="time (ms)", ylabel="CEC")
        ax.legend(frameon=False, fontsize="small")
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    parser.add_argument("--images", type=Path, default=IMAGES)
    given = parser.parse_args(arguments)
    given.images.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for task in ("sequence", "t-maze", "noisy-t-maze"):
        try:
            arrays[task] = records.load_arrays(task, VARIANT, given.results)
        except FileNotFoundError:
            arrays[task] = None
            print(f"There are no arrays of the task '{task}' in {given.results}.")
    keras.utils.set_random_seed(0)
    figures = {"1": response(), "3": integration()}
    if arrays["sequence"] is not None:
        figures["4"] = sequence_outputs(arrays["sequence"])
    if arrays["noisy-t-maze"] is not None:
        figures["5"] = outputs(arrays["noisy-t-maze"])
    if arrays["sequence"] is not None or arrays["t-maze"] is not None:
        figures["6"] = cecs(arrays["sequence"], arrays["t-maze"])
    for number, figure in figures.items():
        figure.savefig(given.images / f"adaptive_lstm_figure_{number}.png", dpi=100)
    print(f"Figures {', '.join(figures)} are in {given.images}.")


if __name__ == "__main__":
    main()
