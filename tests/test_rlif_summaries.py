"""Summaries, of paper 000: the loaders, the beam search, ROUGE, and the quick preset."""

import bz2
import gzip
import io
import itertools
import lzma
import re
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples import experiment
from examples.rlif import pairs, seq2seq, summaries, summarize

pytestmark = pytest.mark.xdist_group("rlif_summaries")  # one run for all

LIST = """\
Package: foo
Description-md5: d943033bedada21853d2ae54a2578a7b
Description-en: does foo and bar
 Foo is what it says,
 on two lines.
 .
 The second paragraph.

Package: libbar-dev
Description-md5: 26581e685027d5ae84824362a4ba59ee
Description-en: bar, to develop with
 Bar: it has a colon.

"""
LIST_ZH = """\
Package: foo
Description-md5: d943033bedada21853d2ae54a2578a7b
Description-zh_CN: 古代战争游戏
 一个自由、开源的
 古代战争游戏。

"""
PART_I = """\
<doc id=0>
    <summary>
        可穿戴技术十大设计原则
    </summary>
    <short_text>
        本文总结了十个可穿戴产品的设计原则
    </short_text>
</doc>
<doc id=1>
    <summary>
        第二
    </summary>
    <short_text>
        第二条
    </short_text>
</doc>
"""


def scored(*scores):
    """The text of PART II or III."""
    return "".join(
        f"<doc id={number}>\n    <human_label>{score}</human_label>\n    <summary>\n"
        f"        摘要{number}\n    </summary>\n    <short_text>\n        短文{number}\n"
        "    </short_text>\n</doc>\n"
        for number, score in enumerate(scores)
    )


class TestDebian:
    @pytest.mark.parametrize(
        ("suffix", "compress"),
        [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
    )
    def test_a_list_comes_back(self, tmp_path, suffix, compress):
        name = f"mirror.example_debian_dists_bookworm_main_i18n_Translation-en{suffix}"
        (tmp_path / name).write_bytes(compress(LIST.encode()))
        assert pairs.debian(tmp_path) == [
            pairs.Pair(
                "Foo is what it says,\non two lines.\n\nThe second paragraph.",
                "does foo and bar",
                "foo",
            ),
            pairs.Pair("Bar: it has a colon.", "bar, to develop with", "libbar-dev"),
        ]

    @pytest.mark.skipif(not Path(pairs.CAT_FILE[0]).exists(), reason="apt reads the file")
    def test_lz4_is_read_by_apt(self, tmp_path):
        # A frame of one block that is not compressed.
        content = LIST.encode()
        frame = b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", len(content) | 1 << 31)
        (tmp_path / "Translation-en.lz4").write_bytes(frame + content + bytes(4))
        assert len(pairs.debian(tmp_path)) == 2

    def test_a_language_is_escaped_in_the_names_of_files(self, tmp_path):
        (tmp_path / "main_i18n_Translation-en").write_text(LIST)
        (tmp_path / "main_i18n_Translation-zh%5fCN").write_text(LIST_ZH, encoding="utf-8")
        (pair,) = pairs.debian(tmp_path, "zh_CN")
        assert pair == ("一个自由、开源的\n古代战争游戏。", "古代战争游戏", "foo")

    def test_the_same_description_counts_once(self, tmp_path):
        (tmp_path / "a_Translation-en").write_text(LIST)
        (tmp_path / "b_Translation-en").write_text(LIST.replace("Package: foo", "Package: foo2"))
        assert len(pairs.debian(tmp_path)) == 2

    @pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".lz4"])
    def test_a_damaged_list_is_named(self, tmp_path, suffix):
        if suffix == ".lz4" and not Path(pairs.CAT_FILE[0]).exists():
            pytest.skip("apt reads the file")
        (tmp_path / f"Translation-en{suffix}").write_bytes(b"\xff\xfe no list")
        with pytest.raises(ValueError, match=f"Translation-en{suffix} cannot be read .* Fetch it"):
            pairs.debian(tmp_path)

    def test_a_list_that_is_cut_off_is_named(self, tmp_path):
        (tmp_path / "Translation-en.gz").write_bytes(gzip.compress(LIST.encode())[:-9])
        with pytest.raises(ValueError, match="Translation-en.gz cannot be read"):
            pairs.debian(tmp_path)

    def test_without_lists_it_says_how_to_fetch_them(self, tmp_path):
        expected = "apt-get -o Acquire::Languages=en -o Dir::State::Lists=DIR update"
        with pytest.raises(FileNotFoundError, match=expected):
            pairs.debian(tmp_path)


