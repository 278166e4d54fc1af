"""Loaders and features of speech, on small files in the true formats."""

import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tensorflow_datasets as tfds

from examples.inherent_recurrence import features, speech, synthetic, table, timit, vowels

HEAD = "#made by a test\n@problemName JapaneseVowels\n@classLabel true 1 2\n@data\n"


def write_sphere(path, samples):
    """A NIST SPHERE file: 1024 bytes of text, then samples of 16 bits."""
    head = (
        "NIST_1A\n   1024\nchannel_count -i 1\n"
        f"sample_count -i {len(samples)}\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
        "sample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    )
    path.write_bytes(head.encode().ljust(1024) + samples.astype("<i2").tobytes())


@pytest.fixture
def disc(tmp_path):
    """A disc with a sentence in each part, and one that all speakers read."""
    samples = np.arange(-1600, 1600)
    for part, speaker in (("TRAIN", "FCJF0"), ("TEST", "MDAB0")):
        folder = tmp_path / part / "DR1" / speaker
        folder.mkdir(parents=True)
        for sentence in ("SA1", "SX37"):
            write_sphere(folder / f"{sentence}.WAV", samples)
            (folder / f"{sentence}.PHN").write_text(
                "0 800 h#\n800 1600 ux\n1600 2000 q\n2000 2400 tcl\n2400 3200 zh\n"
            )
    return tmp_path


class TestTimit:
    def test_sentences_come_back_with_their_phones(self, disc):
        training, test = timit.timit(disc)
        assert (list(training), list(test)) == (["FCJF0/SX37"], ["MDAB0/SX37"])
        sentence = training["FCJF0/SX37"]
        assert sentence.rate == 16000
        np.testing.assert_array_equal(sentence.samples * 2**15, np.arange(-1600, 1600))
        # 61 phones to 48; the glottal stop's time goes to the phone before it.
        expected = [(0, 800, "sil"), (800, 2000, "uw"), (2000, 2400, "cl"), (2400, 3200, "zh")]
        assert sentence.phones == expected
        assert [timit.scored(name) for _, _, name in expected] == ["sil", "uw", "sil", "sh"]

    def test_61_phones_are_48_and_39(self):
        # Lee and Hon (1989), table I.
        phones = (
            "iy ih eh ae ix ax ah ax-h uw ux uh ao aa ey ay oy aw ow l el r y w er axr m em n nx "
            "en ng eng ch jh dh b d dx g p t k z zh v f th s sh hh hv pcl tcl kcl q bcl dcl gcl "
            "epi h# pau"
        ).split()
        assert len(set(phones)) == 61
        trained = {timit.TO_48.get(phone, phone) for phone in phones} - {None}
        assert len(trained) == 48
        assert len({timit.scored(phone) for phone in phones} - {None}) == 39

    def test_riff_and_small_letters_are_read_too(self, disc):
        folder = disc / "TRAIN" / "DR1" / "FCJF0"
        (folder / "SX37.WAV").unlink()
        soundfile.write(folder / "sx37.wav", np.full(3200, 0.5), 16000, subtype="PCM_16")
        (sentence,) = timit.timit(disc)[0].values()
        np.testing.assert_array_equal(sentence.samples, np.full(3200, 0.5, "float32"))

    @pytest.mark.parametrize("above", ["test", "Train"])
    def test_a_folder_above_may_have_the_name_of_a_part(self, disc, above):
        moved = disc / above / "timit"
        moved.mkdir(parents=True)
        for part in timit.PARTS:
            (disc / part).rename(moved / part)
        training, test = timit.timit(moved)
        assert (list(training), list(test)) == (["FCJF0/SX37"], ["MDAB0/SX37"])

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "SX37.PHN has no phones"),
            (b"0 1600 q\n", "SX37.PHN has no phones"),
            (b"800 1600 iy\n0 800 h#\n", "line 2: a phone should begin after the one before"),
            (b"800 800 iy\n", "line 1: a phone should begin .* Received: '800 800 iy'"),
            (b"0 800 h#\n\xff\xfe\n", "line 2: expected the first sample"),
        ],
    )
    def test_damaged_phones_are_refused(self, disc, content, expected):
        (disc / "TRAIN" / "DR1" / "FCJF0" / "SX37.PHN").write_bytes(content)
        with pytest.raises(ValueError, match=expected):
            timit.timit(disc)

    def test_some_of_the_sentences_are_not_those_of_the_first_dialect(self, monkeypatch):
        names = [f"DR{dialect}/{number:02}" for dialect in range(1, 9) for number in range(20)]
        parts = tuple(dict.fromkeys(names, part) for part in timit.PARTS)
        monkeypatch.setattr(timit, "timit", lambda data_dir: parts)

        def chosen(seed):
            return speech.phones_of("timit", None, {"train": 40, "test": None}, seed)

        training, test = chosen(0)
        assert len(training) == 40 and len({name[:3] for name in training}) > 4
        assert set(test) == set(names)
        assert training == chosen(0)[0] != chosen(1)[0]

    def test_what_is_missing_or_wrong_is_named(self, disc, tmp_path):
        with pytest.raises(FileNotFoundError, match="no .PHN in a folder TRAIN .*LDC93S1"):
            timit.timit(tmp_path / "TEST")
        with pytest.raises(FileNotFoundError, match="no default folder of TIMIT"):
            timit.timit(None)
        folder = disc / "TRAIN" / "DR1" / "FCJF0"
        (folder / "SX37.PHN").write_text("0 h#\n")
        with pytest.raises(ValueError, match="SX37.PHN, line 1: expected .*'0 h#'"):
            timit.timit(disc)
        (folder / "SX37.WAV").write_bytes(b"no sound")
        with pytest.raises(ValueError, match="SX37.WAV cannot be read"):
            timit.timit(disc)
        (folder / "SX37.WAV").unlink()
        with pytest.raises(FileNotFoundError, match="no .WAV beside .*SX37.PHN"):
            timit.timit(disc)


