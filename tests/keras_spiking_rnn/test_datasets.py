"""Datasets of events: files in the true layout and format, written here, and those of tonic."""

import struct

import keras
import numpy as np
import pytest

from keras_spiking_rnn import RLIF, TimeSum, datasets, events

SIZE = (128, 128)


def recording(label, number, events_of_it=60, size=SIZE):
    """Events that tell which recording they are of."""
    random = np.random.default_rng([label, number])
    x = random.integers(0, size[-1], events_of_it)
    x[0], t = label, np.sort(random.integers(0, 10**6, events_of_it))
    y = random.integers(0, size[0], events_of_it) if len(size) == 2 else None
    return events.make(x, y, t, random.integers(0, 2, events_of_it))


def write(path, label, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    events.write_aedat(path, recording(label, number))


@pytest.fixture(scope="module")
def mnist_dvs(tmp_path_factory):
    """Eleven recordings of each digit at scale 4, ten at the others; their numbers are from 1."""
    directory = tmp_path_factory.mktemp("mnist_dvs")
    for digit in range(10):
        for scale, numbers in ((4, range(1, 12)), (8, range(1, 11)), (16, range(1, 11))):
            for number in numbers:
                name = f"mnist_{digit}_scale{scale:02d}_{number:04d}.aedat"
                folder = directory / f"grabbed_data{digit}" / f"scale{scale}"
                write(folder / name, digit, scale * 1000 + number)
    return directory


@pytest.fixture(scope="module")
def cifar10_dvs(tmp_path_factory):
    """Twelve recordings of each class, their numbers from 0 and without leading zeros."""
    directory = tmp_path_factory.mktemp("cifar10_dvs")
    for label, name in enumerate(datasets.CIFAR10DVS.classes):
        for number in range(12):
            write(directory / name / f"cifar10_{name}_{number}.aedat", label, number)
    return directory


def numbers(dataset):
    return [int(path.stem.split("_")[-1]) for path in dataset.files]


class TestMNISTDVS:
    @pytest.mark.parametrize("scale,train,test", [(4, 8, 3), (8, 8, 2), (16, 8, 2)])
    def test_the_first_of_each_digit_are_for_training(self, mnist_dvs, scale, train, test):
        part = datasets.MNISTDVS(mnist_dvs, scale)
        assert len(part) == 10 * train
        assert part.targets == [digit for digit in range(10) for _ in range(train)]
        assert numbers(part)[:train] == list(range(1, train + 1))
        rest = datasets.MNISTDVS(mnist_dvs, scale, train=False)
        assert len(rest) == 10 * test
        assert numbers(rest)[:test] == list(range(train + 1, train + test + 1))
        both = datasets.MNISTDVS(mnist_dvs, scale, train=None)
        assert sorted(both.files) == sorted(part.files + rest.files)
        assert {path.parent.name for path in both.files} == {f"scale{scale}"}

    def test_recordings_are_those_of_the_files(self, mnist_dvs):
        part = datasets.MNISTDVS(str(mnist_dvs), 16)
        for index in (0, 7, 8, 79):
            recorded, label = part[index]
            assert label == index // 8
            expected = recording(label, 16_000 + index % 8 + 1)
            np.testing.assert_array_equal(recorded, expected)
        np.testing.assert_array_equal(part[-1][0], part[79][0])
        raw = datasets.MNISTDVS(mnist_dvs, 16, orientation="raw")[0][0]
        np.testing.assert_array_equal(raw["y"], 127 - part[0][0]["y"])

    def test_several_scales_have_the_same_digits_for_training(self, mnist_dvs):
        part = datasets.MNISTDVS(mnist_dvs, (8, 16))
        assert len(part) == 160
        assert part.targets == [digit for digit in range(10) for _ in range(16)]
        assert max(numbers(part)) == 8
        test = datasets.MNISTDVS(mnist_dvs, (8, 16), train=False)
        assert min(numbers(test)) == 9

    def test_other_splits(self, mnist_dvs):
        # 0.7 of 10 is not a float that is exactly 7.
        assert len(datasets.MNISTDVS(mnist_dvs, 8, split=0.7)) == 70
        assert len(datasets.MNISTDVS(mnist_dvs, 8, train=False, split=0.7)) == 30
        assert len(datasets.MNISTDVS(mnist_dvs, 8, train=False, split=1)) == 0
        for split in (-0.1, 1.1, "most"):
            with pytest.raises(ValueError, match="`split` must be at least 0 and at most 1"):
                datasets.MNISTDVS(mnist_dvs, 8, split=split)

    @pytest.mark.parametrize("scale", [5, (4, 5), (), "8"])
    def test_unknown_scales(self, mnist_dvs, scale):
        with pytest.raises(ValueError, match="`scale` must be 4, 8 or 16, or several"):
            datasets.MNISTDVS(mnist_dvs, scale)

    def test_missing_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no directory .*nowhere.*grabbed_data0.zip"):
            datasets.MNISTDVS(tmp_path / "nowhere")
        (tmp_path / "grabbed_data0" / "scale8").mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match=r"No file in .*scale8 is named mnist_\*.aedat"):
            datasets.MNISTDVS(tmp_path)
        write(tmp_path / "grabbed_data0" / "scale8" / "mnist_0_scale08_0001.aedat", 0, 1)
        with pytest.raises(FileNotFoundError, match="no directory .*grabbed_data1"):
            datasets.MNISTDVS(tmp_path)

    def test_times_out_of_order_are_sorted_and_marks_dropped(self, tmp_path):
        for digit in range(10):
            write(tmp_path / f"grabbed_data{digit}/scale8/mnist_{digit}_scale08_0001.aedat", 0, 1)
        path = tmp_path / "grabbed_data0/scale8/mnist_0_scale08_0001.aedat"
        words = [(2, 50), (4, 30), (0x8000, 60), *((6, t) for t in range(70, 80))]
        content = b"".join(struct.pack(">II", *word) for word in words)
        path.write_bytes(b"#!AER-DAT2.0\r\n" + content)
        recorded, _ = datasets.MNISTDVS(tmp_path, train=None)[0]
        assert recorded["t"].tolist() == [30, 50, *range(70, 80)]
        for name in ("backwards", "special"):
            strict = datasets.MNISTDVS(tmp_path, train=None, **{name: "error"})
            with pytest.raises(ValueError, match="mnist_0_scale08_0001.aedat"):
                strict[0]

    def test_files_that_are_no_recordings(self, tmp_path):
        page = b"<!DOCTYPE html>\n<html><h1>404 Not Found</h1></html>\n"
        for digit in range(10):
            write(tmp_path / f"grabbed_data{digit}/scale8/mnist_{digit}_scale08_0001.aedat", 0, 1)
        samples = datasets.MNISTDVS(tmp_path, train=None)
        samples.files[0].write_bytes(page * 6)
        with pytest.raises(ValueError, match="mnist_0_scale08_0001.aedat is no AEDAT file"):
            samples[0]
        samples.files[1].write_bytes(b"#!AER-DAT2.0\r\n" + (page * 8)[:400])
        with pytest.raises(ValueError, match="not a pixel of a DVS128, nor are those of 50 of 50"):
            samples[1]

    @pytest.mark.parametrize("name", ["orientation", "backwards", "special"])
    def test_options_are_checked_before_a_file_is_read(self, mnist_dvs, name):
        with pytest.raises(ValueError, match=f"`{name}` must be one of .*'up'"):
            datasets.MNISTDVS(mnist_dvs, **{name: "up"})