class TestLCSTS:
    @pytest.fixture
    def folder(self, tmp_path):
        texts = (PART_I, scored(5, 2, 3), scored(1, 4))
        for name, text in zip(pairs.LCSTS_PARTS, texts, strict=True):
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    def test_low_scores_are_left_out_of_what_has_scores(self, folder):
        parts = pairs.lcsts(folder)
        assert parts["train"][0] == (
            "本文总结了十个可穿戴产品的设计原则",
            "可穿戴技术十大设计原则",
            "",
        )
        assert [pair.summary for pair in parts["train"][1:]] == ["第二"]
        assert [pair.text for pair in parts["validation"]] == ["短文0", "短文2"]
        assert [pair.summary for pair in parts["test"]] == ["摘要1"]

    def test_a_part_without_scores_is_refused(self, folder):
        (folder / "PART_II.txt").write_text(PART_I, encoding="utf-8")
        with pytest.raises(ValueError, match="PART_II.txt should have .* after a <human_label>"):
            pairs.lcsts(folder)

    def test_a_document_without_end_does_not_take_the_next_one_with_it(self, folder):
        whole = scored(*[5] * 12)
        damaged = whole.replace("短文3\n    </short_text>\n</doc>\n", "短文3\n")
        (folder / "PART_II.txt").write_text(damaged, encoding="utf-8")
        with pytest.warns(UserWarning, match="PART_II.txt: 1 of 12 documents are not whole"):
            found = pairs.lcsts(folder)["validation"]
        assert [pair.text for pair in found] == [f"短文{i}" for i in range(12) if i != 3]
        (folder / "PART_II.txt").write_text(scored(5, 5)[:-10], encoding="utf-8")
        with pytest.raises(ValueError, match="It has 1 of those among 2. Fetch it again"):
            pairs.lcsts(folder)

    def test_another_encoding_is_named(self, folder):
        (folder / "PART_I.txt").write_bytes(PART_I.encode("gbk"))
        with pytest.raises(ValueError, match="PART_I.txt is not in UTF-8"):
            pairs.lcsts(folder)

    def test_a_missing_part_says_who_has_it(self, folder):
        (folder / "PART_III.txt").unlink()
        with pytest.raises(FileNotFoundError, match="PART_III.txt. LCSTS is given out by"):
            pairs.lcsts(folder)


class TestSplit:
    ALIKE = [
        pairs.Pair("the one library for many things it does", "one", "libone3"),
        pairs.Pair("development files of another sort", "two", "libone-dev"),  # the name
        pairs.Pair("the one library for many things, others too", "three", "x"),  # the beginning
        pairs.Pair("what is new", "One", "y"),  # the summary
        pairs.Pair(f"intro\n\n{'a long paragraph of words ' * 3}", "four", "z"),
        pairs.Pair(f"other\n\n{'a long paragraph of words ' * 3}", "five", "w"),  # a paragraph
    ]

    def test_families(self):
        found = pairs.families([*self.ALIKE, pairs.Pair("nothing of that", "six", "v")], "word")
        np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 1, 2])

    def test_no_family_is_in_two_parts(self):
        family = [
            [pairs.Pair(f"text {i} begins with these words {j}", f"{i} {j}") for j in range(3)]
            for i in range(60)
        ]
        given = list(itertools.chain(*family))
        parts = pairs.split(given, "word", held_out=10, per_family=2, seed=0)
        found = {part: {pair.text.split()[1] for pair in each} for part, each in parts.items()}
        assert [len(each) for each in parts.values()] == [100, 10, 10]
        assert sum(map(len, found.values())) == len(set.union(*found.values())) == 60
        assert parts == pairs.split(given, "word", 10, 2, seed=0)
        assert parts != pairs.split(given, "word", 10, 2, seed=1)


