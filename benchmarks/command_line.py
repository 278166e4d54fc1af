"""What the commands have in common."""

import argparse

from benchmarks import processes
from benchmarks.analysis import disturbance, rows_of, table_of
from benchmarks.subjects import PEERS

LEAST_REPEATS = 7


def parser_of(module, description):
    """A parser of the arguments of `python -m benchmarks.<module>`."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_peers(parser):
    """Adds the arguments that say which peers run, and where."""
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=("all", "none", *PEERS),
        default=["all"],
        help="which of those that have the model (default: all)",
    )
    add_common(parser)


def add_common(parser):
    """Adds the arguments of all commands."""
    parser.add_argument(
        "--peers-python",
        default=str(processes.PEERS_PYTHON),
        metavar="PATH",
        help="the Python of the environment of the peers (default: .venv-bench/bin/python)",
    )
    parser.add_argument(
        "--repeats", type=repeats, default=LEAST_REPEATS, help="rounds (default: 7)"
    )
    parser.add_argument(
        "--output", default=str(processes.RESULTS), metavar="DIRECTORY", help="of the JSON files"
    )


def repeats(text):
    """A number of rounds that a median can be taken of."""
    if not text.isdigit() or int(text) < LEAST_REPEATS:
        raise argparse.ArgumentTypeError(f"an integer of at least {LEAST_REPEATS} is needed")
    return int(text)


def chosen(peers):
    """The peers of the argument `--peers`."""
    if "none" in peers:
        return []
    return list(PEERS) if "all" in peers else peers


def print_result(console, content, path):
    """Prints the rows of a result."""
    console.print(f"{path} ({content['duration']:.0f} s)")
    for line in table_of(rows_of(content), "MiB" if content["kind"] == "memory" else "ms"):
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    errors = [name for name, each in content["subjects"].items() if "error" in each]
    if errors:
        console.print(f"could not be compiled: {', '.join(errors)}")
    for name, result in content["subjects"].items():
        if "idle" in result and disturbance(result):
            console.print(f"{name}: {disturbance(result)}")
