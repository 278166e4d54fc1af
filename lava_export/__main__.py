"""The command line: `python -m lava_export check|export|verify|info|run`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import logging
import os
import sys
import textwrap
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np

import lava_export
from lava_export import files, resources
from lava_export.losses import LossWarning
from lava_export.network import NetworkFileError, check_labels, labels_of
from lava_export.report import render

OK, PROBLEM, UNUSABLE = 0, 1, 2
LONGEST = 600  # characters of an error

DATA = """
DATA is a .npy file with what the model takes, (samples, ...), or a .npz file with that as `x` and,
where labels are of use, integers (samples,) as `y`. In Python:

  numpy.savez("digits.npz", x=images, y=labels)

Exit codes: 0 all is well; 1 a problem was found: the model cannot be exported, or Lava differs;
2 wrong usage, or a file that cannot be used. With --json, errors are JSON too:
{"ok": false, "errors": [...]}.
"""

EXAMPLE = """
Example:
  python -m lava_export check model.keras --calibration digits.npz
  python -m lava_export export model.keras network.h5 --calibration digits.npz --samples 256
  python -m lava_export verify model.keras network.h5 digits.npz --html report.html
  python -m lava_export info network.h5
  python -m lava_export run network.h5 digits.npz --backend lava --output results.npz
"""

NETWORK = "network file, also one of --format netx or nir"

EXAMPLES = {
    "check": """
Example, before training and after:
  python -m lava_export check model.keras
  python -m lava_export check model.keras --calibration digits.npz --json > check.json
""",
    "export": """
Example:
  python -m lava_export export model.keras network.h5 --calibration digits.npz --samples 256
  python -m lava_export export model.keras network.nir --calibration digits.npz --format nir
""",
    "verify": """
Example:
  python -m lava_export verify model.keras network.h5 digits.npz --html report.html \\
      --json-report report.json --samples-stock 5
""",
    "info": """
Example:
  python -m lava_export info network.h5
  python -m lava_export info network.h5 --data digits.npz --samples 100
""",
    "run": """
Example:
  python -m lava_export run network.h5 digits.npz --output results.npz
  python -m lava_export run network.h5 digits.npz --backend lava --mode batched --json
""",
}


class Unusable(Exception):
    """What the user gave cannot be used; the message says why, in a line."""


def main(arguments=None):
    """Run the command line; returns the exit code.

    Args:
        arguments: List of strings; by default those of the process.
    """
    options = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=LossWarning)
        warnings.showwarning = _show
        try:
            return options.command(options)
        except KeyboardInterrupt:
            errors, code = ["interrupted"], 128 + 2
        except BrokenPipeError:
            # Whoever read the output has seen enough; Python flushes once more as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        except lava_export.ConversionError as error:
            errors, code = [error, *error.also], PROBLEM
        except (Unusable, OSError, ValueError, TypeError, ImportError) as error:
            named = isinstance(error, OSError) and error.filename and error.strerror
            errors = [f"{error.filename}: {error.strerror}" if named else error]
            code = UNUSABLE
        except MemoryError as error:
            errors, code = [f"there is not enough memory ({error}): use fewer --samples"], UNUSABLE
        except Exception as error:
            # The module of a LavaError cannot always be imported.
            lava = type(error).__name__ == "LavaError"
            errors, code = [error if lava else _defect(error)], PROBLEM if lava else UNUSABLE
        errors = _report(errors)
        if options.json:
            print(json.dumps({"ok": False, "errors": errors}, indent=2))
        return code


def _report(errors):
    """Print errors on standard error, each in a line; returns these lines."""
    lines = [" ".join(str(error).split()) for error in errors]
    lines = [line if len(line) <= LONGEST else f"{line[:LONGEST]} ..." for line in lines]
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return lines


def _defect(error):
    """What to say of an error that nobody has thought of; raises it in Python's dev mode."""
    if sys.flags.dev_mode:
        raise error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({place.filename}:{place.lineno}). This is a defect of "
        "lava_export: `python -X dev -m lava_export ...` shows all of it, for a report."
    )


