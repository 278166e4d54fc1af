"""Pairs of a text and its summary: LCSTS, and Debian's descriptions of its packages.

A Debian package has a description of several paragraphs and a title of one line, which tells what
the description says. Packages of one family, such as a library and its development files, have
almost the same: a family is in one part of the data only.
"""

import bz2
import gzip
import itertools
import lzma
import re
import subprocess
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from examples import data

LEVELS = ("word", "character")
# Where apt has its lists, and what it reads those with that Python cannot.
LISTS = Path("/var/lib/apt/lists")
CAT_FILE = ("/usr/lib/apt/apt-helper", "cat-file")
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGED = (zlib.error, lzma.LZMAError, subprocess.CalledProcessError)
STANZA = re.compile(
    r"^Package: (?P<package>\S+)\n(?:.+\n)*?"
    r"Description-(?!md5:)[\w-]+: (?P<title>.*)\n(?P<body>(?: .*\n)*)",
    re.MULTILINE,
)
LCSTS_PARTS = ("PART_I.txt", "PART_II.txt", "PART_III.txt")
LCSTS_SCORE = 3  # pairs with less are left out of the parts that have scores
MAY_BE_DAMAGED = 0.1  # of the documents of a part, which are left out
DOCUMENT = re.compile(  # of what follows "<doc "
    r"id=[^>]*>\s*(?:<human_label>\s*(?P<score>\d)\s*</human_label>\s*)?"
    r"<summary>(?P<summary>.*?)</summary>\s*<short_text>(?P<text>.*?)</short_text>\s*</doc>\s*",
    re.DOTALL,
)
# What the names of the packages of one source begin and end with.
LIBRARY = re.compile(r"^lib(?=.)")
ROLE = re.compile(
    r"(-(dev|dbg|docs?|data|common|bin|utils|tools|perl|java|examples|tests?|plugins?|source|"
    r"headers|static|runtime|core|base|extra|modules?|all))+$"
)
VERSION = re.compile(r"(?<=[a-z+])[\d.]+(-\d+)*(t64)?$")
# Families begin with as many words; a paragraph is one's own if it is as long and as rare.
FAMILY_WORDS, PARAGRAPH_WORDS, PARAGRAPH_PACKAGES = 6, 10, 30
PADDING, UNKNOWN, START, END = range(4)
NAMES = 12  # different unknown tokens of a source that have a number


class Pair(NamedTuple):
    """A text and its summary; `package` is the name of a Debian package, else empty."""

    text: str
    summary: str
    package: str = ""


def read_list(path):
    """The text of one of apt's lists, plain or compressed.

    Raises:
        FileNotFoundError: If apt is needed to read it and is not there.
        ValueError: If it is damaged.
    """
    path = Path(path)
    by_apt = path.suffix in (".lz4", ".zst")
    if by_apt and not Path(CAT_FILE[0]).exists():
        raise FileNotFoundError(
            f"{path} is compressed as {path.suffix}, which {CAT_FILE[0]} reads; it is part of apt, "
            "on Debian. Decompress it, and name its folder as the data folder."
        )
    try:
        if by_apt:
            said = subprocess.run([*CAT_FILE, path], check=True, capture_output=True)
            return said.stdout.decode()
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            return file.read().decode()
    except (OSError, EOFError, ValueError, *DAMAGED) as error:
        raise ValueError(f"{path} cannot be read ({error}). Fetch it again.") from error


def debian(data_dir=None, language="en"):
    """Debian's descriptions: a list of `Pair`, each text and summary once, in the order of files.

    Args:
        data_dir: A folder that has lists `*Translation-en`, plain or with the suffix `.gz`, `.bz2`,
            `.xz`, `.lz4` or `.zst`; by default apt's own.
        language: Such as `"en"` or `"zh_CN"`.

    Raises:
        FileNotFoundError: If there is no such list, or no description in it.
    """
    folder = LISTS if data_dir is None else Path(data_dir)
    name = re.compile(rf"(.*_)?Translation-{language}(\.(gz|bz2|xz|lz4|zst))?")
    paths = [path for path in sorted(folder.glob("*")) if name.fullmatch(unquote(path.name))]
    found = {}
    for path in paths:
        for stanza in STANZA.finditer(read_list(path)):
            title, lines = stanza["title"].strip(), stanza["body"].splitlines()
            # A line with a dot alone is between paragraphs.
            body = "\n".join("" if line == " ." else line.strip() for line in lines).strip()
            if title and body:
                found.setdefault((body, title), Pair(body, title, stanza["package"]))
    if not found:
        raise FileNotFoundError(
            f"No description in {language} in {folder}: there must be a file Translation-"
            f"{language}. Fetch it into a folder DIR of your own, which leaves the system as it is "
            f"(apt-get -o Acquire::Languages={language} -o Dir::State::Lists=DIR update), and name "
            "DIR as the data folder."
        )
    return list(found.values())