class TestVowels:
    @pytest.fixture
    def folder(self, tmp_path):
        for name, lines in zip(
            vowels.FILES, ("1,2,3:4,5,6:2\n7:8:1\n", "0.5,1:2,3:2\n"), strict=True
        ):
            (tmp_path / name).write_text(HEAD + lines)
        return tmp_path

    def test_series_are_padded_to_the_longest(self, folder):
        (x, y), (x_test, y_test) = vowels.vowels(folder)
        assert (x.shape, x.dtype, x_test.shape) == ((2, 3, 2), "float32", (1, 3, 2))
        assert x[0].tolist() == [[1, 4], [2, 5], [3, 6]]
        assert x[1].tolist() == [[7, 8], [0, 0], [0, 0]]
        assert x_test[0].tolist() == [[0.5, 2], [1, 3], [0, 0]]
        assert (y.tolist(), y_test.tolist()) == ([1, 0], [1])

    def test_an_installed_aeon_has_them(self, folder, tmp_path, monkeypatch):
        inside = tmp_path / "site" / "aeon" / "datasets" / "data"
        inside.mkdir(parents=True)
        # Importing it would fail.
        (tmp_path / "site" / "aeon" / "__init__.py").write_text("raise RuntimeError")
        (inside / "JapaneseVowels").symlink_to(folder)
        monkeypatch.syspath_prepend(tmp_path / "site")
        assert len(vowels.vowels()[0][0]) == 2

    def test_there_are_no_sources_of_them(self, folder):
        with pytest.raises(ValueError, match="has no sources: leave out source='tfds'"):
            table.parts_of("vowels", "tfds", folder)

    def test_what_is_missing_or_wrong_is_named(self, folder):
        (folder / vowels.FILES[1]).write_text(HEAD + "1,2:3:1\n")
        with pytest.raises(ValueError, match=r"TEST.ts, series 1: .*Received \[2, 1\]"):
            vowels.vowels(folder)
        for line, expected in (
            ("1,2:3,?:1", "series 1: not all values are numbers .*'?'"),
            ("1,2:3,\ufffd:1", "series 1: not all values are numbers"),
            ("1,2:3,4:1\n1,2:1", "series 2: 1 features and a label, where .* have 2"),
            ("1,2:3,4:3", "series 1: the label should be one of 1 2. Received: '3'"),
            ("", "TEST.ts has no series after the line @data"),
        ):
            (folder / vowels.FILES[1]).write_text(f"{HEAD}{line}\n", encoding="utf-8")
            with pytest.raises(ValueError, match=expected):
                vowels.vowels(folder)
        (folder / vowels.FILES[1]).write_text("<html>")
        with pytest.raises(ValueError, match="TEST.ts is not a ts file"):
            vowels.vowels(folder)
        (folder / vowels.FILES[1]).unlink()
        with pytest.raises(FileNotFoundError, match="no JapaneseVowels_TEST.ts .*pip install aeon"):
            vowels.vowels(folder)