def _show(message, *_):
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def parser():
    """The parser of the arguments."""
    whole = argparse.ArgumentParser(
        prog="python -m lava_export",
        description="Trained Keras spiking networks as Loihi integers: check, export, verify, run.",
        epilog=f"{EXAMPLE}{DATA}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def command(function, name, text):
        sub = commands.add_parser(
            name,
            help=text[0].lower() + text[1:],
            description=f"{text}.",
            epilog=f"{EXAMPLES[name]}{DATA}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        sub.add_argument(
            "--json", action="store_true", help="print JSON on standard output, and nothing else"
        )
        return sub

    def samples(sub):
        sub.add_argument(
            "--samples", type=_positive, metavar="N", help="use the first N samples of the data"
        )

    def leak_groups(sub):
        sub.add_argument(
            "--leak-groups",
            type=_positive,
            metavar="K",
            help="reduce each layer to K distinct leaks",
        )

    def overwrite(sub):
        sub.add_argument("--overwrite", action="store_true", help="replace files that exist")

    def timeout(sub):
        sub.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="without progress, after which a run on Lava is ended (60)",
        )

    sub = command(check, "check", "Tell what would become of a Keras model, trained or not")
    sub.add_argument("model", type=Path, help=".keras file")
    sub.add_argument("--calibration", type=Path, metavar="DATA", help="for the losses on real data")
    leak_groups(sub)
    samples(sub)

    sub = command(export, "export", "Turn a trained Keras model into an integer network")
    sub.add_argument("model", type=Path, help=".keras file")
    sub.add_argument("output", type=Path, help="file to write")
    sub.add_argument(
        "--calibration",
        type=Path,
        required=True,
        metavar="DATA",
        help="a sample of what the model takes, some 256 samples",
    )
    sub.add_argument(
        "--format",
        choices=("network", "netx", "nir"),
        default="network",
        help="network: our own, for info, verify and run (default); or that of lava-dl or NIR",
    )
    sub.add_argument(
        "--allow-lossy", action="store_true", help="with netx and nir: drop what they cannot hold"
    )
    leak_groups(sub)
    overwrite(sub)
    samples(sub)

    sub = command(verify, "verify", "Compare Keras, the integers and Lava on the same spikes")
    sub.add_argument("model", type=Path, help=".keras file")
    sub.add_argument("network", type=Path, help="network file that was exported from it")
    sub.add_argument("data", type=Path, help=".npy or .npz file")
    sub.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    sub.add_argument("--json-report", type=Path, metavar="FILE", help="write JSON to a file")
    sub.add_argument(
        "--samples-stock",
        type=_positive,
        default=20,
        metavar="N",
        help="samples for Lava's own processes, which run one at a time (20)",
    )
    which = sub.add_mutually_exclusive_group()
    which.add_argument(
        "--modes",
        nargs="+",
        choices=("stock", "batched"),
        default=("stock", "batched"),
        help="modes of Lava to run (both)",
    )
    which.add_argument("--without-lava", action="store_true", help="only Keras and the integers")
    timeout(sub)
    overwrite(sub)
    samples(sub)

    sub = command(info, "info", "Show a network file: layers, registers, sizes, resources")
    sub.add_argument(
        "network", type=Path, help=f"{NETWORK}; or a .keras file, for what would become of it"
    )
    sub.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="count spikes and operations on data, and estimate energy and time; needs Keras",
    )
    samples(sub)

    sub = command(run, "run", "Run a network file on the NumPy reference or on Lava")
    sub.add_argument("network", type=Path, help=NETWORK)
    sub.add_argument("data", type=Path, help=".npy or .npz file")
    sub.add_argument("--backend", choices=("reference", "lava"), default="reference")
    sub.add_argument(
        "--mode",
        choices=("stock", "batched"),
        default="batched",
        help="with Lava: its own processes, a sample at a time, or ours, many at once (batched)",
    )
    sub.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".npz file to write, with `spikes` (samples, T, units), `scores` and, where the head "
        "gives classes, `labels`",
    )
    timeout(sub)
    overwrite(sub)
    samples(sub)
    return whole


