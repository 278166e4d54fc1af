"""TIMIT: read sentences with the times of their phones, from the layout of its disc.

    DIR/TRAIN/DR1/FCJF0/SX37.WAV    samples at 16 kHz, NIST SPHERE or RIFF
    DIR/TRAIN/DR1/FCJF0/SX37.PHN    a phone a line: first sample, sample after the last, name

61 kinds of phones are labelled; 48 are what is usually trained (Lee and Hon, 1989), and 39 what is
scored. Sentences SA, which all speakers read, are left out, as is usual.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

PARTS = ("TRAIN", "TEST")
RATE = 16000
SILENCE = "sil"

# Of the 61 phones those that become another one of the 48.
TO_48 = {
    "ax-h": "ax",
    "axr": "er",
    "hv": "hh",
    "em": "m",
    "eng": "ng",
    "nx": "n",
    "ux": "uw",
    "bcl": "vcl",
    "dcl": "vcl",
    "gcl": "vcl",
    "pcl": "cl",
    "tcl": "cl",
    "kcl": "cl",
    "h#": SILENCE,
    "pau": SILENCE,
    # The glottal stop is left out: the phones beside it take its time.
    "q": None,
}
# Of the 48 those that become another one of the 39.
TO_39 = {
    "cl": SILENCE,
    "vcl": SILENCE,
    "epi": SILENCE,
    "el": "l",
    "en": "n",
    "zh": "sh",
    "ao": "aa",
    "ix": "ih",
    "ax": "ah",
}


class Utterance(NamedTuple):
    """Samples in [-1, 1], (n,), their rate in Hz, and `(begin, end, name)` of each phone.

    Begin and end are in samples; the end belongs to the next phone.
    """

    samples: np.ndarray
    rate: int
    phones: list


def scored(phone):
    """The one of the 39 phones that one of the 61 or 48 is scored as, or `None`."""
    trained = TO_48.get(phone, phone)
    return TO_39.get(trained, trained)


def timit(data_dir):
    """The sentences of both parts without SA.

    Args:
        data_dir: Folder with the folders TRAIN and TEST, in capitals or not.

    Returns:
        `(training, test)`: dictionaries from `"SPEAKER/SENTENCE"` to `Utterance`, with the 48
        phones.

    Raises:
        FileNotFoundError: If there are no sentences.
        ValueError: If a file is of another format.
        ImportError: If soundfile is not installed.
    """
    return tuple(part(data_dir, name) for name in PARTS)


def part(data_dir, name):
    """The sentences of TRAIN or TEST."""
    advice = (
        "TIMIT is sold by the Linguistic Data Consortium (LDC93S1); name the folder of its disc "
        "that has TRAIN and TEST as the data folder, or use another source."
    )
    if data_dir is None:
        raise FileNotFoundError(f"There is no default folder of TIMIT. {advice}")
    labels = [
        path
        for path in sorted(Path(data_dir).rglob("*"))
        if path.suffix.upper() == ".PHN"
        # Below the folder of the data: what that is in may have the name of a part, too.
        and name in (parent.upper() for parent in path.relative_to(data_dir).parts[:-1])
        and not path.name.upper().startswith("SA")
    ]
    if not labels:
        raise FileNotFoundError(f"There is no .PHN in a folder {name} of {data_dir}. {advice}")
    return {f"{path.parent.name.upper()}/{path.stem.upper()}": utterance(path) for path in labels}


def utterance(labels):
    """The sentence whose phones are in a file .PHN, with the 48 phones."""
    named = [
        path
        for path in labels.parent.iterdir()
        if path.suffix.upper() == ".WAV" and path.stem.upper() == labels.stem.upper()
    ]
    if not named:
        raise FileNotFoundError(f"There is no .WAV beside {labels}. Copy the whole disc.")
    samples, rate = read_sound(named[0])
    phones, before = [], -1
    # A damaged file has lines that are refused: whatever its bytes are.
    for number, line in enumerate(labels.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not (words[0].isdecimal() and words[1].isdecimal()):
            raise ValueError(
                f"{labels}, line {number}: expected the first sample, the sample after the last "
                f"and a phone. Received: {line!r}"
            )
        begin, end = int(words[0]), int(words[1])
        if not before < begin < end:
            raise ValueError(
                f"{labels}, line {number}: a phone should begin after the one before it, and end "
                f"after it begins. Received: {line!r}"
            )
        before = begin
        phone = TO_48.get(words[2], words[2])
        if phone is None and phones:
            of_last, _, last = phones.pop()
            phones.append((of_last, end, last))
        elif phone is not None:
            phones.append((begin, end, phone))
    if not phones:
        raise ValueError(f"{labels} has no phones. Copy the disc again.")
    return Utterance(samples, rate, phones)


def read_sound(path):
    """Samples and rate of a sound file; soundfile reads NIST SPHERE, too."""
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(
            "Reading recordings needs soundfile: pip install 'keras-spiking-rnn[examples]'"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} cannot be read ({error}). It should be a NIST SPHERE file with samples of "
            "16 bits that are not compressed (sph2pipe decompresses shorten), or a RIFF file."
        ) from error
    return samples.mean(axis=1), rate