class TestVocabulary:
    TRAINING = [pairs.Pair("A server, a server.", "the server"), pairs.Pair("a", "the")]

    def test_the_most_frequent_tokens_have_numbers(self):
        size = pairs.Vocabulary.SYMBOLS_START + 3
        vocabulary = pairs.Vocabulary.of(self.TRAINING, "word", size)
        assert vocabulary.symbols == ["a", "server", "the"] and len(vocabulary) == size

    def test_unknown_tokens_of_the_source_can_be_copied(self):
        vocabulary = pairs.Vocabulary(["a", "the", "server"], "word")
        a, the, server = range(vocabulary.SYMBOLS_START, len(vocabulary))
        first, second = vocabulary.NAMES_START, vocabulary.NAMES_START + 1
        pair = pairs.Pair("Foo the bar foo", "a server foo baz bar")
        sources, made, (names,) = vocabulary.arrays([pair], 5, 6)
        assert sources.tolist() == [[first, the, second, first, 0]]
        assert made.tolist() == [[2, a, server, first, pairs.UNKNOWN, second, pairs.END, 0]]
        assert vocabulary.decode(made[0, 1:], names) == "a server foo <unknown> bar"

    def test_the_middle_of_long_texts_is_left_out(self):
        vocabulary = pairs.Vocabulary(list("abcdefghi"), "word")
        numbers, _ = vocabulary.source("a b c d e f g h i", 6)
        assert vocabulary.decode(numbers, []) == "a b c d h i"

    def test_characters_have_no_blanks(self):
        assert pairs.tokens("古代 A.D.\n", "character") == ["古", "代", "a", ".", "d", "."]
        vocabulary = pairs.Vocabulary(["古", "代"], "character")
        numbers, names = vocabulary.source("代 古 战", 5)
        assert vocabulary.decode(numbers, names) == "代古战"

    def test_summaries_that_are_too_long_have_no_end(self):
        vocabulary = pairs.Vocabulary(["a"], "word")
        _, made, _ = vocabulary.arrays([pairs.Pair("a", "a a a")], 2, 1)
        assert made.tolist() == [[pairs.START, *[vocabulary.SYMBOLS_START] * 2]]


class TestRouge:
    def test_f1_of_words(self):
        # Two of three and two of four words, one of two and one of three pairs.
        found = summaries.rouge(["The cat sat"], ["the cat is fat"], "word")
        assert found["R-1"] == pytest.approx(100 * 2 * 2 / 7)
        assert found["R-2"] == pytest.approx(100 * 2 * 1 / 5)
        assert found["R-L"] == pytest.approx(100 * 2 * 2 / 7)

    def test_f1_of_chinese_characters(self):
        # Of three and four characters two are common, one pair, and in order two.
        found = summaries.rouge(["古代战"], ["古代 的人"], "character")
        assert found["R-1"] == pytest.approx(100 * 2 * 2 / 7)
        assert found["R-2"] == pytest.approx(100 * 2 * 1 / 5)
        assert found["R-L"] == pytest.approx(100 * 2 * 2 / 7)

    def test_the_baseline_has_the_best_number_of_words_of_the_validation_part(self):
        part = [pairs.Pair("one two three four five", "one two three")]
        found = summaries.baseline({"validation": part, "test": part}, "word")
        assert (found["words"], found["R-1"]) == (3, pytest.approx(100))