def _positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive integer"  # which argparse names in its error


def check(options):
    """The command `check`."""
    return _check(options, options.model, options.calibration, options.leak_groups)


def _check(options, path, data, leak_groups=None):
    model = _model(path)
    calibration = _data(data, options.samples)[0] if data else None
    report = lava_export.check(model, calibration, leak_groups)
    _print(options, report, report.to_dict, report.errors)
    return OK if report.ok else PROBLEM


def export(options):
    """The command `export`."""
    _check_writable(options.output, options.overwrite)
    calibration, _ = _data(options.calibration, options.samples)
    model = _model(options.model)
    warnings.filterwarnings("always", category=lava_export.QuantizationWarning)
    network = lava_export.export(model, calibration, options.leak_groups, progress=_progress())
    if options.format == "network":
        network.save(options.output, overwrite=options.overwrite)
    else:
        write = getattr(network, f"to_{options.format}")
        write(options.output, overwrite=options.overwrite, allow_lossy=options.allow_lossy)
    text = f"{network.quantization}\nWrote {options.output}."
    _print(
        options,
        text,
        lambda: {
            "output": str(options.output),
            "sha256": network.digest(),
            "quantization": network.quantization.to_dict(),
        },
    )
    return OK


def verify(options):
    """The command `verify`."""
    for path in filter(None, (options.html, options.json_report)):
        _check_writable(path, options.overwrite)
    x, y = _data(options.data, options.samples)
    network = _network(options.network, whole=True)
    model = _model(options.model)
    errors = []
    try:
        report = lava_export.verify(
            model,
            network,
            x,
            y,
            samples_stock=options.samples_stock,
            modes=() if options.without_lava else options.modes,
            timeout=options.timeout,
            progress=_progress(),
        )
    except lava_export.ParityError as error:
        report = error.report
        errors = _report([error])
    if options.json_report:
        report.to_json(options.json_report, overwrite=options.overwrite)
    if options.html:
        report.to_html(options.html, overwrite=options.overwrite)
    _print(options, report, report.to_dict, errors)
    return PROBLEM if errors else OK


def info(options):
    """The command `info`."""
    if _kind(options.network) == "model":
        return _check(options, options.network, options.data)
    network = _network(options.network)
    activity = None
    if options.data:
        x, _ = _data(options.data, options.samples)
        activity = resources.measure(network, network.encode(x))
        _import_keras()
    needs = resources.estimate(network, activity)
    shape = ", ".join("T" if n is None else str(n) for n in network.input_shape)
    lines = [
        f"{options.network}, SHA-256 {network.digest()}",
        f"Input: (samples, {shape})" if shape else "Input: spikes",
        f"Encoder, on the host: {_operations(network.encoder) or 'none'}",
        *map(_describe, network.pairs, network.names),
        f"Head, on the host: {_operations(network.head) or 'none'}",
    ]
    text = "\n".join([*lines, "", str(needs)])
    if network.quantization:
        text += f"\n\n{network.quantization}"
    _print(
        options,
        text,
        lambda: {
            "sha256": network.digest(),
            "input_shape": network.input_shape,
            "encoder": [_plain(operation) for operation in network.encoder],
            "layers": [
                {"name": name, "synapses": _plain(synapses), "units": _plain(units)}
                for (synapses, units), name in zip(network.pairs, network.names, strict=True)
            ],
            "head": [_plain(operation) for operation in network.head],
            "resources": needs.to_dict(),
            "quantization": network.quantization and network.quantization.to_dict(),
        },
    )
    return OK


