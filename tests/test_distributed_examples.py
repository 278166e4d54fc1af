"""The programs of examples/distributed, small."""

from pathlib import Path

import numpy as np
import pytest

from examples import experiment
from examples.distributed import measure, records, train


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for part, options in (("train", []), ("validation", ["--test"])):
        arguments = ["--output", str(folder / part), "--count", "6", "--shards", "2"]
        records.main(["saccades", *arguments, *options])
    return folder


def test_records_are_written_once(recordings, capsys):
    index = records.main(["saccades", "--output", str(recordings / "train")])
    assert index["counts"] == [3, 3]
    assert "is complete" in capsys.readouterr().out


def test_recordings_need_a_folder(tmp_path):
    with pytest.raises(ValueError, match="name it after the source"):
        records.main(["mnist-dvs", "--output", str(tmp_path)])


def test_training_on_records_goes_on_where_it_ended(recordings, tmp_path, capsys):
    arguments = [
        *("--model", "lif", "--units", "4", "--batch-size", "3", "--verbose", "0"),
        *("--records", str(recordings / "train"), "--validation", str(recordings / "validation")),
        *("--steps", "4", "--window", "70000", "--output", str(tmp_path)),
    ]
    first = train.train(train.parse([*arguments, "--epochs", "1"]))
    second = train.train(train.parse([*arguments, "--epochs", "2"]))
    assert second["loss"][0] == first["loss"][0]
    assert len(second["val_accuracy"]) == 2
    assert "1 devices" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "lif-0").iterdir()} == {
        "backup.npz",
        "best.weights.h5",
        "config.json",
    }
    with pytest.raises(ValueError, match="begun with {'learning_rate': '0.002, not 0.1'}"):
        train.train(train.parse([*arguments, "--learning-rate", "0.1"]))


@pytest.mark.parametrize("name", train.MODELS)
def test_every_model_has_scores(name):
    model = train.network(name, (5, 6), 4, 3, 0.01)
    assert np.asarray(model(np.ones((2, 5, 6), "float32"))).shape == (2, 3)


def test_a_table_needs_the_folder_of_its_record(tmp_path, capsys):
    with pytest.raises(SystemExit):
        measure.main(["--page", str(tmp_path / "page.md")])
    assert "--page needs the folder --output" in capsys.readouterr().err


def test_recordings_are_images_to_a_convolution(recordings):
    """The frames of a record of a camera of 34 times 34 pixels, of which two layers keep 9 x 9."""
    windows = {"steps": 4, "time": 70_000}
    given = recordings / "train", recordings / "validation", 3, 0, windows
    batches, validation, shape, image = train.recorded(*given)
    assert shape == (4, np.prod(image))
    model = train.network("conv_rlif2d", shape, 2, 3, 0.01, image)
    assert [layer.output.shape[2:] for layer in model.layers[:3]] == [
        image, *((-(-image[0] // side), -(-image[1] // side), 2) for side in (2, 4))
    ]  # fmt: skip
    x, _ = next(iter(validation))
    frames = np.asarray(model.layers[0](x))
    # Channels last, as records are written: pixels of both polarities are beside each other.
    np.testing.assert_array_equal(frames.reshape(x.shape), x)


def test_the_page_shows_what_was_measured():
    """`python -m examples.distributed.measure --output RESULTS --page PAGE` writes it."""
    folder = Path(measure.__file__).parent
    text = measure.table(experiment.chosen(folder / "results")["measure"])
    assert text in (folder.parents[1] / "docs" / "distributed.md").read_text(encoding="utf-8")


def test_the_table_has_the_least_and_the_largest_gain():
    row = {
        "weights": 100, "bytes sent by each of two": 400, "one worker, ms": 8, "two workers, ms": 5,
        "one worker, processor ms": 4, "each of two, processor ms": 2,
        "speed of two": 1.6, "speed of two without waiting": 2.0,
    }  # fmt: skip
    record = experiment.chosen(Path(measure.__file__).parent / "results")["measure"]
    record["numbers"] = {"rlif 1": row, "rlif 2": {**row, "speed of two": 0.5}}
    text = measure.table(record)
    assert "two workers have 0.50 to 1.60 times the speed of one" in text
    assert "of which waiting takes none, 2.00 to 2.00 times" in text


def test_what_a_ring_sends():
    """Each of n workers sends 2 (n - 1) / n of the gradients, float32."""
    assert measure.sent(1000, 2) == 4000
    assert measure.sent(1000, 4) == 6000