class TestSynthetic:
    @pytest.fixture(scope="class")
    def spoken(self):
        try:
            found, rate = synthetic.library()
        except FileNotFoundError as error:
            pytest.skip(str(error))
        return synthetic.say(found, rate, "see more", "m3", 150, 50)

    def test_phones_have_the_times_of_their_sounds(self, spoken):
        names = [name for _, _, name in spoken.phones if name != timit.SILENCE]
        assert names == ["s", "i:", "m", "o@"]

        def crossings(begin, end):
            signs = np.sign(spoken.samples[begin:end])
            return np.mean(signs[1:] != signs[:-1])

        # A hiss changes its sign far more often than a voice.
        rate = {name: crossings(begin, end) for begin, end, name in spoken.phones}
        assert rate["s"] > 3 * max(rate["i:"], rate["m"])
        (end_of_s,) = [end for _, end, name in spoken.phones if name == "s"]
        near = round(0.03 * spoken.rate)
        before, after = (crossings(end_of_s + at, end_of_s + at + near) for at in (-near, 0))
        assert before > 2 * after

    def test_phones_cover_the_samples(self, spoken):
        begins, ends, _ = zip(*spoken.phones, strict=True)
        assert begins[1:] == ends[:-1]
        assert begins[0] < 0.03 * spoken.rate
        assert ends[-1] == len(spoken.samples)

    def test_sentences_depend_on_the_seed_and_voices_on_the_part(self, spoken):
        training, test = synthetic.synthetic(2, 1, seed=3)
        again, _ = synthetic.synthetic(2, 1, seed=3)
        assert list(training) == ["m1/0", "m2/1"] and list(test) == ["m6/0"]
        for key, each in training.items():
            names = [[name for _, _, name in found[key].phones] for found in (training, again)]
            assert names[0] == names[1]
            # The library keeps some state from one sentence to the next.
            assert abs(len(each.samples) - len(again[key].samples)) < 0.01 * each.rate

    def test_without_the_library_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(synthetic.ctypes.util, "find_library", lambda name: None)
        with pytest.raises(FileNotFoundError, match="apt-get install espeak-ng"):
            synthetic.library()