def _operations(operations):
    return ", ".join(type(operation).__name__ for operation in operations)


def _describe(pair, name):
    synapses, units = pair
    parts = [f"Layer '{name}':", f"  {_line(synapses)}", f"  {_line(units)}"]
    if units.recurrent is not None:
        parts.append(f"  recurrent {_line(units.recurrent)}")
    return "\n".join(parts)


def _line(part):
    values = ", ".join(
        f"{field.name} {_range(getattr(part, field.name))}"
        for field in dataclasses.fields(part)
        if not dataclasses.is_dataclass(getattr(part, field.name))
        and getattr(part, field.name) is not None
    )
    return textwrap.fill(f"{type(part).__name__}: {values}", 110, subsequent_indent="    ")


def _range(value):
    if np.ndim(value) == 0 or isinstance(value, tuple):
        return str(value)
    size = "x".join(map(str, np.shape(value)))
    low, high = np.min(value), np.max(value)
    return f"{low} ({size})" if low == high else f"{low}..{high} ({size})"


def _plain(part):
    """A dataclass for JSON: its numbers, and of arrays the shape and the range."""
    values = {"type": type(part).__name__}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            value = _plain(value)
        elif isinstance(value, np.ndarray):
            value = {"shape": value.shape, "low": value.min().item(), "high": value.max().item()}
        values[field.name] = value
    return values


def run(options):
    """The command `run`."""
    if options.output:
        _check_writable(options.output, options.overwrite)
        if options.output.suffix != ".npz":
            raise Unusable(f"--output {options.output}: name a .npz file.")
    network = _network(options.network)
    x, y = _data(options.data, options.samples)
    spikes = network.run(
        network.encode(x),
        backend=options.backend,
        mode=options.mode,
        timeout=options.timeout,
        progress=_progress(),
    )
    results = {"spikes": spikes, "scores": network.decode(spikes)}
    with contextlib.suppress(ValueError):  # a head that gives no classes
        results["labels"] = labels_of(results["scores"])
    summary = {
        "samples": len(spikes),
        "steps": spikes.shape[1],
        "units": spikes.shape[2],
        "spikes": int(np.count_nonzero(spikes)),
        "backend": options.backend,
        "mode": options.mode if options.backend == "lava" else None,
        "labels": results["labels"].tolist() if "labels" in results else None,
        "accuracy": None,
        "output": str(options.output) if options.output else None,
    }
    if y is not None and "labels" in results:
        y = check_labels(y, len(x), f"y in {options.data}")
        summary["accuracy"] = float(np.mean(results["labels"] == y))
    if options.output:
        content = io.BytesIO()
        np.savez(content, **results)
        with files.replacing(options.output, options.overwrite) as temporary:
            temporary.write_bytes(content.getvalue())
    where = f"Lava, {options.mode}" if options.backend == "lava" else "the NumPy reference"
    lines = [
        f"{summary['samples']:,} samples of {summary['steps']:,} steps on {where}: "
        f"{summary['spikes']:,} spikes of {summary['units']:,} units."
    ]
    if summary["labels"]:
        shown = ", ".join(map(str, summary["labels"][:20]))
        lines.append(f"Labels: {shown}{', ...' if len(x) > 20 else ''}")
    if summary["accuracy"] is not None:
        lines.append(f"Accuracy: {summary['accuracy']:.2%}")
    if options.output:
        lines.append(f"Wrote {options.output}.")
    _print(options, render(*lines), lambda: summary)
    return OK


def _print(options, text, to_dict, errors=()):
    if options.json:
        text = json.dumps({"ok": not errors, "errors": list(errors), **to_dict()}, indent=2)
    print(text)


def _progress():
    return sys.stderr.isatty()


def _check_writable(path, overwrite):
    """Say before the work, and not after it, that a file is in the way."""
    if path.exists() and not overwrite:
        raise Unusable(f"{path} exists: pass --overwrite to replace it.")
    if not path.absolute().parent.is_dir():
        raise Unusable(f"There is no directory {path.parent}: make it first.")


