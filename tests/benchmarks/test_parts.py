"""The parts of a step, of a tiny workload."""

import dataclasses

import numpy as np

from benchmarks import parts, report
from benchmarks.workloads import WORKLOADS

TINY = dataclasses.replace(WORKLOADS["rlif_small"], inputs=6, units=(5,), batch=4, steps=8)


def test_the_parts_are_what_each_beginning_adds():
    content = parts.run(TINY, 7)
    names = list(parts.beginnings_of(TINY))
    assert list(content["parts"]) == names
    times = np.cumsum(list(content["parts"].values()), axis=0)
    assert times.shape == (4, 7)
    assert (times > 0).all()
    table = report.parts_table([content])
    assert len(table) == 2 + 4
    assert table[2].startswith(f"| RLIF 6-5, batch 4, T 8 | {names[0]} | ")