class TestFeatures:
    @pytest.mark.parametrize("kind, count", [("mfcc", 13), ("mel", 20)])
    def test_frames_and_derivatives(self, kind, count):
        tone = np.sin(2 * np.pi * 500 * np.arange(8000) / 8000)
        found = features.features(tone, 8000, kind, count)
        assert (found.shape, found.dtype) == ((101, 3 * count), "float32")
        assert features.features(tone, 8000, kind).shape[1] == 3 * features.KINDS[kind]
        # A steady tone does not change.
        np.testing.assert_allclose(found[10:-10, count:], 0, atol=0.3)
        if kind == "mel":
            loudest = found[50, :count].argmax()
            quieter = features.features(tone / 10, 8000, kind, count)[50]
            assert 20 - (found[50] - quieter)[loudest] == pytest.approx(0, abs=0.1)  # decibels

    def test_unknown_kinds_are_refused(self):
        with pytest.raises(ValueError, match="`kind` must be one of mfcc, mel. Received: 'lpc'"):
            features.features(np.zeros(100), 8000, "lpc")

    def test_a_frame_has_the_phone_of_its_middle(self):
        phones = [(0, 250, "a"), (250, 300, "b"), (300, 600, "a")]
        utterance = timit.Utterance(np.zeros(600), 10000, phones)
        # Frames are at the samples 0, 100, ... 600.
        labels = features.frame_labels(utterance, 7, ["a", "b"])
        assert labels.tolist() == [0, 0, 0, 0, 0, 0, 0]
        phones[1] = (250, 300, "a")
        phones[2] = (300, 600, "b")
        assert features.frame_labels(utterance, 7, ["a", "b"]).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_librispeech_is_read_as_tensorflow_datasets_keeps_it(tmp_path):
    known = tfds.builder("librispeech", data_dir=tmp_path)

    def part(number):
        samples = [np.full(1600 + 160 * index, 2**13, "int16") for index in range(number)]
        return [
            {"speech": each, "text": f"word {index}", "id": "", "speaker_id": 1, "chapter_id": 1}
            for index, each in enumerate(samples)
        ]

    def dataset(number):
        signature = {
            "speech": tf.TensorSpec((None,), tf.int16),
            "text": tf.TensorSpec((), tf.string),
            "id": tf.TensorSpec((), tf.string),
            "speaker_id": tf.TensorSpec((), tf.int64),
            "chapter_id": tf.TensorSpec((), tf.int64),
        }
        return tf.data.Dataset.from_generator(lambda: part(number), output_signature=signature)

    tfds.dataset_builders.store_as_tfds_dataset(
        name="librispeech",
        config="default",
        version=str(known.version),
        features=known.info.features,
        split_datasets={name: dataset(3) for name in speech.LIBRISPEECH.values()},
        data_dir=tmp_path,
    )
    assert known.data_path.is_dir()
    training, test = speech.librispeech(tmp_path, None, 2, "mel")
    assert (len(training), len(test)) == (3, 2)
    assert sorted(text for _, text in training) == ["WORD 0", "WORD 1", "WORD 2"]
    assert sorted(len(x) for x, _ in training) == [11, 12, 13]
    (x, _), *_ = training
    assert x.shape[1] == 3 * 40


def test_without_jiwer_nothing_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ImportError, match="need jiwer: pip install"):
        speech.main(["--preset", "quick"])


@pytest.mark.parametrize("rate", ["0", "-0.1", "nan", "inf", "much"])
@pytest.mark.parametrize("module", [speech, table])
def test_a_learning_rate_is_above_0(module, rate, capsys):
    with pytest.raises(SystemExit):
        module.main(["--rates", "0.1", rate])
    assert f"must be a number above 0, not {rate!r}" in capsys.readouterr().err


def test_phone_error_rate_is_that_of_39_phones_without_repetitions():
    utterance = timit.Utterance(
        np.zeros(4), 16000, [(0, 1, "sil"), (1, 2, "ix"), (2, 3, "zh"), (3, 4, "cl")]
    )
    right = ["sil", "sil", "ih", "ix", "sh", "zh", "zh", "vcl"]
    assert speech.phone_error_rate([utterance], [right]) == 0
    # One of four is another one, one is left out, and one is too many.
    wrong = ["sil", "iy", "iy", "cl", "t"]
    assert speech.phone_error_rate([utterance], [wrong]) == 3 / 4


def test_pieces_have_all_frames_once():
    sequences = [np.arange(1, 6)[:, None], np.arange(6, 8)[:, None]]
    x, y, weights = speech.in_pieces(sequences, [np.arange(5), np.arange(2)], 3)
    assert x[..., 0].tolist() == [[1, 2, 3], [4, 5, 0], [6, 7, 0]]
    assert y.tolist() == [[0, 1, 2], [3, 4, 0], [0, 1, 0]]
    assert weights.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0]]