class TestBeamSearch:
    """On networks of random numbers, whose state is what they have said so far."""

    VOCABULARY, START, END, LENGTH = 4, 2, 3, 4

    def step(self, seed):
        random = np.random.default_rng(seed)
        sequences = self.VOCABULARY ** (self.LENGTH + 1)
        table = tf.constant(random.normal(size=(2, sequences, self.VOCABULARY)), "float32")

        def step(latest, states):
            sample, said = states
            said = said * self.VOCABULARY + latest
            logits = tf.gather_nd(table, tf.stack([sample, said], axis=-1))
            return tf.nn.log_softmax(2 * logits), [sample, said]

        return step

    def search(self, step, beams, penalty):
        states = [tf.repeat(tf.range(2), beams), tf.zeros(2 * beams, tf.int32)]
        shape = (2, beams, self.LENGTH)
        search = tf.function(seq2seq.beam_search)
        found = search(step, states, shape, penalty, self.START, self.END)
        return [each.numpy() for each in found]

    def next(self, step, sample, sequence):
        """Logarithms of the probabilities of what follows a sequence, one step after another."""
        states = [tf.constant([sample]), tf.constant([0])]
        for token in (self.START, *sequence):
            logarithms, states = step(tf.constant([token]), states)
        return logarithms[0].numpy()

    def all(self, step, sample):
        """Every sequence with the sum of its logarithms."""
        open_, ended = [((), 0.0)], []
        for _ in range(self.LENGTH):
            longer = [
                ((*sequence, token), total + logarithm)
                for sequence, total in open_
                for token, logarithm in enumerate(self.next(step, sample, sequence))
            ]
            ended += [each for each in longer if each[0][-1] == self.END]
            open_ = [each for each in longer if each[0][-1] != self.END]
        return ended + open_

    def narrow(self, step, sample, beams):
        """The same for the best `beams` at each step only."""
        kept = [((), 0.0)]
        for _ in range(self.LENGTH):
            candidates = [each for each in kept if each[0] and each[0][-1] == self.END]
            for sequence, total in kept:
                if not sequence or sequence[-1] != self.END:
                    logarithms = self.next(step, sample, sequence)
                    candidates += [
                        ((*sequence, token), total + logarithms[token]) for token in range(4)
                    ]
            kept = sorted(candidates, key=lambda each: -each[1])[:beams]
        return kept

    def check(self, found, expected, penalty):
        ordered = sorted(((total / len(each) ** penalty, each) for each, total in expected))[::-1]
        sequences, scores = found
        for sequence, score, (of_expected, tokens) in zip(sequences, scores, ordered, strict=False):
            assert score == pytest.approx(of_expected, rel=1e-4)
            assert tuple(sequence[: len(tokens)]) == tokens
            assert all(sequence[len(tokens) :] == self.END)

    @pytest.mark.parametrize("penalty", [0.0, 1.0])
    def test_with_room_for_all_it_finds_the_best_of_all(self, penalty):
        step = self.step(0)
        sequences, scores = self.search(step, 130, penalty)  # 121 sequences
        for sample in range(2):
            every = self.all(step, sample)
            assert len(every) == 121
            assert np.isfinite(scores[sample]).sum() == 121
            self.check((sequences[sample][:20], scores[sample][:20]), every, penalty)

    @pytest.mark.parametrize("seed", [1, 2])
    def test_with_few_beams_it_keeps_the_best_at_each_step(self, seed):
        step = self.step(seed)
        sequences, scores = self.search(step, 3, 0.7)
        for sample in range(2):
            expected = self.narrow(step, sample, 3)
            self.check((sequences[sample], scores[sample]), expected, 0.7)


VOCABULARY = pairs.Vocabulary.SYMBOLS_START + 8


def network(decoder="LIFLSTM", prior="copy"):
    keras.utils.set_random_seed(0)
    # At this threshold a network that is not trained fires.
    model = seq2seq.Summarizer(VOCABULARY, 16, decoder, 2, 2, 0.0, 0.02, 0, prior)
    model((np.ones((1, 2), "int32"),) * 2)
    return model


