"""The table and the figures of the four tasks, from records that are made up."""

import numpy as np
import pytest

from examples import experiment
from examples.adaptive_lstm import figures, records, report, t_maze

SMALL = {"task": "t-maze", "variant": "published", "length": 3, "agents": 2, "steps": 10}


def record(task="sequence", variant="published", lava=None):
    def network(iterations, corrects):
        runs = [{"correct": c, "measure": 0.1, "spikes": 1500.0, "rate": 40.0} for c in corrects]
        return {
            "converged": iterations is not None,
            "iterations": iterations,
            "analog": 0.1,
            "spiking": runs,
        }

    return {
        "task": task,
        "variant": variant,
        "preset": "quick",
        "seed": 0,
        "config": {},
        "command": "python example.py",
        "seconds": {"training": 60.0, "spiking": 30.0},
        "networks": [
            network(1000, [True, True]),
            network(3000, [True, False]),
            network(None, []),
            network(2000, [True, True]),
        ],
        "lava": lava,
    }


def arrays(steps=8, units=1, outputs=("a", "b", "c", "d", "e", "f", "x", "y")):
    random = np.random.default_rng(0)
    return {
        "analog_outputs": random.random((steps, len(outputs))),
        "spiking_outputs": random.random((steps * 10, len(outputs))),
        "analog_cec": random.random((steps, units)),
        "spiking_cec": random.random((steps * 10, units)),
        "labels": list(outputs),
        "sample": 20,
        "window": 200,
    }


class TestRecords:
    def test_they_come_back_in_the_order_of_the_paper(self, tmp_path):
        records.save(record("t-maze"), arrays(), tmp_path)
        records.save(record("sequence", "refitted"), directory=tmp_path)
        found = records.load(tmp_path)
        assert list(found) == [("sequence", "refitted"), ("t-maze", "published")]
        assert found["t-maze", "published"]["networks"] == record()["networks"]
        again = records.load_arrays("t-maze", "published", tmp_path)
        np.testing.assert_allclose(again["spiking_cec"], arrays()["spiking_cec"], rtol=1e-6)
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".npz"]

    def test_unknown_names_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="`task` must be one of sequence, .* Received: 'maze'"):
            records.save(record("maze"), directory=tmp_path)
        with pytest.raises(ValueError, match="`arrays` must be"):
            records.save(record(), {"labels": []}, tmp_path)


class TestCheckpoints:
    def test_they_come_back(self, tmp_path):
        path = tmp_path / "a.npz"
        records.save_checkpoint(path, t_maze.Config(**SMALL), {"b": np.arange(3)})
        (name, value), *rest = records.load_checkpoint(path, t_maze.Config(**SMALL)).items()
        assert name == "b" and value.tolist() == [0, 1, 2] and not rest
        with pytest.raises(ValueError, match="a run with another configuration. Remove it, or"):
            records.load_checkpoint(path, t_maze.Config(**SMALL, seed=1))

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "foreign", "array"])
    def test_damaged_ones_are_refused(self, tmp_path, damage):
        path = tmp_path / "a.npz"
        records.save_checkpoint(path, t_maze.Config(**SMALL), {"b": np.arange(3)})
        content = {"empty": b"", "text": b"some text", "cut": path.read_bytes()[:-30]}
        if damage == "foreign":
            np.savez(path, a=1)
        elif damage == "array":
            np.save(tmp_path / "a.npy", np.arange(3))
            (tmp_path / "a.npy").rename(path)
        else:
            path.write_bytes(content[damage])
        with pytest.raises(ValueError, match="a.npz is damaged, or no checkpoint.*Remove it"):
            records.load_checkpoint(path, t_maze.Config(**SMALL))


