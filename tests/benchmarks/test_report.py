"""Ratios, goals, exponents and pictures, from small results with known numbers."""

import json

import pytest

from benchmarks import analysis, report
from benchmarks.workloads import GROWTH_WORKLOADS, MEMORY_WORKLOADS, WORKLOADS

MEASURED = {"idle": 0.0, "foreign": [0.0] * 7}
COMMON = {
    "date": "2026-01-01T00:00:00+00:00",
    "processor": "a processor",
    "threads": 2,
    "system": "Linux",
    "python": "3.10.0",
    "seed": 0,
    "duration": 60.0,
    "versions": {"tensorflow": {"tensorflow": "2.21.0"}},
}


def timed(milliseconds, **more):
    drift = [0.9, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1]  # The same in each subject of a round.
    return {"seconds": [milliseconds / 1000 * each for each in drift], **MEASURED, **more}


@pytest.fixture
def training():
    return {
        **COMMON,
        "kind": "training",
        "title": WORKLOADS["rlif"].title,
        "workload": WORKLOADS["rlif"].to_json(),
        "goals": {"products": 1.2, "cell": 0.6, "snntorch": 0.5},
        "batches": 1,
        "repeats": 7,
        "subjects": {
            "fused": timed(100, activity=[0.06]),
            "products": timed(80),
            "cell": timed(200, activity=[0.06]),
            "snntorch": timed(300, activity=[0.05]),
            "snntorch_compiled": timed(150, activity=[0.05]),
            "norse_compiled": {"error": "no compiler"},
        },
    }


@pytest.fixture
def memory():
    return {
        **COMMON,
        "kind": "memory",
        "title": MEMORY_WORKLOADS["rlif_long"].title,
        "goals": {"cell": 0.5},
        "subjects": {
            "fused": {"built": 90.0, "kept": 0.0, "warm": 100.0, "peak": 200.0},
            "cell": {"built": 90.0, "kept": 0.0, "warm": 100.0, "peak": 600.0},
        },
    }


@pytest.fixture
def growth():
    sizes = [125, 250, 500]
    return {
        **COMMON,
        "kind": "growth",
        "size": "steps",
        "workload": GROWTH_WORKLOADS["steps"][1][0].to_json(),
        "title": "RLIF",
        "repeats": 7,
        "points": [
            {
                "size": size,
                "fused": timed(size),
                "products": timed(size / 2),
                "memory": {"warm": 100.0, "peak": 100.0 + size**2 / 1000},
            }
            for size in sizes
        ],
    }


def test_ratios_are_those_of_the_rounds(training):
    rows = {row.peer: row for row in analysis.rows_of(training)}
    assert rows["cell"].ratio == pytest.approx((0.5, 0.5, 0.5))  # Drift has no part in them.
    assert rows["cell"].ours == pytest.approx((100, 97.5, 102.5))


def test_the_fastest_variant_stands_for_a_peer(training):
    (row,) = (row for row in analysis.rows_of(training) if row.peer == "snntorch")
    assert row.variant == "snntorch_compiled"
    assert row.ratio.median == pytest.approx(100 / 150)


def test_goals_are_met_or_missed(training):
    lines = "\n".join(analysis.table_of(analysis.rows_of(training)))
    assert "| keras.layers.RNN(cell) | 200.0 [195.0, 205.0] | 6.0 % | 0.50 [0.50, 0.50] " in lines
    assert "| ≤ 0.6 | met |" in lines
    assert "| ≤ 1.2 | **missed** |" in lines
    # 0.5 of 150 ms is less than the 80 ms of the products.
    assert "| ≤ 0.5 | **missed**, the bound is 0.53 |" in lines


def test_variants_that_failed_or_were_disturbed_are_told(training):
    training["subjects"]["cell"]["foreign"] = [0.5] * 7
    training["subjects"]["snntorch"]["idle"] = 0.3
    lines = "\n".join(analysis.variants_table([training]))
    assert "cannot be compiled" in lines
    assert "others used 50 % of the processors meanwhile" in lines
    assert "used 30 % of a processor while it waited" in lines


def test_no_verdict_where_others_used_the_processors(training):
    training["subjects"]["cell"]["foreign"] = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    rows = {row.peer: row for row in analysis.rows_of(training)}
    assert rows["cell"].remark == "disturbed"
    assert rows["products"].remark == "**missed**"


def test_memory_is_compared_without_what_was_there_before(memory):
    (row,) = analysis.rows_of(memory)
    assert row.ratio.median == pytest.approx(100 / 500)
    assert row.verdict == "met"


def test_exponent_of_known_growth():
    sizes = [125, 250, 500, 1000]
    assert analysis.fitted_exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx((1.5, 1))
    exponent, deviation = analysis.fitted_exponent([1, 2, 4], [1, 4, 4])
    assert exponent == pytest.approx(1)
    assert deviation == pytest.approx(4 ** (1 / 3))


def test_growth_above_the_goal_is_missed(growth):
    time, products, memory = analysis.growth_rows("steps", growth)
    assert time.exponent == pytest.approx((1, 1, 1))
    assert products.goal is None
    assert memory.exponent.median == pytest.approx(2)
    lines = analysis.growth_table([time, products, memory])
    assert lines[2].endswith("| 1.00 [1.00, 1.00] | 0 % | 1.00 | ≤ 1.05 | met |")
    assert lines[4].endswith("| 2.00 [2.00, 2.00] | 0 % | 2.00 | ≤ 1.05 | **missed** |")


def test_no_verdict_on_growth_that_was_disturbed(growth):
    growth["points"][1]["products"]["foreign"] = [0.5] * 7
    lines = analysis.growth_table(analysis.growth_rows("steps", growth))
    assert lines[2].endswith("| disturbed |")
    assert lines[4].endswith("| **missed** |")  # Memory is not a matter of time.


def test_report_of_all_kinds(training, memory, growth, tmp_path):
    contents = {"training_rlif": training, "memory_rlif_long": memory, "growth_steps": growth}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    report.main(["--results", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert text.count("**missed**") == 3
    for name in ("ratios.png", "growth.png"):
        assert f"]({name})" in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_without_results_the_error_says_what_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="make bench"):
        report.main(["--results", str(tmp_path)])
