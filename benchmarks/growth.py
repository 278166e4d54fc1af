"""Measures how time and memory grow with the steps, the batch and the units.

    python -m benchmarks.growth --size steps

Writes `benchmarks/results/growth_<size>.json`. The sizes of one series are interleaved, and the
matrix products of the same sizes with them. Fits `value = c * size ** exponent`.
"""

import time

from rich.console import Console

from benchmarks import command_line, memory, processes
from benchmarks.workloads import GROWTH_WORKLOADS


def run(size, workloads, repeats, with_memory, report=lambda text: None):
    """Measures one series.

    Args:
        size: What grows: the name of a field of `Workload`.
        workloads: One `Workload` for each size.
        repeats: Number of rounds.
        with_memory: Whether to measure the memory, too.
        report: Function that is told what happens.

    Returns:
        What `growth_<size>.json` has.
    """
    start = time.monotonic()
    content = processes.surroundings()
    jobs = {
        f"{name} {index}": (name, workload)
        for index, workload in enumerate(workloads)
        for name in ("fused", "products")
    }
    results = processes.measure(jobs, repeats, report=report)
    versions = processes.versions_of(results)
    points = []
    for index, workload in enumerate(workloads):
        value = getattr(workload, size)
        point = {"size": value[0] if isinstance(value, tuple) else value}
        for name in ("fused", "products"):
            point[name] = results[f"{name} {index}"]
        if with_memory:
            report(f"memory of {workload.title}")
            point["memory"] = memory.peak("fused", workload)
            point["memory"].pop("versions")
        points.append(point)
    return {
        "kind": "growth",
        "size": size,
        "workload": workloads[0].to_json(),
        "title": workloads[0].title,
        "repeats": repeats,
        **content,
        "versions": versions,
        "points": points,
        "duration": round(time.monotonic() - start, 1),
    }


def main(arguments=None):
    """The command line."""
    parser = command_line.parser_of("growth", __doc__)
    parser.add_argument(
        "--size", nargs="+", choices=("all", *GROWTH_WORKLOADS), default=["all"], help="what grows"
    )
    command_line.add_common(parser)
    options = parser.parse_args(arguments)
    sizes = list(GROWTH_WORKLOADS) if "all" in options.size else options.size

    console = Console()
    for name in sizes:
        size, workloads, with_memory = GROWTH_WORKLOADS[name]
        with console.status("", refresh_per_second=1) as status:
            content = run(
                size,
                workloads,
                options.repeats,
                with_memory,
                lambda text, n=name, s=status: s.update(f"growth, {n}: {text}"),
            )
        path = processes.write(content, f"growth_{name}", options.output)
        console.print(f"{path} ({content['duration']:.0f} s)")


if __name__ == "__main__":
    main()
