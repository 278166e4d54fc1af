"""Acoustic features of speech, by librosa, and what a frame of them is labelled with."""

import numpy as np

# Coefficients or bands of each kind, if nothing else is said.
KINDS = {"mfcc": 13, "mel": 40}
# The paper's windows: 25 ms, every 10 ms.
WINDOW, HOP = 25e-3, 10e-3


def features(samples, rate, kind="mfcc", count=None, deltas=2, hop=HOP):
    """MFCC or logarithms of a mel spectrogram, and their derivatives in time.

    Args:
        samples: Array `(n,)`.
        rate: Samples a second.
        kind: `"mfcc"` or `"mel"`.
        count: How many coefficients, or bands from 0 Hz to half the rate; `None` for that of
            `KINDS`.
        deltas: How many derivatives besides, 0 to 2.
        hop: Seconds from frame to frame. Frame i has its middle at `i * hop`.

    Returns:
        float32 of shape `(frames, count * (deltas + 1))`, with `1 + n // (hop * rate)` frames.

    Raises:
        ValueError: If there is no such kind.
        ImportError: If librosa is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: {kind!r}")
    try:
        import librosa
    except ImportError as error:
        raise ImportError(
            "Features of speech need librosa: pip install 'keras-spiking-rnn[examples]'"
        ) from error
    count = KINDS[kind] if count is None else count
    window = round(WINDOW * rate)
    powers = librosa.feature.melspectrogram(
        y=np.asarray(samples, "float32"),
        sr=rate,
        n_fft=2 ** (window - 1).bit_length(),
        win_length=window,
        hop_length=round(hop * rate),
        n_mels=count if kind == "mel" else 40,
    )
    found = librosa.power_to_db(powers)
    if kind == "mfcc":
        found = librosa.feature.mfcc(S=found, n_mfcc=count)
    # Wider than a short recording would be an error, and its edges are not known.
    width = 5
    changes = [
        librosa.feature.delta(found, width=width, order=order, mode="nearest")
        for order in range(1, deltas + 1)
    ]
    return np.concatenate([found, *changes]).T.astype("float32")


def frame_labels(utterance, frames, names, hop=HOP):
    """The phone in the middle of each frame: int32 `(frames,)`, places in `names`.

    Before the first phone and after the last it is the first and the last.

    Args:
        utterance: An `examples.inherent_recurrence.timit.Utterance`.
        frames: Number of frames.
        names: List of phones.
        hop: Seconds from frame to frame.
    """
    begins = [begin for begin, _, _ in utterance.phones]
    middles = np.arange(frames) * round(hop * utterance.rate)
    places = np.clip(np.searchsorted(begins, middles, side="right") - 1, 0, None)
    labels = np.array([names.index(name) for _, _, name in utterance.phones], "int32")
    return labels[places]