class TestSummarizer:
    SOURCES = np.array([[17, 18, 5, 17, 0, 0], [20, 21, 22, 23, 4, 19]], "int32")

    @pytest.mark.parametrize(
        ("decoder", "prior"), [("LIFLSTM", "copy"), ("LSTM", "copy"), ("LIFLSTM", "presence")]
    )
    def test_the_search_goes_step_by_step_where_teacher_forcing_goes_at_once(self, decoder, prior):
        model = network(decoder, prior)
        sequences, scores = map(np.array, model.search(self.SOURCES, 3, 5, 0.0))
        may = np.array(seq2seq.writable(seq2seq.presence(self.SOURCES, VOCABULARY)))
        for beam in range(3):
            said = sequences[:, beam]
            given = np.concatenate([np.full((2, 1), pairs.START), said[:, :-1]], axis=1)
            logits = np.array(model((self.SOURCES, given.astype("int32"))), "float64")
            chances = np.exp(logits) * may[:, None]
            chances /= chances.sum(axis=-1, keepdims=True)
            of_said = np.take_along_axis(chances, said[..., None], axis=-1)[..., 0]
            before_end = np.cumprod(given != pairs.END, axis=1)
            expected = (np.log(of_said) * before_end).sum(axis=1)
            np.testing.assert_allclose(scores[:, beam], expected, rtol=1e-3)

    def test_padding_changes_nothing(self):
        model = network()
        summary = np.array([[pairs.START, 18, 17]], "int32")
        short = model((self.SOURCES[:1, :4], summary))
        np.testing.assert_allclose(model((self.SOURCES[:1], summary)), short, atol=1e-5)

    def test_what_follows_changes_nothing(self):
        model = network()
        one, other = np.full((2, 4), 18, "int32"), np.full((2, 4), 18, "int32")
        other[:, 2:] = 20
        logits = [np.array(model((self.SOURCES, each))) for each in (one, other)]
        np.testing.assert_allclose(logits[0][:, :2], logits[1][:, :2], atol=1e-6)
        assert np.abs(logits[0][:, 2:] - logits[1][:, 2:]).max() > 1e-4

    def test_presence_makes_tokens_of_the_source_likelier(self):
        expected = np.zeros((2, VOCABULARY))
        expected[0, [5, 17, 18]] = expected[1, [4, 19, 20, 21, 22, 23]] = 1
        np.testing.assert_array_equal(seq2seq.presence(self.SOURCES, VOCABULARY), expected)
        prior = network(prior="presence").prior
        logits = np.random.default_rng(0).normal(size=(2, 3, VOCABULARY)).astype("float32")
        prior.scale.assign(np.full(VOCABULARY, np.log(3)))
        prior.shift.assign(np.full(VOCABULARY, 0.5))
        made = prior(logits, None, None, self.SOURCES, None, None)
        np.testing.assert_allclose(made, (logits + 3 * expected[:, None] + 0.5) / 2, rtol=1e-5)

    def test_where_a_token_is_and_what_follows(self):
        now, follows = seq2seq.met(np.array([[17, 18, 17, 0]]), np.array([[pairs.START, 17]]))
        np.testing.assert_array_equal(now, [[[0, 0, 0, 0], [1, 0, 1, 0]]])
        np.testing.assert_array_equal(follows, [[[1, 0, 0, 0], [0, 1, 0, 1]]])

    def test_copying_adds_the_scores_of_the_places_of_a_token(self):
        prior, random = network().prior, np.random.default_rng(0)
        logits, features, memory, follows, said = (
            random.normal(size=shape).astype("float32")
            for shape in ((2, 3, VOCABULARY), (2, 3, 16), (2, 6, 16), (2, 3, 6), (2, 3, 6))
        )
        gates = features @ prior.gates.kernel.numpy() + prior.gates.bias.numpy()
        expected = np.exp(logits, dtype="float64")
        for sample, source in enumerate(self.SOURCES):
            for place in np.flatnonzero(source):
                key = memory[sample, place] @ prior.keys.kernel.numpy()
                given = [np.ones(3), follows[sample, :, place], said[sample, :, place]]
                score = features[sample] @ key / 4 + (gates[sample] * np.transpose(given)).sum(1)
                expected[sample, :, source[place]] += np.exp(score)
        expected /= expected.sum(axis=-1, keepdims=True)
        made = keras.ops.softmax(prior(logits, features, memory, self.SOURCES, follows, said))
        np.testing.assert_allclose(made, expected, rtol=1e-4)

    def test_at_first_the_source_has_half_and_is_read_in_its_order(self):
        zeros = [np.zeros((1, *shape), "float32") for shape in ((3, VOCABULARY), (3, 16), (4, 16))]
        source = np.array([[17, 18, 19, 20]], "int32")
        now, follows = seq2seq.met(source, np.array([[pairs.START, 17, 18]]))
        prior = seq2seq.CopyPrior()
        made = np.array(keras.ops.softmax(prior(*zeros, source, 0 * follows, 0 * now)))
        share = 0.5 + 0.5 * 4 / VOCABULARY  # the other half is evenly for all tokens
        np.testing.assert_allclose(made[..., 17:21].sum(axis=-1), share, rtol=1e-4)
        made = np.array(prior(*zeros, source, follows, now))
        np.testing.assert_array_equal(made.argmax(axis=-1), [[17, 18, 19]])

    def test_marks_and_names_that_there_are_not_cannot_be_written(self):
        may = np.array(seq2seq.writable(seq2seq.presence(self.SOURCES, VOCABULARY)))
        assert not may[:, [pairs.PADDING, pairs.UNKNOWN, pairs.START]].any()
        assert may[:, pairs.END].all() and may[:, pairs.Vocabulary.SYMBOLS_START :].all()
        names = range(pairs.Vocabulary.NAMES_START, pairs.Vocabulary.SYMBOLS_START)
        assert [[name for name in names if row[name]] for row in may] == [[5], [4]]

    def test_the_decoder_fires(self):
        rates = summaries.firing_rates(network(), np.full((2, 8), 18, "int32"))
        assert len(rates) == 2 and all(0 < rate < 1 for rate in rates)


