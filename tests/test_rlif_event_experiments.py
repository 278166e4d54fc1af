"""The event experiments of paper 000 on their quick presets, and what can be wrong in them."""

import json
import struct

import flatbuffers
import keras
import numpy as np
import pytest

from examples import experiment
from examples.rlif import cameras, chip, event_figures, images, networks, noise, windows
from keras_spiking_rnn import LIF, RLIF, ConvRLIF2D, TimeSum, datasets, events

pytestmark = pytest.mark.xdist_group("rlif_event_experiments")  # one run for all

SMALL = {"count": 10, "steps": 3, "train": None, "test": None}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Every experiment as small as it gets: dictionary from name to record, and their folder."""
    folder = tmp_path_factory.mktemp("rlif")

    def run(module, *arguments):
        name = module.__name__.rpartition(".")[2]
        options = ["--preset", "quick", "--output", folder / "runs" / name, "--results", folder]
        module.main([str(each) for each in (*options, *arguments)])

    run(images, "--scales", 16)
    run(windows)
    run(noise)
    run(chip)
    return experiment.chosen(folder, "quick"), folder


def test_each_experiment_leaves_a_record_that_says_synthetic(records):
    found, _ = records
    assert set(found) == {"scales-mnist", "windows", "noise", "chip"}
    for record in found.values():
        assert record["config"]["synthetic"]
        assert record["command"].startswith("python -m examples.rlif.")
        assert "/" not in record["command"]
        for row in record["rows"]:
            assert row["paper"] == "000" and row["ours"]
            assert "ynthetic" in row["what"] + row["protocol"]


def test_a_scale_stands_beside_that_of_table_2(records):
    record = records[0]["scales-mnist"]
    (row,) = record["rows"]
    assert row["published"] == "92.46 % (recorded: MNIST-DVS)"
    assert row["ours"] == experiment.percent(record["numbers"]["16"]["accuracy"])
    assert "64 x 64 pixels (paper 128 x 128)" in row["protocol"]


def test_windows_are_a_row_for_each_series(records):
    record = records[0]["windows"]
    assert set(record["numbers"]) == {"500 x 1", "500 x 2", "1000 x 1"}
    assert [row["what"].rpartition(": ")[2] for row in record["rows"]] == [
        "more frames",
        "cut finer",
    ]


def test_noise_is_counted_beside_the_events_of_the_digits(records):
    numbers = records[0]["noise"]["numbers"]
    assert numbers["noise_a_signal_event"]["0"] == 0
    # About 30 events a pixel and second are those of a digit.
    assert 0.8 < numbers["noise_a_signal_event"]["40"] < 2.5
    assert records[0]["noise"]["rows"][0]["protocol"].endswith("1 epochs, one network each")
    assert len(numbers["networks"]) == 4  # two kinds, trained without noise and with it
    for (found,) in numbers["networks"].values():
        assert set(found["noisy"]) == {"0", "40"}
        assert found["noisy"]["0"] == pytest.approx(found["accuracy"], abs=1e-3)


def test_the_chip_has_the_spikes_of_the_network_that_was_trained_in_integers(records):
    numbers = records[0]["chip"]["numbers"]
    assert numbers["changed"] == numbers["mismatches"] == 0
    assert numbers["aware"] == numbers["integers"]


def test_figures_are_drawn_of_the_records_that_are_there(records):
    found, _ = records
    assert set(event_figures.figures(found)) == {"windows", "noise"}
    assert event_figures.figures({}) == {}


def test_a_run_that_is_finished_is_not_trained_again(records):
    found, folder = records
    options = ["--preset", "quick", "--output", folder / "runs" / "windows", "--results", folder]
    windows.main([str(each) for each in options])
    assert json.loads((folder / "windows-quick-0.json").read_text()) == found["windows"]


@pytest.mark.parametrize(
    "kind, layer, count",
    [
        ("conv-rlif", ConvRLIF2D, 2),
        ("conv-lif", ConvRLIF2D, 2),
        ("conv-lstm", keras.layers.ConvLSTM2D, 2),
        ("rlif", RLIF, 1),
        ("lif", LIF, 1),
        ("lstm", keras.layers.LSTM, 1),
    ],
)
def test_networks_differ_in_their_neurons_only(kind, layer, count):
    model = networks.network(kind, (4, 8, 8, 2), {"filters": [3, 5], "units": 7}, 10)
    assert [type(each) for each in model.layers].count(layer) == count
    assert [type(each) for each in model.layers].count(TimeSum) == 1
    assert model.count_params() > 0 and model.output_shape == (None, 10)
    if kind == "conv-lif":
        names = [weight.name for weight in model.layers[0].trainable_weights]
        assert names == ["kernel", "bias"]


def test_networks_of_lstm_may_have_a_size_of_their_own():
    protocol = {"filters": [8, 16], "units": 64, "of_lstm": {"filters": [4, 9], "units": 16}}
    parameters = {
        kind: networks.network(kind, (4, 34, 34, 2), protocol, 10).count_params()
        for kind in networks.TITLES
    }
    assert parameters["conv-lstm"] == pytest.approx(parameters["conv-rlif"], rel=0.05)
    assert parameters["lstm"] == pytest.approx(parameters["rlif"], rel=0.05)


@pytest.mark.parametrize(
    "protocol", [{"shift": 2}, {"turn": 20}, {"shift": 1, "turn": 10}], ids=str
)
def test_recordings_are_moved_in_training_all_frames_alike(protocol):
    keras.utils.set_random_seed(0)
    x = np.zeros((5, 3, 12, 10, 2), "uint8")
    x[:, :2, 2:5, 4:8, 1] = 1
    inputs = keras.Input(x.shape[1:])
    outputs = inputs
    for layer in networks.moved(x.shape[1:], protocol.get("shift", 0), protocol.get("turn", 0)):
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    np.testing.assert_array_equal(model(x, training=False), x)
    moved = np.asarray(model(x, training=True))
    assert set(np.unique(moved)) == {0, 1}
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])
    assert not moved[:, 2].any() and not moved[..., 0].any()
    assert len({each.tobytes() for each in moved}) > 1  # each recording in its own way
    if "turn" not in protocol:
        # Of the same size, at most 2 pixels away.
        assert (moved.sum(axis=(1, 2, 3, 4)) == 24).all()
        assert moved[:, 0, 0:7, 2:10].sum() == 5 * 12


def test_layers_that_move_nothing_are_not_there():
    assert networks.moved((3, 4, 4, 2), 0, 0) == []


def test_several_shares_are_a_mean_and_a_deviation():
    assert networks.spread([0.5, 0.7]) == "60.0 ± 10.0 %"
    assert networks.spread([0.5]) == "50.0 %"


def recording(times, x=0):
    n = len(times)
    return events.make([x] * n, [1] * n, times, [1] * n)


class Listed:
    """Recordings in a list."""

    def __init__(self, recorded, sensor_size=(4, 3, 2)):
        self.recorded, self.sensor_size = recorded, sensor_size
        self.targets = [label for _, label in recorded]

    def __len__(self):
        return len(self.recorded)

    def __getitem__(self, index):
        return self.recorded[index]


def test_frames_are_windows_of_a_number_of_events_and_are_kept_in_a_file(tmp_path):
    recorded = Listed([(recording([0, 5, 6, 90, 91]), 7), (recording([3], x=3), 1)])
    path = tmp_path / "train.npy"
    for _ in range(2):  # the second reads the file
        x, y = cameras.framed(recorded, count=2, steps=4, path=path)
        assert x.shape == (2, 4, 3, 4, 2) and x.dtype == np.uint8
        assert y.tolist() == [7, 1]
        # Binary, and with a frame of the events that do not fill a window.
        assert x.sum(axis=(2, 3, 4)).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
        assert x[1, 0, 1, 3, 1] == 1
        recorded = Listed([(recording([0]), 7), (recording([0]), 1)])


def test_frames_have_a_bar(capsys):
    cameras.framed(Listed([(recording([0]), 0)] * 3), 2, 4)
    said = capsys.readouterr().out
    assert said.startswith("4 frames of 2 events\n") and "3/3" in said


@pytest.mark.parametrize("labels", [[7, 0], [7, 1, 1]])
def test_frames_that_were_kept_of_other_recordings_are_refused(tmp_path, labels):
    path = tmp_path / "train.npy"
    cameras.framed(Listed([(recording([0]), 7), (recording([0]), 1)]), 2, 4, path)
    with pytest.raises(ValueError, match="frames of other recordings, 2 of them, where there are"):
        cameras.framed(Listed([(recording([0]), label) for label in labels]), 2, 4, path)


def test_noise_comes_at_its_rate_within_the_recording_and_is_sorted():
    given = recording(np.arange(0, 1_000_000, 1000))
    changed = cameras.noise(50, seed=3)(given, (3, 4), 0)
    added = len(changed) - len(given)
    assert added == pytest.approx(50 * 12, rel=0.15)
    assert (np.diff(changed["t"]) >= 0).all()
    assert changed["t"].max() <= 999_000
    outside = changed[(changed["x"] != 0) | (changed["y"] != 1)]
    assert len(np.unique(outside["x"])) == 4 and len(np.unique(outside["p"])) == 2
    again = cameras.noise(50, seed=3)(given, (3, 4), 1)
    assert len(again) != len(changed) or (again != changed).any()
    np.testing.assert_array_equal(cameras.noise(0, seed=3)(given, (3, 4), 0), given)


@pytest.mark.parametrize("scale, side", [(4, 14), (8, 28), (16, 56)])
def test_a_scale_is_the_size_of_the_digit_before_one_camera(scale, side):
    x = np.zeros((1, 28, 28), "float32")
    x[:, 4:24, 4:24] = 1
    recorded = cameras.simulated((x, [0]), scale, seed=0)
    assert recorded.synthetic and recorded.sensor_size == (64, 64, 2)
    given, _ = recorded[0]
    counted = np.zeros((64, 64))
    np.add.at(counted, (given["y"], given["x"]), 1)
    rows = np.flatnonzero(counted.sum(axis=1) > 100)  # more than noise
    # The square, and the way of 7 pixels that it moves.
    assert np.ptp(rows) + 1 == pytest.approx(side * 20 / 28 + 7, abs=4)


def test_recordings_of_mnist_dvs_of_a_scale(tmp_path):
    for digit in range(10):
        folder = tmp_path / f"grabbed_data{digit}" / "scale16"
        folder.mkdir(parents=True)
        for number in range(1, 6):
            # As jAER writes them: lines of a header, then big-endian words of address and time.
            address = (100 + digit) << 8 | (10 + number) << 1
            words = np.array([[address, t] for t in range(0, 40, 2)], ">u4")
            content = b"#!AER-DAT2.0\r\n# a header\r\n" + words.tobytes()
            (folder / f"mnist_{digit}_scale16_{number:04d}.aedat").write_bytes(content)
    train, test = cameras.recordings("mnist-dvs", SMALL, data_dir=tmp_path, scale=16)
    assert (len(train), len(test)) == (40, 10)
    assert sorted(train.targets) == [digit for digit in range(10) for _ in range(4)]
    x, y = cameras.framed(test, 10, 3)
    assert x.shape == (10, 3, 128, 128, 2)
    for label, frames in zip(y, x, strict=True):
        # Of the fifth recording, as jAER shows it: turned by half, and 0 is ON.
        assert [tuple(place) for place in np.argwhere(frames)] == [
            (frame, 27 - label, 127 - 15, 1) for frame in range(2)
        ]


def test_recordings_of_cifar10_dvs(tmp_path):
    for label, name in enumerate(datasets.CIFAR10DVS.classes):
        (tmp_path / name).mkdir()
        for number in range(5):
            given = recording(np.arange(30), x=label)
            events.write_aedat(tmp_path / name / f"cifar10_{name}_{number}.aedat", given)
    train, test = cameras.recordings("cifar10-dvs", {**SMALL, "train": 7}, data_dir=tmp_path)
    assert (len(train), len(test)) == (7, 10)
    x, y = cameras.framed(test, 10, 3)
    assert [int(np.argwhere(frames)[0, 2]) for frames in x] == y.tolist()


def test_recordings_of_poker_dvs_by_tonic(tmp_path):
    pytest.importorskip("tonic.datasets")
    for part in ("train", "test"):
        for label, name in enumerate(["cl", "he", "di", "sp"]):
            folder = tmp_path / "POKERDVS" / f"pips_{part}" / name
            folder.mkdir(parents=True)
            for number in range(5):
                np.save(folder / f"{number}.npy", [[t, label, 2, 1] for t in range(25)])
        (tmp_path / "POKERDVS" / f"pips_{part}.tar.gz").write_bytes(b"unpacked")
    train, test = cameras.recordings("poker-dvs", SMALL, data_dir=tmp_path)
    assert (len(train), len(test)) == (20, 20)
    x, y = cameras.framed(train, 10, 3)
    assert x.shape == (20, 3, 35, 35, 2)
    assert set(y.tolist()) == {0, 1, 2, 3}


def write_aedat4(path, given):
    """A file of AEDAT 4 that is not compressed: a header, and a packet of all events."""
    attributes = {
        "compression": "NONE",
        "originalModuleName": "capture",
        "originalOutputName": "events",
        "typeDescription": "Array of events.",
        "typeIdentifier": "EVTS",
    }
    texts = [f'<attr key="{key}" type="string">{text}</attr>' for key, text in attributes.items()]
    sizes = [f'<attr key="size{axis}" type="int">128</attr>' for axis in "XY"]
    node = '<node name="{}" path="/mainloop/Recorder/outInfo/{}">'
    info = [node.format("outInfo", ""), node.format("0", "0/"), *texts]
    info += [node.format("info", "0/info/"), *sizes, "</node>" * 3]

    def finished(builder, name):
        builder.FinishSizePrefixed(builder.EndObject(), name)
        return bytes(builder.Output())

    head = flatbuffers.Builder()
    text = head.CreateString(f'<dv version="2.0">{"".join(info)}</dv>')
    head.StartObject(3)  # compression, position of the table of packets, text
    head.PrependInt32Slot(0, 0, 0)
    head.PrependInt64Slot(1, -1, -1)
    head.PrependUOffsetTRelativeSlot(2, text, 0)
    packet = flatbuffers.Builder()
    packet.StartVector(16, len(given), 8)
    for event in given[::-1]:  # a flat buffer is written from its end
        packet.Prep(8, 16)
        packet.Pad(3)
        packet.PrependBool(bool(event["p"]))
        packet.PrependInt16(int(event["y"]))
        packet.PrependInt16(int(event["x"]))
        packet.PrependInt64(int(event["t"]))
    elements = packet.EndVector()
    packet.StartObject(1)
    packet.PrependUOffsetTRelativeSlot(0, elements, 0)
    content = finished(packet, b"EVTS")
    stream_and_size = struct.pack("<ii", 0, len(content))
    path.write_bytes(b"#!AER-DAT4.0\r\n" + finished(head, b"IOHE") + stream_and_size + content)


def test_recordings_of_cifar10_dvs_by_tonic(tmp_path, monkeypatch):
    pytest.importorskip("aedat")
    tonic = pytest.importorskip("tonic.datasets")
    monkeypatch.setattr(tonic.CIFAR10DVS, "_check_exists", lambda self: True)
    for label, name in enumerate(datasets.CIFAR10DVS.classes):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in range(5):
            given = recording(np.arange(30), x=10 * label + number)
            write_aedat4(folder / f"cifar10_{name}_{number}.aedat4", given)
    train, test = cameras.recordings("cifar10-dvs-aedat4", SMALL, data_dir=tmp_path)
    assert (len(train), len(test)) == (40, 10)
    x, y = cameras.framed(test, 10, 3)
    assert x.shape == (10, 3, 128, 128, 2)
    # The last of each class, all of its events in one pixel, ON.
    for frames, label in zip(x, y, strict=True):
        assert {tuple(place[1:]) for place in np.argwhere(frames)} == {(1, 10 * label + 4, 1)}


def test_without_aedat_it_says_what_to_install(tmp_path, monkeypatch):
    pytest.importorskip("tonic.datasets")
    monkeypatch.setattr(cameras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install aedat. Or take cifar10-dvs"):
        cameras.recordings("cifar10-dvs-aedat4", SMALL, data_dir=tmp_path)


def test_without_parts_of_its_own_the_first_of_each_class_are_for_training(tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic.datasets")
    listed = [(number, label) for label in (0, 1) for number in range(10)]
    # A file system lists them in any order; 10 comes after 9.
    listed = [listed[index] for index in np.random.default_rng(0).permutation(20)]
    every = Listed([(recording([number]), label) for number, label in listed])
    every.data = [f"{label}/cifar10_{label}_{number + 1}.aedat4" for number, label in listed]
    monkeypatch.setattr(tonic, "CIFAR10DVS", lambda folder: every)
    monkeypatch.setattr(cameras.importlib.util, "find_spec", lambda name: True)
    train, test = cameras.of_tonic("cifar10-dvs-aedat4", tmp_path)
    assert train.targets == [0] * 8 + [1] * 8
    assert [int(test[index][0]["t"][0]) for index in range(4)] == [8, 9, 8, 9]


def test_what_is_not_there_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="needs a data folder.*mnist, fashion"):
        cameras.recordings("n-mnist", SMALL)
    with pytest.raises(FileNotFoundError, match="grabbed_data0.zip"):
        cameras.recordings("mnist-dvs", SMALL, data_dir=tmp_path)
    with pytest.raises(ValueError, match="has no scales"):
        cameras.recordings("dvs-gesture", SMALL, data_dir=tmp_path, scale=4)
    with pytest.raises(ValueError, match="has no sources"):
        cameras.recordings("dvs-gesture", SMALL, source="idx", data_dir=tmp_path)
    with pytest.raises(ValueError, match="must be one of mnist, fashion"):
        cameras.recordings("svhn", SMALL)