class TestReport:
    def test_the_page_has_the_table_of_the_results(self):
        assert report.text(records.load()) in report.PAGE.read_text(encoding="utf-8")

    def test_pages_are_not_rendered_from_nothing(self, tmp_path, capsys):
        page = tmp_path / "page.md"
        page.write_text(f"{experiment.BEGIN}\nold\n{experiment.END}")
        for preset in (None, "quick", "paper"):
            if preset:
                task = {"quick": "sequence", "paper": "t-maze"}[preset]
                records.save({**record(task), "preset": preset}, directory=tmp_path)
            if preset != "quick":
                with pytest.raises(SystemExit):
                    report.main(["--results", str(tmp_path), "--page", str(page)])
                assert "old" in page.read_text()
        errors = capsys.readouterr().err
        assert "has no records" in errors and "several presets: ['paper', 'quick']" in errors
        (tmp_path / "sequence-published.json").write_text("{")
        with pytest.raises(ValueError, match="sequence-published.json is damaged"):
            records.load(tmp_path)

    def test_a_row(self):
        cells = report.row(record())
        # Three of four converged, two of four are right in all runs, five of six runs are right.
        assert cells == ["4", "75%", "2 000", "50%", "83.3%", "1 500", "40"]

    def test_nothing_converged(self):
        nothing = {**record(), "networks": [record()["networks"][2]]}
        assert report.row(nothing) == ["1", "0%", "–", "0%", "–", "–", "–"]

    def test_the_table_is_written_between_the_marks(self, tmp_path):
        lava = {"networks": 2, "correct": 2, "on_lava": 1, "lava_correct": 1, "mismatches": 0}
        records.save(record("noisy-t-maze", lava=lava), directory=tmp_path)
        page = tmp_path / "page.md"
        page.write_text(f"before\n{experiment.BEGIN}\nold\n{experiment.END}\nafter\n")
        arguments = ["--results", str(tmp_path), "--page", str(page)]
        report.main(arguments)
        written = page.read_text()
        assert written.startswith("before\n") and written.endswith("\nafter\n")
        assert "old" not in written and "| Noisy T-maze | *paper* | 20 | 80% | 71 531 |" in written
        assert "|  | published | 4 | 75% | 2 000 |" in written
        assert "2 of 2 networks correct in integers; 1 of 1 on Lava" in written
        assert "- `python example.py`: 1.5 minutes" in written
        report.main(arguments)
        assert page.read_text() == written
        page.write_text("no marks")
        with pytest.raises(ValueError, match="no lines <!-- table: begin -->"):
            report.main(arguments)


class TestFigures:
    def test_outputs_of_the_last_steps(self):
        left, right = figures.sequence_outputs(arrays()).axes
        labels = [text.get_text() for text in left.get_legend().get_texts()]
        assert labels == ["b", "c", "d", "e", "f", "x", "y"]
        x, y = left.lines[-1].get_data()
        assert x.tolist() == [2, 3, 4, 5, 6, 7]
        np.testing.assert_array_equal(y, arrays()["analog_outputs"][2:, 7])
        x, y = right.lines[-1].get_data()
        assert (x[0], x[-1], len(x)) == (410, 1590, 60)
        np.testing.assert_array_equal(y, arrays()["spiking_outputs"][20:, 7])

    def test_cecs_of_both_tasks_or_of_one(self):
        figure = figures.cecs(arrays(), arrays(units=3))
        assert [len(ax.lines) for ax in figure.axes] == [2, 6]
        assert figure.axes[0].lines[0].get_xdata().tolist() == list(range(200, 1601, 200))
        assert [len(ax.lines) for ax in figures.cecs(None, arrays(units=3)).axes] == [6]

    def test_all_are_drawn_or_left_out(self, tmp_path, capsys):
        records.save(record("sequence", "refitted"), arrays(), tmp_path)
        figures.main(["--results", str(tmp_path), "--images", str(tmp_path)])
        drawn = sorted(path.stem[-1] for path in tmp_path.glob("*.png"))
        assert drawn == ["1", "3", "4", "6"]
        assert "no arrays of the task 'noisy-t-maze'" in capsys.readouterr().out