def lcsts(data_dir):
    """The parts of LCSTS: a dictionary from `"train"`, `"validation"` and `"test"` to lists.

    They are PART I, and the pairs of PART II and III whose scores are at least 3, as in the paper.

    Args:
        data_dir: The folder `DATA` of LCSTS.

    Raises:
        FileNotFoundError: If a part is not there.
        ValueError: If a file has no pair, or no scores where it should.
    """
    missing = [name for name in LCSTS_PARTS if data_dir and not (Path(data_dir) / name).exists()]
    if data_dir is None or missing:
        raise FileNotFoundError(
            f"The data folder must have {', '.join(LCSTS_PARTS)}. LCSTS is given out by "
            "its authors (Harbin Institute of Technology, Shenzhen), who are to be asked. "
            f"Received: {data_dir}."
        )
    parts = {}
    for part, name in zip(("train", "validation", "test"), LCSTS_PARTS, strict=True):
        path, scored = Path(data_dir) / name, part != "train"
        begun = data.read_text(path).split("<doc ")[1:]
        matches = map(DOCUMENT.fullmatch, begun)
        documents = [each for each in matches if each and not (scored and each["score"] is None)]
        if len(documents) < (1 - MAY_BE_DAMAGED) * len(begun) or not documents:
            raise ValueError(
                f"{path} should have <doc id=...> with <summary> and <short_text>"
                f"{' after a <human_label>' if scored else ''} in it. It has {len(documents)} "
                f"of those among {len(begun)}. Fetch it again."
            )
        if len(documents) < len(begun):
            warnings.warn(
                f"{path}: {len(begun) - len(documents)} of {len(begun)} documents are not whole, "
                "and left out. The file may be damaged.",
                stacklevel=2,
            )
        parts[part] = [
            Pair(each["text"].strip(), each["summary"].strip())
            for each in documents
            if not scored or int(each["score"]) >= LCSTS_SCORE
        ]
    return parts


def tokens(text, level):
    """Words and punctuation marks in small letters, or characters without blanks."""
    text = text.lower()
    return re.findall(r"\w+|[^\w\s]", text) if level == "word" else re.findall(r"\S", text)


