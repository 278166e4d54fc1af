"""Pictures: what they show, and that they need no display."""

import sys

import numpy as np
import pytest

from keras_spiking_rnn import events, plots, surrogates

Figure = pytest.importorskip("matplotlib.figure").Figure

SPIKES = np.array([[0, 1], [0, 0], [1, 1], [1, 0]])
POTENTIAL = np.array([[0.1, 0.6], [0.3, 0.2], [0.8, 0.9], [0.7, 0.1]])
EVENTS = events.make([1, 2, 3, 0], [0, 1, 1, 0], [1000, 2000, 2500, 4000], [1, 0, 1, 1])


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.mark.parametrize(
    "draw",
    [
        lambda **kwargs: plots.raster(SPIKES, **kwargs),
        lambda **kwargs: plots.membrane(POTENTIAL, threshold=0.5, spikes=SPIKES, **kwargs),
        lambda **kwargs: plots.surrogate("arctan", **kwargs),
        lambda **kwargs: plots.events(EVENTS, **kwargs),
    ],
    ids=["raster", "membrane", "surrogate", "events"],
)
class TestEach:
    def test_it_draws_on_the_axes_it_is_given(self, draw, ax):
        assert draw(ax=ax) is ax
        assert ax.has_data()

    def test_it_makes_axes_that_can_be_saved(self, draw, tmp_path):
        made = draw(title="A title")
        assert made.get_title() == "A title"
        assert made.get_xlabel() and made.get_ylabel()
        made.figure.savefig(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 1000


class TestRaster:
    def test_a_mark_for_each_spike(self):
        ax = plots.raster(SPIKES)
        marks = [
            (segment[0, 0], unit)
            for unit, collection in enumerate(ax.collections)
            for segment in collection.get_segments()
        ]
        assert marks == [(2, 0), (3, 0), (0, 1), (2, 1)]

    def test_silent_units_keep_their_row(self):
        ax = plots.raster(np.zeros((10, 4)))
        assert len(ax.collections) == 4
        assert ax.get_xlim() == (-0.5, 9.5)

    def test_colors_of_units(self):
        ax = plots.raster(SPIKES, color=["red", "blue"])
        colors = [np.ravel(collection.get_edgecolor())[:3] for collection in ax.collections]
        np.testing.assert_array_equal(colors, [[1, 0, 0], [0, 0, 1]])

    @pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
    def test_a_batch_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"must have shape \(steps, units\).*spikes\[0\]"):
            plots.raster(np.zeros(shape))


class TestMembrane:
    def test_lines_threshold_and_spikes(self):
        ax = plots.membrane(POTENTIAL, threshold=0.5, spikes=SPIKES)
        threshold, first, first_spikes, second, second_spikes = ax.lines
        assert set(threshold.get_ydata()) == {0.5}
        np.testing.assert_array_equal(first.get_ydata(), POTENTIAL[:, 0])
        np.testing.assert_array_equal(second.get_ydata(), POTENTIAL[:, 1])
        np.testing.assert_array_equal(first_spikes.get_xydata(), [[2, 0.8], [3, 0.7]])
        np.testing.assert_array_equal(second_spikes.get_xydata(), [[0, 0.6], [2, 0.9]])

    def test_one_unit(self):
        ax = plots.membrane(POTENTIAL[:, 0], spikes=SPIKES[:, 0], labels=["unit 0"])
        line, spikes = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), POTENTIAL[:, 0])
        np.testing.assert_array_equal(spikes.get_xdata(), [2, 3])
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["unit 0"]

    def test_thresholds_of_each_unit(self):
        ax = plots.membrane(POTENTIAL, threshold=(0.5, 0.7))
        assert [line.get_ydata()[0] for line in ax.lines[:2]] == [0.5, 0.7]

    def test_shapes_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match=r"\(steps,\) or \(steps, units\).*potential\[0\]"):
            plots.membrane(POTENTIAL[None])
        with pytest.raises(ValueError, match="`spikes` must have the shape of `potential`"):
            plots.membrane(POTENTIAL, spikes=SPIKES[:, 0])


class TestSurrogate:
    def test_the_curve_is_the_derivative(self):
        triangular = surrogates.Triangular(0.5)
        ax = plots.surrogate(triangular, limits=(-1, 1))
        x, y = ax.lines[-1].get_data()
        assert (x[0], x[-1]) == (-1, 1)
        np.testing.assert_array_equal(y, triangular.derivative(x))
        assert ax.get_title() == "Triangular(half_width=0.5, height=1.0)"

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="heaviside"):
            plots.surrogate("heaviside")


class TestEvents:
    def test_a_point_for_each_event_by_polarity(self):
        ax = plots.events(EVENTS)
        off, on = ax.collections
        assert off.get_offsets().tolist() == [[2, 2]]
        assert on.get_offsets().tolist() == [[1, 1], [2.5, 3], [4, 0]]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["OFF", "ON"]
        colors = [tuple(points.get_facecolor()[0, :3]) for points in (off, on)]
        assert len(set(colors)) == 2

    def test_rows_are_downwards(self):
        ax = plots.events(EVENTS, axis="y")
        assert ax.collections[0].get_offsets().tolist() == [[2, 1]]
        assert ax.yaxis_inverted()

    def test_a_cochlea(self):
        recorded = events.make([600, 3], None, [0, 10], 1)
        (on,) = plots.events(recorded).collections
        assert on.get_offsets().tolist() == [[0, 600], [0.01, 3]]
        with pytest.raises(ValueError, match="`axis` must be 'x', or 'y' for a camera"):
            plots.events(recorded, axis="y")

    def test_what_is_not_events_is_refused(self):
        with pytest.raises(TypeError, match="structured array"):
            plots.events(np.zeros((3, 4)))
        with pytest.raises(ValueError, match="`axis` must be"):
            plots.events(EVENTS, axis="t")


class TestFrames:
    def test_colors(self):
        frames = np.zeros((3, 2, 4, 2))
        frames[0, 1, 2, 1] = 4
        frames[1, 0, 0, 0] = 1
        frames[2, 0, 1] = 4
        ax = plots.frames(frames, columns=2, title="A title")
        assert ax.get_title() == "A title"
        grid = ax.images[0].get_array()
        assert grid.shape == (5, 9, 3), "two rows of two frames, and lines between them"
        on, off, both = grid[1, 2], grid[0, 5], grid[3, 1]
        assert on[0] > on[2] and off[2] > off[0], "orange and blue"
        np.testing.assert_allclose(on * 255, [0xE0, 0x7A, 0x2F])
        assert off.sum() > np.array([0x2A, 0x6F, 0x97]).sum() / 255, "fewer events are lighter"
        assert both.sum() < min(on.sum(), off.sum())
        assert (grid[0, 0] == 1).all(), "white where there are none"

    def test_they_can_be_drawn_anywhere_and_saved(self, ax, tmp_path):
        frames = events.frames(EVENTS, count=2, size=(2, 4))
        assert plots.frames(frames, ax=ax) is ax
        plots.frames(np.zeros_like(frames)).figure.savefig(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 300

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(steps, height, width, 2\).*frames\[0\]"):
            plots.frames(np.zeros((2, 3, 4, 4, 2)))
        with pytest.raises(ValueError, match="`columns` must be a positive integer"):
            plots.frames(np.zeros((2, 3, 4, 2)), columns=0)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras-spiking-rnn\[viz\]"):
        plots.raster(SPIKES)


def test_no_figure_is_left_open():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plots.raster(SPIKES)
    assert pyplot.get_fignums() == before
