"""Measures the peak memory of training steps, of each subject in a process of its own.

    python -m benchmarks.memory

Writes `benchmarks/results/memory_<workload>.json`. Of a peer that holds several tensors of all
steps, most is in the sequences: the workload has 1000 steps. See
`benchmarks.worker.memory_of_a_step` for what is measured, on Linux.
"""

import time

from rich.console import Console

from benchmarks import command_line, processes
from benchmarks.subjects import variants
from benchmarks.workloads import MEMORY_WORKLOADS


def peak(name, workload, peers_python=processes.PEERS_PYTHON):
    """What one subject needs for a training step: see `benchmarks.worker.memory_of_a_step`."""
    with processes.Worker(name, workload, peers_python=peers_python, memory=True) as worker:
        return worker.answer()


def run(workload, peers, peers_python=processes.PEERS_PYTHON, report=lambda text: None):
    """Measures one workload: see `benchmarks.training.run`."""
    start = time.monotonic()
    content = processes.surroundings()
    goals = {
        name: goal
        for name, goal in workload.memory_goals.items()
        if name in peers or name not in workload.peers
    }
    names = ["fused", *(name for peer in goals for name in variants(peer))]
    names.remove("cell_compiled")  # As in `benchmarks.training`, without `--jit`.
    for name in names:
        processes.python_of(name, peers_python)
    results = {}
    for name in names:
        report(name)
        try:
            results[name] = peak(name, workload, peers_python)
        except processes.WorkerError as error:
            if not name.endswith("_compiled"):
                raise
            results[name] = {"error": str(error).strip()}
    return {
        "kind": "memory",
        "title": workload.title,
        "workload": workload.to_json(),
        "goals": goals,
        **content,
        "versions": processes.versions_of(results),
        "subjects": results,
        "duration": round(time.monotonic() - start, 1),
    }


def main(arguments=None):
    """The command line."""
    parser = command_line.parser_of("memory", __doc__)
    command_line.add_peers(parser)
    options = parser.parse_args(arguments)
    console = Console()
    for name, workload in MEMORY_WORKLOADS.items():
        with console.status("", refresh_per_second=1) as status:
            content = run(
                workload,
                command_line.chosen(options.peers),
                options.peers_python,
                lambda text, n=name, s=status: s.update(f"{n}, memory: {text}"),
            )
        path = processes.write(content, f"memory_{name}", options.output)
        command_line.print_result(console, content, path)


if __name__ == "__main__":
    main()
