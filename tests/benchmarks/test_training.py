"""A tiny workload through the real processes, and what can go wrong with them."""

import dataclasses
import json
import sys

import pytest

from benchmarks import command_line, processes, training
from benchmarks.workloads import WORKLOADS, Workload

TINY = dataclasses.replace(
    WORKLOADS["rlif_small"], inputs=6, units=(5,), batch=4, steps=8, scale=4.0, rate=0.5
)

pytestmark = pytest.mark.xdist_group("benchmarks")  # one run for all


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    content = training.run(TINY, "training", peers=[], repeats=7, patience=0)
    path = processes.write(content, "training_tiny", tmp_path_factory.mktemp("results"))
    return json.loads(path.read_text())


def test_each_subject_is_timed_in_each_round(content):
    assert list(content["subjects"]) == ["fused", "products", "cell"]
    for result in content["subjects"].values():
        assert len(result["seconds"]) == content["repeats"] == 7
        assert all(0 < seconds < 60 for seconds in result["seconds"])
        assert result["steps"] > 1  # A step takes less than a visit.


def test_layer_and_cell_do_the_same_work(content):
    fused, cell = (content["subjects"][name] for name in ("fused", "cell"))
    assert fused["activity"] == cell["activity"]
    assert 0 < fused["activity"][0] < 1
    assert fused["gradient_through_time"] == pytest.approx(cell["gradient_through_time"], rel=1e-4)
    assert fused["gradient_through_time"] > 0


def test_a_result_says_how_it_was_measured(content):
    assert Workload.from_json(content["workload"]) == TINY
    assert content["goals"] == {"cell": 0.7}
    assert set(content["versions"]["tensorflow"]) == {"tensorflow", "keras", "numpy"}
    assert content["threads"] == 2 and content["seed"] == 0
    assert {"date", "command", "processor", "processors", "python", "duration"} <= set(content)
    assert all("idle" in each and "foreign" in each for each in content["subjects"].values())


def test_which_subjects_run():
    rlif = WORKLOADS["rlif"]
    of_norse = ["fused", "products", "cell", "torch_products", "norse", "norse_compiled"]
    assert training.subjects_of(rlif, "training", ["norse"]) == of_norse
    assert "cell_compiled" in training.subjects_of(rlif, "training", [], jit=True)
    assert "keras_lstm" in training.subjects_of(WORKLOADS["lif_lstm"], "training", [])
    assert training.subjects_of(rlif, "inference", []) == ["fused", "products", "cell"]


def test_without_the_peers_the_error_says_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="make bench"):
        training.run(TINY, "training", ["norse"], 7, peers_python=tmp_path / "python")


def test_the_end_of_a_worker_is_an_error_with_its_last_words():
    # The interpreter of the tests does not have the peers.
    with pytest.raises(processes.WorkerError, match="(?s)snntorch ended with code 1.*ModuleNotFou"):
        processes.measure({"snntorch": ("snntorch", TINY)}, 7, peers_python=sys.executable)


def test_a_variant_that_cannot_be_compiled_is_told_and_left_out():
    jobs = {"snntorch_compiled": ("snntorch_compiled", TINY)}
    results = processes.measure(jobs, 7, peers_python=sys.executable)
    assert "ModuleNotFoundError" in results["snntorch_compiled"]["error"]


def test_less_work_than_the_others_is_an_error():
    with pytest.raises(processes.WorkerError, match="lazy: no gradient flows"):
        processes.check_gradients(
            {"lazy": {"gradient_through_time": 0.0}, "fused": {"gradient_through_time": 0.1}}
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "rliff"], "invalid choice: 'rliff'"),
        (["--peers", "brian"], "invalid choice: 'brian'"),
        (["--repeats", "3"], "at least 7"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        training.main(arguments)
    assert message in capsys.readouterr().err


def test_peers_that_are_chosen():
    assert command_line.chosen(["none"]) == []
    assert command_line.chosen(["norse"]) == ["norse"]
    assert command_line.chosen(["all"]) == ["snntorch", "norse", "spikingjelly"]


def test_the_command_is_kept_without_paths_of_this_machine():
    argv = ["/a/b/benchmarks/training.py", "--peers-python", "/c/python", "--workload", "rlif"]
    expected = "python -m benchmarks.training --workload rlif"
    assert processes._command(argv) == expected
    assert processes._command([argv[0], "--peers-python=/c/python", *argv[3:]]) == expected
