"""Synthetic recordings: images that move before a simulated event camera."""

import collections.abc

from keras_spiking_rnn import events


class Saccades(collections.abc.Sequence):
    """Images that move before a simulated event camera, a sequence of `(events, label)`.

    The events are synthetic, made by `events.saccades` when they are asked for, each time the same:
    name them so wherever a number that comes from them is given.

    Args:
        images: Images of shape `(height, width)`, all of the same shape; see `events.saccades`.
        labels: The label of each.
        size: `(height, width)` of the camera; by default as large as the image and the path
            together.
        seed: Seed of the mismatch and the noise, which differ from image to image.
        **options: Further arguments of `events.saccades` and `events.simulate`.

    Raises:
        ValueError: If there are no images, or not as many labels as images.
    """

    synthetic = True

    def __init__(self, images, labels, size=None, seed=0, **options):
        if not len(images):
            raise ValueError("There must be at least one image.")
        if len(images) != len(labels):
            raise ValueError(
                "There must be a label for each image. Received: "
                f"{len(images)} images, {len(labels)} labels"
            )
        self.images, self.targets, self.seed = images, labels, seed
        self.options = {**options, "size": size}

    @property
    def sensor_size(self):
        """Width, height and polarities, in the order of tonic."""
        arguments = ("path", "duration", "size", "background", "pixels_per_frame")
        given = {name: self.options[name] for name in arguments if name in self.options}
        height, width = events.moving(self.images[0], **given)[0].shape[1:]
        return (width, height, 2)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        """Simulates one recording: `(events, label)`."""
        image, label = self.images[index], self.targets[index]
        seed = [self.seed, range(len(self))[index]]
        return events.saccades(image, **self.options, seed=seed), label
