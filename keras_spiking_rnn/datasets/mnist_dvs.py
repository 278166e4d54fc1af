"""MNIST-DVS: 10 000 digits at three scales, moving on a screen before a DVS128."""

from keras_spiking_rnn.datasets.recordings import Recordings, directory_of

SCALES = (4, 8, 16)


class MNISTDVS(Recordings):
    """MNIST-DVS, a sequence of `(events, digit)`, read file by file.

    Of each digit at each scale the first 80 % of the files, by their number, are for training. *A
    spiking sequential model: Recurrent Leaky Integrate-and-Fire* (section 4.1) has 80 % without
    saying which.

    Args:
        directory: Where the ten archives `grabbed_data0.zip` to `grabbed_data9.zip` are unpacked.
            Its files are such as `grabbed_data0/scale4/mnist_0_scale04_0001.aedat`.
        scale: 4, 8 or 16, or several of them. The paper's best accuracy, that of its table 1, is
            for scale 8.
        train: Whether to take the part for training, that for testing, or, if `None`, both.
        split: Fraction of the recordings of each digit that is for training.
        orientation: Which way is up; see `events.read_aedat`.
        backwards: What to do where time goes backwards; see `events.read_aedat`. The paper sorts
            events by their time.
        special: What to do with addresses that are not a pixel; see `events.read_aedat`. Files of
            which they are more than a tenth are refused when they are read.

    Raises:
        FileNotFoundError: If files are not where they are expected.
        ValueError: If an argument is out of range.

    Reference:
        *Poker-DVS and MNIST-DVS. Their History, How They Were Made, and Other Details* (2015).
    """

    classes = tuple(str(digit) for digit in range(10))

    def __init__(
        self,
        directory,
        scale=8,
        train=True,
        split=0.8,
        orientation="jaer",
        backwards="sort",
        special="drop",
    ):
        scales = scale if isinstance(scale, (tuple, list)) else (scale,)
        if not scales or any(scale not in SCALES for scale in scales):
            raise ValueError(
                f"`scale` must be 4, 8 or 16, or several of them. Received: scale={scale!r}"
            )
        directory = directory_of(directory)
        super().__init__(
            [
                (directory / f"grabbed_data{digit}" / f"scale{scale}", digit)
                for digit in range(10)
                for scale in scales
            ],
            "mnist_*.aedat",
            f"Expected in {directory} are the unpacked archives grabbed_data0.zip to "
            "grabbed_data9.zip of MNIST-DVS, with files such as "
            "grabbed_data0/scale4/mnist_0_scale04_0001.aedat.",
            train,
            split,
            orientation=orientation,
            backwards=backwards,
            special=special,
        )