class TestCIFAR10DVS:
    def test_numbers_are_in_order_and_not_their_digits(self, cifar10_dvs):
        part = datasets.CIFAR10DVS(cifar10_dvs)
        assert numbers(part)[:9] == list(range(9))
        rest = datasets.CIFAR10DVS(cifar10_dvs, train=False)
        assert numbers(rest)[:3] == [9, 10, 11]
        assert (len(part), len(rest)) == (90, 30)
        assert part.targets[::9] == rest.targets[::3] == list(range(10))

    def test_recordings_are_those_of_the_files(self, cifar10_dvs):
        rest = datasets.CIFAR10DVS(cifar10_dvs, train=False)
        for index in (0, 2, 29):
            recorded, label = rest[index]
            np.testing.assert_array_equal(recorded, recording(label, 9 + index % 3))
        assert rest.classes[label] == "truck"

    def test_missing_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no directory .*airplane.*truck.zip of"):
            datasets.CIFAR10DVS(tmp_path)

    def test_files_are_read_when_they_are_asked_for(self, cifar10_dvs, monkeypatch):
        read = []
        original = events.read_aedat
        monkeypatch.setattr(
            events, "read_aedat", lambda path, **given: read.append(path) or original(path, **given)
        )
        part = datasets.CIFAR10DVS(cifar10_dvs)
        assert read == []
        part[3]
        assert read == [part.files[3]]

    def test_a_network_is_fed(self, cifar10_dvs):
        part = datasets.CIFAR10DVS(cifar10_dvs)
        batches = events.dataset(part, 8, count=10, steps=6, binary=True, shuffle=True, seed=0)
        assert batches.cardinality() == 12
        x, y = next(iter(batches))
        assert x.shape == (8, 6, 128, 128, 2)
        assert x.numpy().sum() > 0 and set(np.unique(x)) == {0, 1}
        model = keras.Sequential(
            [
                keras.Input((6, 128, 128, 2)),
                keras.layers.TimeDistributed(keras.layers.AveragePooling2D(16)),
                keras.layers.Reshape((6, -1)),
                RLIF(16, return_sequences=True),
                TimeSum(),
                keras.layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        history = model.fit(batches, verbose=0)
        assert np.isfinite(history.history["loss"]).all()


class TestSaccades:
    IMAGES = np.random.default_rng(0).random((4, 10, 9))

    def test_recordings_are_synthetic_and_the_same_each_time(self):
        samples = datasets.Saccades(self.IMAGES, [3, 1, 2, 0], noise_rate=5, mismatch=0.1, seed=7)
        assert samples.synthetic and not datasets.MNISTDVS.synthetic
        assert not datasets.CIFAR10DVS.synthetic
        assert len(samples) == 4 and len(list(samples)) == 4
        recorded, label = samples[2]
        assert label == 2
        np.testing.assert_array_equal(recorded, samples[2][0])
        np.testing.assert_array_equal(recorded, samples[-2][0])
        expected = events.saccades(self.IMAGES[2], noise_rate=5, mismatch=0.1, seed=[7, 2])
        np.testing.assert_array_equal(recorded, expected)
        other = datasets.Saccades(self.IMAGES, [3, 1, 2, 0], noise_rate=5, mismatch=0.1, seed=8)
        assert len(other[2][0]) != len(recorded)

    def test_noise_differs_from_image_to_image(self):
        same = np.repeat(self.IMAGES[:1], 2, axis=0)
        first, second = datasets.Saccades(same, [0, 0], mismatch=0.1)
        assert first[0].tolist() != second[0].tolist()

    def test_the_size_is_that_of_the_camera(self):
        samples = datasets.Saccades(self.IMAGES, range(4))
        assert samples.sensor_size == (16, 17, 2)
        assert datasets.Saccades(self.IMAGES, range(4), size=(12, 14)).sensor_size == (14, 12, 2)
        x, y = next(iter(events.dataset(samples, 4, time=50_000, remainder="keep")))
        assert x.shape == (4, 7, 17, 16, 2) and y.numpy().tolist() == [0, 1, 2, 3]
        for index, (recorded, _) in enumerate(samples):
            assert x[index].numpy().sum() == len(recorded)

    def test_errors(self):
        with pytest.raises(ValueError, match="label for each image.*4 images, 3 labels"):
            datasets.Saccades(self.IMAGES, [1, 2, 3])
        with pytest.raises(ValueError, match="at least one image"):
            datasets.Saccades([], [])
        with pytest.raises(IndexError):
            datasets.Saccades(self.IMAGES, range(4))[4]


class TestTonic:
    """What tonic's own classes read from files of their true formats."""

    @pytest.fixture(autouse=True)
    def tonic(self):
        return pytest.importorskip("tonic.datasets")

    def batches_are_frames(self, samples, size=None, **arguments):
        """Each recording comes as its frames, counted event by event."""
        (x, y), *more = list(events.dataset(samples, len(samples), size=size, **arguments))
        assert not more
        for index in range(len(samples)):
            recorded, label = samples[index]
            assert y[index] == label
            counted = np.zeros(x.shape[1:])
            count = arguments["count"]
            for number in range(len(recorded) // count * count):
                event = recorded[number]
                place = (event["y"],) if "y" in recorded.dtype.names else ()
                counted[(number // count, *place, event["x"], int(event["p"]))] += 1
            np.testing.assert_array_equal(x[index], counted)

    def bin_files(self, directory, classes, size):
        """Files of N-MNIST and N-Caltech101: five bytes an event."""
        for label, name in enumerate(classes):
            (directory / name).mkdir(parents=True)
            for number in range(2):
                content = b""
                for x, y, t, p in recording(label, number, 30 + 7 * number, size).tolist():
                    t //= 10
                    content += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
                (directory / name / f"{number:05d}.bin").write_bytes(content)

    def test_n_mnist(self, tonic, tmp_path, monkeypatch):
        self.bin_files(tmp_path / "NMNIST" / "Train", [str(digit) for digit in range(10)], (34, 34))
        # It would count ten thousand files.
        monkeypatch.setattr(tonic.NMNIST, "_check_exists", lambda self: True)
        samples = tonic.NMNIST(str(tmp_path), train=True)
        assert len(samples) == 20
        np.testing.assert_array_equal(samples[3][0]["x"], recording(1, 1, 37, (34, 34))["x"])
        self.batches_are_frames(samples, count=10, steps=3)

    def test_n_mnist_with_transforms_of_tonic(self, tonic, tmp_path, monkeypatch):
        transforms = pytest.importorskip("tonic.transforms")
        self.bin_files(tmp_path / "NMNIST" / "Test", [str(digit) for digit in range(10)], (34, 34))
        monkeypatch.setattr(tonic.NMNIST, "_check_exists", lambda self: True)
        halved = transforms.Compose(
            [
                transforms.RandomFlipLR((34, 34, 2), p=1),
                transforms.Downsample(spatial_factor=0.5),
            ]
        )
        samples = tonic.NMNIST(str(tmp_path), train=False, transform=halved)
        self.batches_are_frames(samples, size=(17, 17), count=10, steps=3)

    def test_n_caltech101_has_names_as_labels_and_no_size(self, tonic, tmp_path, monkeypatch):
        directory = tmp_path / "NCALTECH101" / "Caltech101"
        self.bin_files(directory, ["accordion", "ant"], (180, 240))
        monkeypatch.setattr(tonic.NCALTECH101, "_check_exists", lambda self: True)
        samples = tonic.NCALTECH101(str(tmp_path))
        with pytest.raises(ValueError, match="`size` must be given, since NCALTECH101"):
            events.dataset(samples, count=10, steps=3)
        x, y = next(iter(events.dataset(samples, 4, count=10, steps=3, size=(180, 240))))
        assert x.shape == (4, 3, 180, 240, 2) and x.numpy().sum() == 120
        assert y.numpy().tolist() == [b"accordion", b"accordion", b"ant", b"ant"]

    def test_poker_dvs(self, tonic, tmp_path):
        for label, name in enumerate(["cl", "he", "di", "sp"]):
            folder = tmp_path / "POKERDVS" / "pips_train" / name
            folder.mkdir(parents=True)
            for number in range(5):
                recorded = recording(label, number, 30, (35, 35))
                rows = [recorded[field].astype(int) for field in "txyp"]
                np.save(folder / f"{number}.npy", np.stack(rows, axis=1))
        (tmp_path / "POKERDVS" / "pips_train.tar.gz").write_bytes(b"unpacked")
        samples = tonic.POKERDVS(str(tmp_path), train=True)
        assert len(samples) == 20
        self.batches_are_frames(samples, count=10, steps=3)

    def test_dvs_gesture(self, tonic, tmp_path):
        folder = tmp_path / "DVSGesture" / "ibmGestureTrain"
        for user in range(1, 11):
            (folder / f"user{user:02d}_led").mkdir(parents=True)
            for label in range(11):
                recorded = recording(label, user, 25)
                rows = [recorded[field].astype(int) for field in "xyp"]
                rows.append(recorded["t"] // 1000)
                np.save(folder / f"user{user:02d}_led" / f"{label}.npy", np.stack(rows, axis=1))
        (tmp_path / "DVSGesture" / "ibmGestureTrain.tar.gz").write_bytes(b"unpacked")
        samples = tonic.DVSGesture(str(tmp_path), train=True)
        assert len(samples) == 110
        x, y = next(iter(events.dataset(samples, 110, count=10, steps=2)))
        assert x.shape == (110, 2, 128, 128, 2) and x.numpy().sum() == 110 * 20
        assert y.numpy().tolist() == samples.targets

    def test_spiking_heidelberg_digits(self, tonic, tmp_path):
        h5py = pytest.importorskip("h5py")
        folder = tmp_path / "SHD"
        folder.mkdir()
        (folder / "shd_train.h5.zip").write_bytes(b"unpacked")
        recorded = [recording(label, 0, 40 + label, (700,)) for label in range(6)]
        with h5py.File(folder / "shd_train.h5", "w") as file:
            for name, kind, of in (("times", "f2", "t"), ("units", "u2", "x")):
                data = file.create_dataset(f"spikes/{name}", 6, h5py.vlen_dtype(np.dtype(kind)))
                for index, each in enumerate(recorded):
                    data[index] = (each[of] / 1e6 if of == "t" else each[of]).astype(kind)
            file["labels"] = np.arange(6)
            file["extra/keys"] = np.array([b"zero"])
            file["extra/speaker"] = np.zeros(6)
        samples = tonic.SHD(str(tmp_path), train=True)
        self.batches_are_frames(samples, count=10, steps=4)
        x, _ = next(
            iter(events.dataset(samples, 6, time=100_000, steps=11, start=0, polarity=False))
        )
        assert x.shape == (6, 11, 700)
        together = events.dataset(
            samples, 6, time=100_000, steps=11, start=0, polarity=False, remainder="keep"
        )
        x = next(iter(together))[0].numpy()
        for index, each in enumerate(recorded):
            assert x[index].sum() == len(each)
            np.testing.assert_array_equal(
                x[index].sum(axis=0), np.bincount(each["x"], minlength=700)
            )

    def test_transforms_of_tonic_take_synthetic_events(self):
        transforms = pytest.importorskip("tonic.transforms")
        recorded = events.saccades(np.random.default_rng(0).random((20, 20)), noise_rate=5, seed=0)
        assert recorded.dtype == events.DTYPE
        size = (27, 27, 2)
        for transform in (
            transforms.Denoise(filter_time=10_000),
            transforms.RandomFlipUD(size, p=1),
            transforms.RandomFlipPolarity(p=0.5),
            transforms.TimeJitter(std=10, clip_negative=True, sort_timestamps=True),
            transforms.DropEvent(p=0.3),
            transforms.MergePolarities(),
        ):
            changed = transform(recorded.copy())
            assert 0 < len(events.check(changed, (27, 27))) <= len(recorded)
            events.frames(changed, time=50_000, size=(27, 27))
