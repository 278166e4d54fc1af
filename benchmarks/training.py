"""Times training steps and `model.predict` against the bound, Keras' layers and the peers.

    python -m benchmarks.training --workload rlif --peers snntorch norse --repeats 15

Writes `benchmarks/results/training_<workload>.json` and `inference_<workload>.json`.
"""

import time

from rich.console import Console

from benchmarks import command_line, processes
from benchmarks.subjects import variants
from benchmarks.workloads import INFERENCE_GOALS, WORKLOADS, goals_of

MODES = ("training", "inference")


def subjects_of(workload, mode, peers, jit=False):
    """Names of the subjects that a workload is measured with; `jit`: Keras' compiled ones, too."""
    of_keras = ["cell", *(name for name in workload.goals if name.startswith("keras_"))]
    if mode == "inference":
        of_keras = list(INFERENCE_GOALS)
    of_keras = [name for peer in of_keras for name in variants(peer)]
    of_keras = [name for name in of_keras if jit or not name.endswith("_compiled")]
    of_torch = ["torch_products"] if peers else []
    of_torch += [name for peer in peers for name in variants(peer)]
    return ["fused", "products", *of_keras, *of_torch]


def run(
    workload,
    mode,
    peers,
    repeats,
    peers_python=processes.PEERS_PYTHON,
    jit=False,
    patience=processes.PATIENCE,
    report=lambda text: None,
):
    """Measures one workload.

    Args:
        workload: A `Workload`.
        mode: `"training"` or `"inference"`.
        peers: Names of peers. Of those that do not have the model, none is measured.
        repeats: Number of rounds.
        peers_python: Interpreter of the environment of the peers.
        jit: Whether to measure Keras' layers with `jit_compile=True`, too.
        patience: Seconds that visits which others disturb may be repeated for, in all.
        report: Function that is told what happens.

    Returns:
        What `training_<workload>.json` has.
    """
    start = time.monotonic()
    content = processes.surroundings()
    names = subjects_of(workload, mode, [peer for peer in peers if peer in workload.peers], jit)
    for name in names:
        processes.python_of(name, peers_python)  # Raises before any work is done.
    results = processes.measure(
        {name: (name, workload) for name in names}, repeats, mode, peers_python, patience, report
    )
    return {
        "kind": mode,
        "title": workload.title,
        "workload": workload.to_json(),
        "goals": goals_of(workload, mode),
        "batches": 1 if mode == "training" else workload.batches,
        "repeats": repeats,
        **content,
        "versions": processes.versions_of(results),
        "subjects": results,
        "duration": round(time.monotonic() - start, 1),
    }


def main(arguments=None):
    """The command line."""
    parser = command_line.parser_of("training", __doc__)
    parser.add_argument("--workload", nargs="+", choices=("all", *WORKLOADS), default=["all"])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--jit",
        action="store_true",
        help="measure Keras' layers with jit_compile=True, too, which on a CPU is slower",
    )
    command_line.add_peers(parser)
    options = parser.parse_args(arguments)
    workloads = list(WORKLOADS) if "all" in options.workload else options.workload

    console = Console()
    for mode in options.mode:
        for name in workloads:
            # The peers have no `model.predict`.
            peers = command_line.chosen(options.peers) if mode == "training" else []
            with console.status("", refresh_per_second=1) as status:
                content = run(
                    WORKLOADS[name],
                    mode,
                    peers,
                    options.repeats,
                    options.peers_python,
                    options.jit,
                    report=lambda text, n=f"{name}, {mode}", s=status: s.update(f"{n}: {text}"),
                )
            path = processes.write(content, f"{mode}_{name}", options.output)
            command_line.print_result(console, content, path)


if __name__ == "__main__":
    main()
