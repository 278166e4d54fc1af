"""The command line: what it prints and writes, and how it fails."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import lava_export
from keras_spiking_rnn import RLIF, TimeSum
from lava_export.__main__ import main

STEPS, INPUTS = 10, 6


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model, its network, data with labels, and a model that is refused."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((STEPS, INPUTS)),
            RLIF(8, threshold=0.4, return_sequences=True, name="hidden"),
            RLIF(4, threshold=0.4, return_sequences=True, name="last"),
            TimeSum(),
        ]
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (20, STEPS, INPUTS)).astype("float32")
    model.save(folder / "model.keras")
    lava_export.export(model, x).save(folder / "network.h5")
    np.savez(folder / "data.npz", x=x, y=rng.integers(0, 4, 20))
    np.save(folder / "data.npy", x)
    refused = keras.Sequential(
        [keras.Input((STEPS, INPUTS)), RLIF(8, output_mode="analog", name="hidden")]
    )
    refused.save(folder / "refused.keras")
    lava_export.quantization_aware(model, x).save(folder / "aware.keras")
    return folder


@pytest.fixture(autouse=True)
def in_a_copy(files, tmp_path, monkeypatch):
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


class TestCheck:
    def test_what_can_be_exported(self, capsys):
        assert run("check", "model.keras") == 0
        assert "It can be exported" in capsys.readouterr().out

    def test_problems(self, capsys):
        assert run("check", "refused.keras") == 1
        assert "1. Layer 'hidden' has output_mode='analog'" in capsys.readouterr().out

    def test_json_is_that_of_the_report(self, capsys):
        assert run("check", "model.keras", "--calibration", "data.npz", "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        model = keras.saving.load_model("model.keras")
        report = lava_export.check(model, np.load("data.npz")["x"])
        assert printed == {"errors": [], **json.loads(json.dumps(report.to_dict()))}

    def test_problems_are_in_the_json(self, capsys):
        assert run("check", "refused.keras", "--json") == 1
        printed = json.loads(capsys.readouterr().out)
        assert printed["ok"] is False
        assert "output_mode='analog'" in printed["errors"][0]


class TestExport:
    def test_the_network_is_that_of_export(self, capsys):
        assert run("export", "model.keras", "new.h5", "--calibration", "data.npz") == 0
        assert "Quantization" in capsys.readouterr().out
        assert lava_export.load("new.h5") == lava_export.load("network.h5")

    def test_options_reach_export(self, capsys):
        arguments = ("--calibration", "data.npy", "--samples", 7, "--leak-groups", 1, "--json")
        assert run("export", "model.keras", "new.h5", *arguments) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["quantization"]["samples"] == 7
        assert printed["sha256"] == lava_export.load("new.h5").digest()
        assert np.ndim(lava_export.load("new.h5").layers[1].dv) == 0

    def test_a_file_that_is_there_stays(self, capsys):
        before = (os.stat("network.h5").st_mtime_ns, os.stat("network.h5").st_size)
        assert run("export", "model.keras", "network.h5", "--calibration", "data.npz") == 2
        assert "network.h5 exists: pass --overwrite" in capsys.readouterr().err
        assert (os.stat("network.h5").st_mtime_ns, os.stat("network.h5").st_size) == before

    def test_what_is_refused(self, capsys):
        assert run("export", "refused.keras", "new.h5", "--calibration", "data.npz") == 1
        assert capsys.readouterr().err.startswith("error: Layer 'hidden' has output_mode")
        assert not os.path.exists("new.h5")
        arguments = ("refused.keras", "new.h5", "--calibration", "data.npz", "--json")
        assert run("export", *arguments) == 1
        printed, told = capsys.readouterr()
        assert json.loads(printed) == {"ok": False, "errors": [told[len("error: ") :].strip()]}

    def test_it_shows_its_progress_in_a_terminal(self, capsys, monkeypatch):
        monkeypatch.setattr("lava_export.__main__._progress", lambda: True)
        assert run("export", "model.keras", "new.h5", "--calibration", "data.npz") == 0
        assert "2/2" in capsys.readouterr().err

    def test_a_model_that_is_in_integers(self, capsys):
        assert run("export", "aware.keras", "new.h5", "--calibration", "data.npz") == 0
        capsys.readouterr()
        data = ("aware.keras", "new.h5", "data.npz")
        assert run("verify", *data, "--without-lava", "--json") == 0
        verified = json.loads(capsys.readouterr().out)
        assert verified["ok"]
        assert sum(verified["float_stage"]["mismatches"]) == 0

    def test_other_formats(self, capsys):
        pytest.importorskip("nir")
        arguments = ("--calibration", "data.npz", "--format", "nir", "--allow-lossy")
        assert run("export", "model.keras", "new.nir", *arguments) == 0
        assert lava_export.from_nir("new.nir") == lava_export.load("network.h5")
        arguments = ("--calibration", "data.npz", "--format", "netx", "--allow-lossy")
        assert run("export", "model.keras", "new.net", *arguments) == 0
        assert "warning:" in capsys.readouterr().err
        assert lava_export.from_netx("new.net").sizes == [(6, 8), (8, 4)]

    def test_other_formats_are_taken_by_the_other_commands(self, capsys):
        nir = pytest.importorskip("nir")
        network, x = lava_export.load("network.h5"), np.load("data.npy")
        network.to_nir("n.nir", allow_lossy=True)
        netx = network.to_netx("n.net", allow_lossy=True)
        capsys.readouterr()
        for file, expected in (("n.nir", network), ("n.net", netx)):
            assert run("info", file) == 0
            assert "(8x6)" in capsys.readouterr().out
            assert run("run", file, "data.npy", "--json") == 0
            out, err = capsys.readouterr()
            assert json.loads(out)["spikes"] == expected.run(x).sum()
            assert ("no encoder and no head" in err) == (file == "n.net")
        assert run("verify", "model.keras", "n.nir", "data.npz", "--without-lava") == 0
        assert run("verify", "model.keras", "n.net", "data.npz", "--without-lava") == 2
        assert "Export the model again, without --format" in capsys.readouterr().err
        graph = nir.read("n.nir")
        graph.metadata.clear()
        nir.write("foreign.nir", graph)
        assert run("info", "foreign.nir") == 2
        err = capsys.readouterr().err
        assert "pass dt." in err
        assert "That goes in Python: lava_export.from_nir('foreign.nir'" in err


class TestVerify:
    def test_reports_are_written(self, capsys):
        pytest.importorskip("matplotlib")
        files = ("--html", "report.html", "--json-report", "report.json")
        assert run("verify", "model.keras", "network.h5", "data.npz", "--without-lava", *files) == 0
        assert "Keras float against integers, 20 samples" in capsys.readouterr().out
        with open("report.json") as file:
            values = json.load(file)
        assert values["float_stage"]["samples"] == 20
        assert 0 <= values["float_stage"]["integer_accuracy"] <= 1
        with open("report.html") as file:
            assert "<h1>Parity report</h1>" in file.read()
        arguments = ("model.keras", "network.h5", "data.npz", "--without-lava", *files)
        assert run("verify", *arguments) == 2
        assert "report.html exists" in capsys.readouterr().err

    def test_lava_that_differs(self, capsys, monkeypatch):
        def fails(*arguments, **options):
            model, network, x, y = arguments
            report = verify(model, network, x, y, modes=())
            raise lava_export.ParityError("Lava does not do what the reference does", report)

        verify = lava_export.verify
        monkeypatch.setattr(lava_export, "verify", fails, raising=False)
        files = ("--json-report", "report.json")
        assert run("verify", "model.keras", "network.h5", "data.npz", *files) == 1
        assert "error: Lava does not do" in capsys.readouterr().err
        assert os.path.exists("report.json")

    def test_a_network_of_another_model(self, capsys):
        rng = np.random.default_rng(0)
        network = lava_export.Network(
            [lava_export.Dense(rng.integers(-9, 9, (3, INPUTS))), lava_export.LIF()]
        )
        network.save("other.h5")
        assert run("verify", "model.keras", "other.h5", "data.npz", "--without-lava") == 2
        assert "exported from another model" in capsys.readouterr().err


class TestInfo:
    def test_of_a_model_it_is_what_would_become_of_it(self, capsys):
        assert run("info", "model.keras", "--data", "data.npz", "--samples", 5) == 0
        out = capsys.readouterr().out
        assert "Dense 6x8, LIF" in out
        assert "on 5 calibration samples" in out

    def test_layers_registers_and_resources(self, capsys):
        assert run("info", "network.h5") == 0
        out = capsys.readouterr().out
        for part in ("Layer 'hidden'", "vth ", "dv ", "(8x6)", "TimeSum", "ESTIMATE", "SHA-256"):
            assert part in out
        assert "energy" not in out

    def test_json(self, capsys):
        assert run("info", "network.h5", "--data", "data.npz", "--json") == 0
        values = json.loads(capsys.readouterr().out)
        network = lava_export.load("network.h5")
        assert values["sha256"] == network.digest()
        assert [layer["name"] for layer in values["layers"]] == ["hidden", "last"]
        weights = values["layers"][0]["synapses"]["weights"]
        assert weights == {
            "shape": [8, 6],
            "low": network.layers[0].weights.min(),
            "high": network.layers[0].weights.max(),
        }
        assert values["resources"]["samples"] == 20
        assert values["resources"]["energy"] > 0


class TestRun:
    def test_results_are_those_of_the_network(self, capsys):
        assert run("run", "network.h5", "data.npz", "--output", "results.npz") == 0
        network, data, found = (
            lava_export.load("network.h5"),
            np.load("data.npz"),
            np.load("results.npz"),
        )
        np.testing.assert_array_equal(found["spikes"], network.run(data["x"]))
        np.testing.assert_array_equal(found["scores"], network.decode(found["spikes"]))
        np.testing.assert_array_equal(found["labels"], network.predict(data["x"]))
        accuracy = np.mean(found["labels"] == data["y"])
        assert f"Accuracy: {accuracy:.2%}" in capsys.readouterr().out

    def test_json(self, capsys):
        assert run("run", "network.h5", "data.npy", "--samples", 3, "--json") == 0
        values = json.loads(capsys.readouterr().out)
        network = lava_export.load("network.h5")
        assert values["labels"] == network.predict(np.load("data.npy")[:3]).tolist()
        assert (values["samples"], values["accuracy"], values["mode"]) == (3, None, None)


def damaged(name, content):
    with open(name, "wb") as file:
        file.write(content)
    return name


UNUSABLE = {
    "no network": (("run", "none.h5", "data.npz"), "none.h5: No such file"),
    "no data": (("run", "network.h5", "none.npz"), "none.npz: No such file"),
    "no model": (("check", "none.keras"), "none.keras: No such file"),
    "network is data": (("run", "data.npz", "data.npz"), "data.npz holds data: name a network"),
    "broken model to show": (("info", "broken.keras"), "cannot be loaded"),
    "network is a model": (
        ("run", "model.keras", "data.npz"),
        "`python -m lava_export export model.keras network.h5 --calibration DATA`",
    ),
    "network is broken": (("info", "broken.h5"), "not the HDF5 file it should be"),
    "data is a network": (("run", "network.h5", "network.h5"), "is not a .npy or .npz file"),
    "data is a model": (("run", "network.h5", "model.keras"), "has no array `x`"),
    "model is a network": (("check", "network.h5"), "`python -m lava_export info network.h5`"),
    "damaged data": (("run", "network.h5", "damaged.npz"), "is not a .npy or .npz file"),
    "huge data": (("run", "network.h5", "huge.npy"), "is not a .npy or .npz file"),
    "huge calibration": (
        ("export", "model.keras", "n.h5", "--calibration", "huge.npy"),
        "is not a .npy or .npz file",
    ),
    "labels of text": (("run", "network.h5", "names.npz"), "y in names.npz must hold whole"),
    "labels of text to verify": (
        ("verify", "model.keras", "network.h5", "names.npz", "--without-lava"),
        "y must hold whole numbers, the indices of classes, got <U1, such as a",
    ),
    "empty data": (("run", "network.h5", "empty.npy"), "is not a .npy or .npz file"),
    "pickled data": (("run", "network.h5", "pickled.npy"), "is not a .npy or .npz file"),
    "scalar": (("run", "network.h5", "scalar.npy"), "single number"),
    "wrong shape": (("run", "network.h5", "wrong.npy"), "must have the shape"),
    "text": (("run", "network.h5", "text.npy"), "array of numbers"),
    "broken model": (("check", "broken.keras"), "cannot be loaded"),
    "labels": (("run", "network.h5", "labels.npz"), "y in labels.npz must have the shape (20,)"),
    "output": (("run", "network.h5", "data.npz", "--output", "out.txt"), "name a .npz file"),
    "folder": (
        ("export", "model.keras", "none/n.h5", "--calibration", "data.npz"),
        "There is no directory none",
    ),
    "wrong calibration": (
        ("export", "model.keras", "n.h5", "--calibration", "wrong.npy"),
        "calibration must have the shape",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_is_told_in_a_line(name, capsys):
    x = np.load("data.npy")
    damaged("empty.npy", b"")
    np.save("pickled.npy", np.array([{}], object))
    np.save("scalar.npy", np.float32(1))
    np.save("wrong.npy", x[:, :, :2])
    np.save("text.npy", np.array(["a", "b"]))
    np.savez("labels.npz", x=x, y=np.zeros((20, 4)))
    np.savez("names.npz", x=x, y=np.array(["a"] * 20))
    damaged("broken.keras", b"PK\x03\x04 and no more")
    damaged("broken.h5", b"\x89HDF\r\n\x1a\n and no more")
    np.savez_compressed("damaged.npz", x=x)
    with open("damaged.npz", "rb") as file:
        content = bytearray(file.read())
    content[120:160] = bytes(40)
    damaged("damaged.npz", content)
    with open("huge.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20, 12)}
        np.lib.format.write_array_header_1_0(file, header)
    arguments, message = UNUSABLE[name]
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert run(*arguments, "--json") == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": False, "errors": [err[len("error: ") : -1]]}


def test_the_reason_of_keras_is_not_lost(capsys):
    @keras.saving.register_keras_serializable(package="test_main")
    class Mine(keras.layers.Layer):
        pass

    model = keras.Sequential([keras.Input((STEPS, INPUTS)), Mine(name="x" * 800), RLIF(3)])
    model.save("mine.keras")
    del keras.saving.get_custom_objects()["test_main>Mine"]
    Mine.__module__ = "elsewhere"
    assert run("check", "mine.keras") == 2
    err = capsys.readouterr().err
    assert "mine.keras cannot be loaded: Could not locate class 'Mine'" in err
    assert "A layer of your own is known in Python only" in err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("run", "network.h5"),
        ("export", "model.keras", "n.h5"),
        ("run", "network.h5", "data.npz", "--samples", "0"),
        ("run", "network.h5", "data.npz", "--samples", "many"),
        ("run", "network.h5", "data.npz", "--backend", "chip"),
        ("verify", "model.keras", "network.h5", "data.npz", "--without-lava", "--modes", "stock"),
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage: python -m lava_export" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "export", "verify", "info", "run"])
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        run(command, "--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m lava_export {command} " in out
    assert "Exit codes" in out
    assert "numpy.savez" in out


def test_an_error_of_ours_is_no_problem_of_the_model(monkeypatch, capsys):
    def breaks(*_):
        raise RuntimeError("something new")

    monkeypatch.setattr(lava_export, "load", breaks)
    assert run("info", "network.h5", "--json") == 2
    out, err = capsys.readouterr()
    assert f"error: RuntimeError: something new ({__file__}:" in err
    assert "This is a defect" in json.loads(out)["errors"][0]


def in_a_process(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_as_a_process_without_messages_of_tensorflow():
    """With a model in integers, whose layers the process has to know first."""
    done = in_a_process("-m", "lava_export", "check", "aware.keras")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "It can be exported" in done.stdout


def test_help_begins_with_an_example(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    out = capsys.readouterr().out
    for command in ("check", "export", "verify", "info", "run"):
        assert f"\n  python -m lava_export {command} " in out


def test_networks_are_shown_and_run_without_keras():
    program = """
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = sys.modules["lava"] = None
from lava_export.__main__ import main
codes = [main(["info", "network.h5"]), main(["run", "network.h5", "data.npz"])]
codes += [main(["check", "model.keras"]), main(["info", "network.h5", "--data", "data.npz"])]
print(codes)
"""
    done = in_a_process("-c", program)
    assert done.stdout.splitlines()[-1] == "[0, 0, 2, 2]"
    assert len(done.stderr.splitlines()) == 2
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