class TestExperiment:
    @pytest.fixture(scope="class")
    @staticmethod
    def trained(tmp_path_factory):
        """Descriptions of 4 kinds of 8 things, each of two packages."""
        folder = tmp_path_factory.mktemp("summaries")
        random = np.random.default_rng(0)
        kinds = ["library", "game", "editor", "server"]
        subjects = ["sound", "mail", "chess", "maps", "text", "time", "fonts", "files"]
        stanzas = []
        for number in range(700):
            kind, subject = random.choice(kinds), random.choice(subjects)
            stanzas.append(
                f"Package: p{number}x\nDescription-md5: 0\nDescription-en: {kind} for {subject}\n"
                f" N{number} is a {kind} that {random.choice(['does', 'has', 'is for'])} {subject}."
                "\n\n"
            )
        # Without this all with the same summary would be of one family.
        text = "".join(
            stanza.replace(" for ", f" n{number} for ", 1) for number, stanza in enumerate(stanzas)
        )
        (folder / "main_Translation-en").write_text(text)
        summaries.main(
            ["--preset", "quick", "--data-dir", str(folder), "--output", str(folder / "out")]
            + ["--results", str(folder / "r")]
        )
        (record,) = experiment.load(folder / "r").values()
        return folder, record

    def test_both_learn_more_than_the_first_words(self, trained):
        _, record = trained
        numbers = record["numbers"]
        for decoder in seq2seq.DECODERS:
            assert numbers[decoder]["R-1"] > numbers["first"]["R-1"]
            perplexities = numbers[decoder]["validation_perplexity"]
            assert perplexities[-1] < perplexities[0]
        assert all(rate > 0 for rate in numbers["LIFLSTM"]["spikes_per_unit_and_step"])
        leaks_and_biases = 2 * record["config"]["blocks"] * record["config"]["units"]
        parameters = [numbers[decoder]["parameters"] for decoder in ("LIFLSTM", "LSTM")]
        assert parameters[0] - parameters[1] == leaks_and_biases

    def test_the_row_has_what_was_measured(self, trained):
        _, record = trained
        (row,) = record["rows"]
        assert row["paper"] == "000"
        assert row["ours"].startswith(f"{record['numbers']['LIFLSTM']['R-1']:.2f} / ")
        assert record["command"].endswith("--preset quick --seed 0 --data-dir DIR")
        example = record["numbers"]["examples"][0]
        assert {"source", "reference", "LIFLSTM", "LSTM"} == set(example)

    def test_a_text_from_standard_input(self, trained, monkeypatch, capsys):
        folder, record = trained
        example = record["numbers"]["examples"][0]
        monkeypatch.setattr("sys.stdin", io.StringIO(example["source"]))
        summarize.main(["--checkpoints", str(folder / "out" / "debian-en-quick-0")])
        assert capsys.readouterr().out.strip() == example["LIFLSTM"]

    @pytest.mark.parametrize(
        ("content", "errors", "expected"),
        [
            (b" \n", "strict", "no text on standard input"),
            (b"caf\xe9", "strict", "not in UTF-8"),
            # As Python reads it where no locale is set.
            (b"caf\xe9", "surrogateescape", "not in UTF-8"),
        ],
    )
    def test_what_is_no_text_is_refused(
        self, trained, monkeypatch, capsys, content, errors, expected
    ):
        folder, _ = trained
        given = io.TextIOWrapper(io.BytesIO(content), "utf-8", errors)
        monkeypatch.setattr("sys.stdin", given)
        with pytest.raises(SystemExit):
            summarize.main(["--checkpoints", str(folder / "out" / "debian-en-quick-0")])
        assert re.search(expected, capsys.readouterr().err)

    def test_too_few_texts_are_named(self, tmp_path):
        (tmp_path / "Translation-en").write_text(LIST)
        with pytest.raises(ValueError, match="too few texts with summaries .*0 for validation"):
            summaries.main(["--data-dir", str(tmp_path), "--output", str(tmp_path)])

    @pytest.mark.parametrize("option", ["--train", "--epochs"])
    def test_nothing_to_train_is_refused(self, option, capsys):
        with pytest.raises(SystemExit):
            summaries.main([option, "0"])
        assert "must be an integer of at least 1" in capsys.readouterr().err

    def test_without_a_trained_network_it_says_how_to_train_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Train it first: python -m examples.rlif"):
            summarize.main(["--checkpoints", str(tmp_path)])
