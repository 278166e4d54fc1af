"""JapaneseVowels: nine speakers say two vowels; 12 cepstral coefficients of linear prediction."""

import importlib.util
import re
from pathlib import Path

import numpy as np

FILES = ("JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts")


def vowels(data_dir=None):
    """The recordings, with the split that they are published with (270 and 370).

    Args:
        data_dir: Folder with the two files of `FILES`; by default that of an installed aeon, which
            is not imported.

    Returns:
        `(x, y), (x_test, y_test)`: float32 of shape `(n, 29, 12)`, padded with 0 at the end, and
        int32 labels of the speakers, from 0 on.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is of another format.
    """
    if data_dir is None:
        package = importlib.util.find_spec("aeon")
        places = package.submodule_search_locations if package else []
        data_dir = next((Path(each) / "datasets/data/JapaneseVowels" for each in places), None)
    missing = [name for name in FILES if data_dir is None or not (Path(data_dir) / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"There is no {missing[0]} in {data_dir}. pip install aeon, which has it, or name the "
            "folder with both files of timeseriesclassification.com as the data folder."
        )
    both = [read_ts(Path(data_dir) / name) for name in FILES]
    longest = max(len(series) for part in both for series, _ in part)
    labels = sorted({label for part in both for _, label in part})
    return tuple(
        (
            padded([series for series, _ in part], longest),
            np.array([labels.index(label) for _, label in part], "int32"),
        )
        for part in both
    )


def read_ts(path):
    """The series in a file of the format ts: list of `((steps, features), label)`.

    After the line `@data` each line has the features, each with its values at all steps, and the
    label, with colons between them.
    """
    # What is not of UTF-8 is no number, and is refused as that.
    content = Path(path).read_text(encoding="utf-8", errors="replace")
    head, *body = re.split(r"(?im)^@data[ \t]*$", content, maxsplit=1)
    if not body:
        raise ValueError(f"{path} is not a ts file: it has no line @data. Fetch it again.")
    named = re.search(r"(?im)^@classLabel\s+true\s+(.+)$", head)
    series = []
    for number, line in enumerate(filter(None, body[0].splitlines()), 1):
        *features, label = map(str.strip, line.split(":"))
        place = f"{path}, series {number}"
        try:
            values = [np.array(each.split(","), "float32") for each in features]
        except ValueError as error:
            raise ValueError(f"{place}: not all values are numbers ({error}).") from error
        if len({len(each) for each in values}) != 1:
            raise ValueError(
                f"{place}: each feature should have as many values as the others. "
                f"Received {[len(each) for each in values]}. Fetch it again."
            )
        if series and len(values) != series[0][0].shape[1]:
            raise ValueError(
                f"{place}: {len(values)} features and a label, where the series before have "
                f"{series[0][0].shape[1]}. Fetch it again."
            )
        if named and label not in named[1].split():
            raise ValueError(
                f"{place}: the label should be one of {named[1].strip()}. Received: {label!r}. "
                "Fetch it again."
            )
        series.append((np.stack(values, axis=1), label))
    if not series:
        raise ValueError(f"{path} has no series after the line @data. Fetch it again.")
    return series


def padded(sequences, steps):
    """Sequences `(n_i, features)` of the same length, with zeros at the end, float32."""
    result = np.zeros((len(sequences), steps, sequences[0].shape[1]), "float32")
    for row, sequence in zip(result, sequences, strict=True):
        row[: len(sequence)] = sequence[:steps]
    return result