def _data(path, samples):
    """`x`, and `y` or None, of a data file."""
    with open(path, "rb"):  # a missing or forbidden file says so in the system's own words
        pass
    try:
        loaded = np.load(path)
        found = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"x": loaded}
    except Exception as error:  # whatever a damaged file leads to, or one that claims to be huge
        raise Unusable(f"{path} is not a .npy or .npz file of numbers.") from error
    if "x" not in found:
        raise Unusable(f"{path} has no array `x`; it has {', '.join(found) or 'nothing'}.")
    x, y = found["x"], found.get("y")
    if x.ndim == 0:
        raise Unusable(f"{path} holds a single number as `x`: give (samples, ...).")
    return x[:samples], None if y is None else y[:samples]


def _kind(path):
    """What is in a file: "model", "data", "nir", "netx", "network", or "" for anything else."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        return "data"
    if start.startswith(b"PK\x03\x04"):
        return "data" if path.suffix == ".npz" else "model"
    if start != b"\x89HDF\r\n\x1a\n":
        return ""
    try:
        with h5py.File(path, "r") as file:
            return "nir" if "node" in file else "netx" if "layer" in file else "network"
    except (OSError, RuntimeError):  # which loading it will tell
        return "network"


def _network(path, whole=False):
    """The network in a file; with `whole`, one with its encoder and head."""
    kind = _kind(path)
    if kind == "model":
        raise Unusable(
            f"{path} is a Keras model and not a network: make one with `python -m lava_export "
            f"export {path} network.h5 --calibration DATA`."
        )
    if kind == "data":
        raise Unusable(f"{path} holds data: name a network file there.")
    if kind == "nir":
        return _of_nir(path)
    if kind != "netx":
        return lava_export.load(path)
    lost = "a netx file has no encoder and no head"
    if whole:
        raise Unusable(f"{path}: {lost}. Export the model again, without --format.")
    print(f"warning: {path}: {lost}: it takes spikes, and scores are their sums", file=sys.stderr)
    return lava_export.from_netx(path)


def _of_nir(path):
    from lava_export.nir import NIRFileError, from_nir

    try:
        return from_nir(path)
    except (lava_export.ConversionError, NetworkFileError, NIRFileError):
        raise
    except ValueError as error:  # it lacks what only its author knows
        raise Unusable(
            f"{error} That goes in Python: lava_export.from_nir({str(path)!r}, calibration=spikes, "
            "dt=1e-3).save('network.h5')."
        ) from error


def _model(path):
    """The Keras model in a file."""
    kind = _kind(path)
    if path.suffix != ".keras" or kind != "model":
        advice = "save it with model.save('model.keras')"
        if kind in ("network", "nir", "netx"):
            advice += f", or, if it is a network: `python -m lava_export info {path}`"
        raise Unusable(f"{path} is not a .keras file: {advice}.")
    _import_keras()
    import keras

    try:
        with _silence():
            return keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever a damaged or foreign file leads to
        raise Unusable(f"{path} cannot be loaded: {_reason(error)}") from error


def _reason(error):
    """What Keras says, without the configuration of the whole model before and behind it."""
    text = str(error).split("Exception encountered: ")[-1]
    text = text.split(" Full object config: ")[0].split("\n\nconfig=")[0]
    if "Could not locate" in text:
        text += " A layer of your own is known in Python only: export the model there."
    return text


def _import_keras():
    """Import Keras and TensorFlow without their messages.

    Raises:
        ImportError: If they are not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silence():
        import keras

        import lava_export.training.aware  # noqa: F401  (all layers can be loaded then)

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        keras.ops.zeros(())  # TensorFlow looks for devices at its first operation


@contextlib.contextmanager
def _silence():
    """Sends to nowhere what libraries in C++ write to standard error."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