def families(pairs, level):
    """The family of each pair, an array (n,) of integers.

    Of one family are, and whatever is of one family with either: pairs with the same summary, with
    texts that begin with the same words, with a long paragraph in common, or of packages whose
    names differ by what is of a kind or version, such as `libfoo2` and `libfoo-dev`.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    begins = FAMILY_WORDS if level == "word" else 3 * FAMILY_WORDS
    shared, often = {}, {}  # what makes a family by itself; what does if it is rare
    for number, (text, summary, package) in enumerate(pairs):
        paragraphs = [tuple(tokens(each, level)) for each in text.split("\n\n")]
        beginning = tuple(itertools.islice(itertools.chain(*paragraphs), begins))
        shared.setdefault(("begins", beginning), []).append(number)
        shared.setdefault(("summary", *tokens(summary, level)), []).append(number)
        for paragraph in paragraphs:
            if len(paragraph) >= PARAGRAPH_WORDS:
                often.setdefault(paragraph, []).append(number)
        if package:
            name = VERSION.sub("", ROLE.sub("", LIBRARY.sub("", package)))
            often.setdefault(name, []).append(number)
    rare = [each for each in often.values() if len(each) <= PARAGRAPH_PACKAGES]
    edges = [(each[0], other) for each in (*shared.values(), *rare) for other in each[1:]]
    ends = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(ends.shape[1], bool), ends), (len(pairs), len(pairs)))
    return connected_components(graph, directed=False)[1]


def split(pairs, level, held_out, per_family, seed):
    """Training, validation and test pairs, no family in two of them.

    Args:
        pairs: List of `Pair`.
        level: One of `LEVELS`.
        held_out: Number of pairs in validation and test part, about.
        per_family: How many pairs of a family to keep at most.
        seed: Seed of what is where and which are kept.

    Returns:
        A dictionary from `"train"`, `"validation"` and `"test"` to lists of `Pair`.
    """
    random = np.random.default_rng(seed)
    kept = {}
    of_pair = families(pairs, level)
    for number in random.permutation(len(pairs)):
        kept.setdefault(of_pair[number], []).append(number)
    chosen = [family[:per_family] for family in kept.values()]
    ends = np.cumsum([len(family) for family in chosen])
    first, second = np.searchsorted(ends, [held_out, 2 * held_out], side="left") + 1
    parts = {"test": chosen[:first], "validation": chosen[first:second], "train": chosen[second:]}
    return {
        part: [pairs[number] for number in itertools.chain(*parts[part])]
        for part in ("train", "validation", "test")
    }


class Vocabulary:
    """Tokens as numbers: four of its own, `NAMES` for the unknown tokens of a source, the rest.

    The first unknown token of a source is `NAMES_START`, the second different one the number after
    it and so on, in the summary too: a network can copy what it has never seen.

    Args:
        symbols: List of tokens; their numbers begin with `SYMBOLS_START`.
        level: One of `LEVELS`.
    """

    NAMES_START = END + 1
    SYMBOLS_START = NAMES_START + NAMES

    def __init__(self, symbols, level):
        self.symbols, self.level = list(symbols), level
        self.numbers = {each: self.SYMBOLS_START + i for i, each in enumerate(self.symbols)}

    def __len__(self):
        return self.SYMBOLS_START + len(self.symbols)

    @classmethod
    def of(cls, pairs, level, size):
        """The most frequent tokens of pairs, `size` numbers in all at most."""
        counts = Counter(
            each for pair in pairs for text in pair[:2] for each in tokens(text, level)
        )
        ordered = sorted(counts, key=lambda each: (-counts[each], each))
        return cls(ordered[: size - cls.SYMBOLS_START], level)

    def source(self, text, length):
        """The numbers of a text, at most `length`, and its unknown tokens that have numbers.

        Of a longer text the middle is left out: the end of a description often tells which of
        several packages it is.
        """
        found = tokens(text, self.level)
        if len(found) > length:
            found = found[: length - length // 3] + found[-(length // 3) :]
        names = list(dict.fromkeys(each for each in found if each not in self.numbers))[:NAMES]
        return self.encode(found, names), names

    def encode(self, found, names):
        """The numbers of tokens."""
        of_names = {name: self.NAMES_START + i for i, name in enumerate(names)}
        return [self.numbers.get(each, of_names.get(each, UNKNOWN)) for each in found]

    def decode(self, numbers, names):
        """The text of numbers up to `END`."""
        numbers = list(itertools.takewhile(lambda number: number != END, numbers))
        known = {self.NAMES_START + i: name for i, name in enumerate(names)}
        of_numbers = [
            self.symbols[each - self.SYMBOLS_START]
            if each >= self.SYMBOLS_START
            else known.get(each, "<unknown>")
            for each in numbers
        ]
        if self.level == "character":
            return "".join(of_numbers)
        return re.sub(r" ([,.;:!?)/'-])", r"\1", re.sub(r"([(/'-]) ", r"\1", " ".join(of_numbers)))

    def arrays(self, pairs, text_length, summary_length):
        """Pairs as numbers, filled up with `PADDING`.

        Returns:
            `(sources, summaries, names)`: int32 arrays (n, text_length) and
            (n, summary_length + 2), the latter from `START` to `END`, and a list of the unknown
            tokens of each source. Summaries that are longer are cut off, without an `END`.
        """
        sources = np.full((len(pairs), text_length), PADDING, "int32")
        summaries = np.full((len(pairs), summary_length + 2), PADDING, "int32")
        names = []
        for number, pair in enumerate(pairs):
            source, unknown = self.source(pair.text, text_length)
            summary = self.encode(tokens(pair.summary, self.level), unknown)
            summary = [START, *summary, END][: summary_length + 2]
            sources[number, : len(source)] = source
            summaries[number, : len(summary)] = summary
            names.append(unknown)
        return sources, summaries, names
