"""CIFAR10-DVS: 10 000 images of CIFAR-10, moving on a screen before a DVS128."""

from keras_spiking_rnn.datasets.recordings import Recordings, directory_of


class CIFAR10DVS(Recordings):
    """CIFAR10-DVS, a sequence of `(events, label)`, read file by file.

    Of each class the first 80 % of the files, by their number, are for training. *A spiking
    sequential model: Recurrent Leaky Integrate-and-Fire* (section 4.1) has 80 % without saying
    which, and the dataset has no split of its own: accuracies of other splits do not compare.

    This reads the files in which the dataset was published, AEDAT 2.0. `tonic.datasets.CIFAR10DVS`
    is for a later conversion of them to AEDAT 4.

    Args:
        directory: Where the ten archives `airplane.zip` to `truck.zip` are unpacked: its files are
            `{class}/cifar10_{class}_{number}.aedat`.
        train: Whether to take the part for training, that for testing, or, if `None`, both.
        split: Fraction of the recordings of each class that is for training.
        orientation: Which way is up; see `events.read_aedat`.
        backwards: What to do where time goes backwards; see `events.read_aedat`. The paper sorts
            events by their time.
        special: What to do with addresses that are not a pixel; see `events.read_aedat`. Files of
            which they are more than a tenth are refused when they are read.

    Raises:
        FileNotFoundError: If files are not where they are expected.
        ValueError: If an argument is out of range.

    Reference:
        *CIFAR10-DVS: An Event-Stream Dataset for Object Classification* (2017).
    """

    classes = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __init__(
        self,
        directory,
        train=True,
        split=0.8,
        orientation="jaer",
        backwards="sort",
        special="drop",
    ):
        directory = directory_of(directory)
        super().__init__(
            [(directory / name, label) for label, name in enumerate(self.classes)],
            "cifar10_*.aedat",
            f"Expected in {directory} are the unpacked archives airplane.zip to truck.zip of "
            "CIFAR10-DVS, with files such as airplane/cifar10_airplane_0.aedat.",
            train,
            split,
            orientation=orientation,
            backwards=backwards,
            special=special,
        )
